"""One request: what is asked again and when, what is refused, and where the credential goes."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import pytest

from ges_backups import client as client_module
from ges_backups.client import GesClient, read_error
from ges_backups.credentials import GesCredentials
from ges_backups.errors import (
    AnswerError,
    Forbidden,
    GraphMissing,
    RequestRefused,
    TransientError,
)
from ges_backups.pace import Cancelled, Gate, Pace
from ges_emulator import Emulator, Fault, Fleet
from ges_emulator.replies import Answer
from harness import TOKEN, fill

PATH = "/v2/{}/graphs/g1/backups"
ASK = {"offset": 0, "limit": 10}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    fleet = Fleet()
    fill(fleet.add_graph("g1"), 5)
    with Emulator(fleet) as emulator:
        yield emulator


@pytest.fixture
def make_client(emulator: Emulator) -> Callable[..., GesClient]:
    def make(request_seconds: float = 10.0, **credentials: str) -> GesClient:
        client = GesClient(emulator.endpoint, concurrency=4, request_seconds=request_seconds)
        wanted = GesCredentials(**(credentials or {"token": TOKEN}))
        client.authorize(wanted, emulator.fleet.project_id, None)
        return client

    return make


def get(client: GesClient, emulator: Emulator, path: str = PATH) -> bytes:
    return client.get(path.format(emulator.fleet.project_id), ASK, lambda body: body)


@pytest.mark.parametrize("fault", Fault.transient()[:10], ids=lambda fault: fault.name)
def test_an_answer_that_asking_again_mends_is_asked_again(
    emulator: Emulator, make_client: Callable[..., GesClient], fault: Fault
) -> None:
    emulator.faults.add(fault, times=2)
    attempts: list[int] = []
    path = PATH.format(emulator.fleet.project_id)

    body = make_client().get(path, ASK, lambda body: body, lambda: attempts.append(1))

    assert b"g1-b4" in body
    hits = 1 if fault.name == "reset after the body" else 3
    assert hits <= len(attempts) == len(emulator.requests) <= 3


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410])
def test_a_refusal_is_not_asked_again(
    emulator: Emulator, make_client: Callable[..., GesClient], status: int
) -> None:
    emulator.faults.add(Fault.http(status), times=None)
    with pytest.raises(AnswerError):
        get(make_client(), emulator)
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(
    "retry_after",
    [1, "1", lambda: datetime.now(UTC) + timedelta(seconds=2)],
    ids=["number", "text", "date"],
)
def test_a_throttled_request_waits_as_long_as_it_was_told(
    emulator: Emulator, make_client: Callable[..., GesClient], retry_after: Any
) -> None:
    asked = retry_after() if callable(retry_after) else retry_after
    emulator.faults.add(Fault.throttled(asked))
    started = time.monotonic()
    get(make_client(), emulator)
    assert 0.9 <= time.monotonic() - started < 6


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_a_date_to_come_back_at_is_by_the_clock_of_the_server(
    emulator: Emulator, make_client: Callable[..., GesClient], ahead: int
) -> None:
    def throttled(answer: Answer) -> Answer:
        now = time.time() + ahead
        dates = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 1)}
        return replace(answer, status=429, headers=dates)

    emulator.faults.add(Fault("throttled", change=throttled))
    started = time.monotonic()
    assert b"g1-b4" in get(make_client(), emulator)
    assert 0.9 <= time.monotonic() - started < 4


RETRY_AFTERS = [
    *("soon", "-5", "", "nan", "inf", "1e400", "9" * 400),
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Mon, 32 Foo 2024 99:99:99 GMT",
]


@pytest.mark.parametrize("retry_after", RETRY_AFTERS)
def test_a_retry_after_that_makes_no_sense_does_no_harm(
    emulator: Emulator, make_client: Callable[..., GesClient], retry_after: str
) -> None:
    emulator.faults.add(Fault.throttled(retry_after))
    started = time.monotonic()
    try:
        get(make_client(request_seconds=3), emulator)
    except TransientError:
        assert retry_after[:3] in ("inf", "1e4", "999", "Fri")
    assert time.monotonic() - started < 5


def test_a_server_that_throttles_is_waited_for_longer_than_a_request_may_be_tried(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.throttled(1))
    assert b"g1-b4" in get(make_client(request_seconds=0.8), emulator)
    assert len(emulator.requests) == 2


def test_a_server_that_takes_nothing_any_more_is_given_up_by_all_together(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.throttled(0), times=None)
    client = make_client(request_seconds=0.2)
    started = time.monotonic()
    with pytest.raises(TransientError, match="throttled"):
        get(client, emulator)
    assert time.monotonic() - started < 3
    time.sleep(0.4)  # with what has passed, twice as long as a request may be tried
    asked = len(emulator.requests)
    for _ in range(2):
        with pytest.raises(TransientError, match="throttled"):
            get(client, emulator)
    assert len(emulator.requests) == asked + 2
    assert client.answers(f"/v2/{emulator.fleet.project_id}/graphs")
    assert len(emulator.requests) == asked + 2


def test_a_wait_for_ones_turn_takes_nothing_of_the_time_to_try(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(503))
    gate = Gate(1)
    client = GesClient(emulator.endpoint, concurrency=1, request_seconds=1.0, gate=gate)
    client.authorize(GesCredentials(token=TOKEN), emulator.fleet.project_id, None)
    gate.slots.acquire()
    threading.Timer(1.2, gate.slots.release).start()
    assert b"g1-b4" in get(client, emulator)


def test_a_server_that_throttles_answers(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.throttled(60), times=None)
    assert make_client().answers(f"/v2/{emulator.fleet.project_id}/graphs")
    assert len(emulator.requests) == 1


def test_a_wait_longer_than_the_gate_may_be_shut_is_not_begun(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.throttled(3600))
    started = time.monotonic()
    with pytest.raises(TransientError, match="throttled"):
        get(make_client(request_seconds=2), emulator)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault.hang(),
        Fault.slow_drip(1, 0.05),
        Fault.slow_headers(0.2),
        Fault.http(503),
        Fault.reset_before_answer(),
    ],
    ids=lambda fault: fault.name,
)
def test_a_server_that_never_answers_is_given_up_in_time(
    emulator: Emulator, make_client: Callable[..., GesClient], fault: Fault
) -> None:
    emulator.faults.add(fault, times=None)
    started = time.monotonic()
    with pytest.raises(TransientError):
        get(make_client(request_seconds=1), emulator)
    assert time.monotonic() - started < 2.5


def test_headers_that_come_slowly_but_in_time_are_read(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.slow_headers(0.002))
    client = make_client(request_seconds=5)
    for _ in range(2):  # the connection is as good as before
        assert b"g1-b4" in get(client, emulator)


def test_a_port_where_nobody_listens_is_given_up_in_time(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    client = make_client(request_seconds=1)
    emulator.stop()
    with pytest.raises(TransientError, match="no answer: Connection refused"):
        get(client, emulator)


def test_a_body_that_is_too_large_is_refused_before_it_fills_the_memory(
    emulator: Emulator,
    make_client: Callable[..., GesClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 2**20)
    emulator.faults.add(Fault.huge_body(50 * 2**20), times=None)
    with pytest.raises(RequestRefused, match=r"larger than 1 MiB; set a smaller .*PAGE_SIZE"):
        get(make_client(), emulator)
    assert len(emulator.requests) == 1


def test_a_large_body_within_the_bound_is_read(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.huge_body(8 * 2**20))
    assert len(get(make_client(), emulator)) >= 8 * 2**20


def test_a_gzipped_answer_is_unpacked(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.gzip())
    assert b"g1-b0" in get(make_client(), emulator)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["token", "key"])
def test_a_redirect_is_not_followed_and_carries_no_credential(
    emulator: Emulator, make_client: Callable[..., GesClient], status: int, kind: str
) -> None:
    credentials = {"token": TOKEN} if kind == "token" else {"access_key": "A", "secret_key": "S"}
    with Emulator(Fleet()) as stranger:
        location = f"{stranger.endpoint}/v2/x/graphs/g1/backups"
        emulator.faults.add(Fault.redirect(location, status), times=None)
        with pytest.raises(RequestRefused, match="redirects, which is not followed"):
            get(make_client(**credentials), emulator)
        assert stranger.requests == []
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error_code": "GES.0047"}', GraphMissing),
        (404, b"<html>", GraphMissing),
        (404, b'{"error_code": "APIGW.0101"}', RequestRefused),
        (400, b'{"errorCode": "GES.7000"}', GraphMissing),
        (400, b'{"error_code": "GES.0016"}', Forbidden),
        (400, b'{"error_code": "GES.0001"}', RequestRefused),
        (403, b"", Forbidden),
        (408, b"", TransientError),
        (429, b"", TransientError),
        (500, b"\xff", TransientError),
        (599, b"[]", TransientError),
        (204, b"", TransientError),
        (302, b"", RequestRefused),
        (418, b"null", RequestRefused),
    ],
)
def test_each_answer_has_one_meaning(status: int, body: bytes, kind: type[AnswerError]) -> None:
    error = read_error(status, None, body, "/v2/p/graphs")
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x07\nline", " [31mred  line"),
        ("x" * 1000, "x" * 299 + "\u2026"),
        (7, None),
        ("", None),
    ],
    ids=["plain", "terminal", "long", "number", "empty"],
)
def test_the_apis_words_are_one_printable_line(message: object, shown: str | None) -> None:
    import orjson  # noqa: PLC0415

    body = orjson.dumps({"error_code": "GES.0001", "error_msg": message})
    assert read_error(400, None, body, "/").error_msg == shown


def test_a_cancelled_client_ends_waiting_and_asks_no_more(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.throttled(5), times=None)
    client = make_client(request_seconds=30)
    threading.Timer(0.3, client.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        get(client, emulator)
    assert time.monotonic() - started < 3
    asked = len(emulator.requests)
    with pytest.raises(Cancelled):
        get(client, emulator)
    assert len(emulator.requests) == asked


def test_no_more_requests_are_in_flight_than_allowed(emulator: Emulator) -> None:
    emulator.latency_seconds = 0.05
    pace = Pace(Gate(2))
    most = [0, 0]
    lock = threading.Lock()

    def work() -> None:
        with pace.slot():
            with lock:
                most[0] += 1
                most[1] = max(most)
            time.sleep(0.02)
            with lock:
                most[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [0, 2]


def test_a_cancelled_client_lets_go_of_an_answer_that_does_not_come(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.hang(), times=None)
    client = make_client(request_seconds=30)
    threading.Timer(0.3, client.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        get(client, emulator)
    assert time.monotonic() - started < 2


def test_an_error_shows_neither_query_nor_token(
    emulator: Emulator, make_client: Callable[..., GesClient]
) -> None:
    emulator.faults.add(Fault.http(400), times=None)
    with pytest.raises(RequestRefused) as refused:
        get(make_client(), emulator)
    assert TOKEN not in str(refused.value)
    assert "offset" not in str(refused.value)
    assert refused.value.path == PATH.format(emulator.fleet.project_id)
