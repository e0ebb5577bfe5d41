"""Pings and webhooks: what arrives, how long they may take, what is never shown."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ges_history.errors import HistoryError
from ges_history.watching.notify import Ping, host_of, notify
from listener import Listener

SECRET = "6f1c-secret-4a7e"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.mark.parametrize(
    ("code", "partial_fails", "path"),
    [
        (0, True, f"/{SECRET}"),
        (3, True, f"/{SECRET}/3"),
        (3, False, f"/{SECRET}"),
        (1, False, f"/{SECRET}/1"),
    ],
)
def test_start_and_end_are_pinged_with_the_exit_code_and_the_summary(
    listener: Listener, code: int, partial_fails: bool, path: str
) -> None:
    with Ping(f"{listener.url}/{SECRET}/", partial_fails=partial_fails) as ping:
        ping.code, ping.body = code, "graphs 12 listed\nbackups 3 new"
    assert listener.paths == [f"/{SECRET}/start", path]
    assert listener.received[1].body == b"graphs 12 listed\nbackups 3 new"


def test_what_a_url_asks_for_stays_behind_its_path(listener: Listener) -> None:
    with Ping(f"{listener.url}/{SECRET}/slug?create=1") as ping:
        ping.code = 3
    base = f"/{SECRET}/slug"
    assert listener.paths == [f"{base}/start?create=1", f"{base}/3?create=1"]
    with Ping(f"{listener.url}/{SECRET}/slug?create=1") as ping:
        ping.code = 0
    assert listener.paths[3] == f"{base}?create=1"


def interrupted(listener: Listener, error: BaseException) -> None:
    """A load that ends with an error after it has thought that all is well."""
    with Ping(f"{listener.url}/{SECRET}") as ping:
        ping.code, ping.body = 0, "all well"
        while not listener.received:  # the start has come
            time.sleep(0.01)
        raise error


def test_an_error_is_a_failure_with_its_message(listener: Listener) -> None:
    with pytest.raises(HistoryError):
        interrupted(listener, HistoryError("The database is in use."))
    assert listener.paths == [f"/{SECRET}/start", f"/{SECRET}/1"]
    assert listener.received[1].body == b"The database is in use."


def test_a_load_that_a_person_stopped_tells_no_end(listener: Listener) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(listener, KeyboardInterrupt())
    assert listener.paths == [f"/{SECRET}/start"]


def test_a_passing_error_of_the_server_is_tried_again() -> None:
    said: list[str] = []
    with Listener(statuses=[500, 200, 503, 200]) as listener:
        with Ping(f"{listener.url}/{SECRET}", say=said.append) as ping:
            ping.code = 0
        assert listener.paths == [f"/{SECRET}/start"] * 2 + [f"/{SECRET}"] * 2
    assert said == []


def test_no_start_comes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ges_history.watching.notify.PING_SECONDS", 2.0)
    with Listener(statuses=[200, 500], delays=[1.3]) as listener:  # a late 500 for the start
        with Ping(f"{listener.url}/x") as ping:
            ping.code = 0
        for thread in threading.enumerate():
            if thread.name == "ges-notify":
                thread.join()
        assert listener.paths == ["/x/start", "/x"]


def test_a_long_body_is_cut(listener: Listener) -> None:
    with Ping(f"{listener.url}/x") as ping:
        ping.code, ping.body = 0, "ä" * 50_000
    assert len(listener.received[1].body) == 10_000


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"delay_seconds": 120}, "no answer in time"),
        ({"drip": True}, "no answer in time"),
        ({"statuses": [404] * 3}, "status 404"),
        ({"statuses": [302] * 3}, "status 302"),
        ({"statuses": [500] * 9}, "status 500"),
    ],
    ids=["hangs", "drips", "unknown", "sends elsewhere", "is broken"],
)
def test_a_ping_and_a_webhook_that_fail_hold_nobody_and_show_no_secret(
    trouble: dict[str, object], words: str
) -> None:
    said: list[str] = []
    with Listener(**trouble) as listener:  # type: ignore[arg-type]
        began = time.monotonic()
        with Ping(f"{listener.url}/{SECRET}", say=said.append) as ping:
            ping.code = 0
        notify(f"{listener.url}/hook/{SECRET}", {"text": "x"}, said.append)
        assert time.monotonic() - began < 20  # 10 s, and a busy machine
        assert not [path for path in listener.paths if "elsewhere" in path]
    assert len(said) == 2
    assert all(words in line and "127.0.0.1" in line for line in said)
    assert not [line for line in said if SECRET in line]


def test_a_server_that_is_not_there_is_told_by_its_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    said: list[str] = []
    with Ping(f"http://127.0.0.1:{port}/{SECRET}", say=said.append):
        pass
    assert said == ["The ping to 127.0.0.1 did not arrive: it cannot be reached."]


def test_a_webhook_gets_json(listener: Listener) -> None:
    notify(f"{listener.url}/hook", {"text": "2 critical", "violations": [{"rule": "rpo_hours"}]})
    (received,) = listener.received
    assert received.content_type == "application/json"
    assert json.loads(received.body)["violations"] == [{"rule": "rpo_hours"}]


def test_a_webhook_is_told_of_a_file_whose_name_is_no_text(listener: Listener) -> None:
    notify(f"{listener.url}/hook", {"problems": ["\udcff.prom, ä"]})
    assert json.loads(listener.received[0].body) == {"problems": ["?.prom, ä"]}


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", f"https:///{SECRET}", "", "http://[1/x"])
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="https://") as caught:
        host_of(url)
    assert SECRET not in str(caught.value)
