"""Every fault of the emulator, seen on the wire."""

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from ges_emulator import Emulator, Fault, Fleet

PROJECT = "0123456789abcdef0123456789abcdef"
PATH = f"/v2/{PROJECT}/graphs/g1/backups"
TOKEN = {"X-Auth-Token": "emulator-token"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    fleet = Fleet(PROJECT)
    for graph_id in ("g1", "g2"):
        graph = fleet.add_graph(graph_id)
        for day in range(6):
            graph.add_backup(day * 86_400_000, id=f"{graph_id}-b{day}")
    with Emulator(fleet) as emulator:
        yield emulator


def get(emulator: Emulator, path: str = PATH, **query: Any) -> requests.Response:
    return requests.get(
        emulator.endpoint + path, params=query, headers=TOKEN, timeout=5, allow_redirects=False
    )


def page(emulator: Emulator, fault: Fault, **query: Any) -> Any:
    """What one answer with ``fault`` holds; the next one is right again."""
    emulator.faults.add(fault)
    answer = get(emulator, **query)
    assert answer.status_code == 200
    right = get(emulator, **query).json()
    assert right["backup_count"] == 6
    return answer.json()


def raw(emulator: Emulator) -> tuple[bytes, bool]:
    """All bytes of one answer on a connection kept alive, and whether a reset ended them."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: emulator-token\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=5) as client:
        client.sendall(request.encode())
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:
            return received, True
    return received, False


def split(answer: bytes) -> tuple[int, bytes]:
    """Content-Length and the body that came."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]), body


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "GES.0001"),
        (401, "APIGW.0301"),
        (403, "GES.0016"),
        (404, "GES.0047"),
        (500, "GES.0011"),
        (503, "GES.7005"),
    ],
)
def test_status_with_the_documents_body(emulator: Emulator, status: int, code: str) -> None:
    emulator.faults.add(Fault.http(status))
    answer = get(emulator)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert emulator.requests[0].status == status
    assert get(emulator).status_code == 200


def test_status_with_another_code_and_the_old_keys(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(400, "GES.7000", "gone"))
    emulator.faults.add(Fault.http(400, "GES.7000", "gone", old_form=True))
    assert get(emulator).json() == {"error_code": "GES.7000", "error_msg": "gone"}
    assert get(emulator).json() == {"errorCode": "GES.7000", "errorMessage": "gone"}


def test_bad_gateway_with_html(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(502, html=True))
    answer = get(emulator)
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.text.startswith("<html>")


@pytest.mark.parametrize(
    ("retry_after", "text"),
    [
        (None, None),
        (0, "0"),
        (3, "3"),
        (datetime(2025, 1, 1, 12, tzinfo=UTC), "Wed, 01 Jan 2025 12:00:00 GMT"),
        ("soon", "soon"),
    ],
    ids=["none", "zero", "seconds", "date", "nonsense"],
)
def test_throttled(emulator: Emulator, retry_after: Any, text: str | None) -> None:
    emulator.faults.add(Fault.throttled(retry_after))
    answer = get(emulator)
    assert (answer.status_code, answer.json()["error_code"]) == (429, "APIGW.0308")
    assert answer.headers.get("Retry-After") == text


def test_redirect_to_another_host(emulator: Emulator) -> None:
    emulator.faults.add(Fault.redirect("http://elsewhere.invalid/x"))
    answer = get(emulator)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "http://elsewhere.invalid/x"


def test_reset_before_the_answer(emulator: Emulator) -> None:
    emulator.faults.add(Fault.reset_before_answer())
    assert raw(emulator) == (b"", True)
    assert emulator.requests[0].status is None
    assert emulator.requests[0].fault == "reset before the answer"


def test_reset_after_the_headers(emulator: Emulator) -> None:
    emulator.faults.add(Fault.reset_after_headers())
    received, reset = raw(emulator)
    length, body = split(received)
    assert (reset, body) == (True, b"")
    assert length > 0


def test_reset_within_the_body(emulator: Emulator) -> None:
    emulator.faults.add(Fault.reset_within_body())
    received, reset = raw(emulator)
    length, body = split(received)
    assert reset
    assert 0 < len(body) < length


def test_reset_after_the_body(emulator: Emulator) -> None:
    emulator.faults.add(Fault.reset_after_body())
    received, reset = raw(emulator)
    length, body = split(received)
    assert reset
    assert len(body) == length
    assert json.loads(body)["backup_count"] == 6


def test_cut_body_ends_in_order_but_too_early(emulator: Emulator) -> None:
    emulator.faults.add(Fault.cut_body())
    received, reset = raw(emulator)
    length, body = split(received)
    assert not reset
    assert 0 < len(body) < length


def test_broken_json_with_status_200(emulator: Emulator) -> None:
    emulator.faults.add(Fault.broken_json())
    answer = get(emulator)
    assert answer.status_code == 200
    assert answer.content.startswith(b'{"backup_count":6')
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_html_with_status_200(emulator: Emulator) -> None:
    emulator.faults.add(Fault.html_page())
    assert get(emulator).text.startswith("<html>")


def test_body_of_any_bytes(emulator: Emulator) -> None:
    emulator.faults.add(Fault.body(b"\xff\xfe"))
    assert get(emulator).content == b"\xff\xfe"


def test_empty_object(emulator: Emulator) -> None:
    assert page(emulator, Fault.empty_object()) == {}


def test_json_list(emulator: Emulator) -> None:
    assert len(page(emulator, Fault.json_list())) == 6


def test_list_missing(emulator: Emulator) -> None:
    assert page(emulator, Fault.list_missing()) == {"backup_count": 6}


@pytest.mark.parametrize("value", [None, {}, "rows", [None]], ids=repr)
def test_list_is_another_value(emulator: Emulator, value: object) -> None:
    assert page(emulator, Fault.list_is(value)) == {"backup_count": 6, "backup_list": value}


def test_count_missing(emulator: Emulator) -> None:
    assert list(page(emulator, Fault.count_missing())) == ["backup_list"]


@pytest.mark.parametrize("value", [None, -1, "many", "6", 6.0, True, 2**70], ids=repr)
def test_count_is_another_value(emulator: Emulator, value: object) -> None:
    answer = page(emulator, Fault.count_is(value))
    assert answer["backup_count"] == value
    assert type(answer["backup_count"]) is type(value)
    assert len(answer["backup_list"]) == 6


@pytest.mark.parametrize("difference", [1, -1])
def test_count_wrong_by_one(emulator: Emulator, difference: int) -> None:
    answer = page(emulator, Fault.count_off_by(difference))
    assert answer["backup_count"] == 6 + difference
    assert len(answer["backup_list"]) == 6


def test_empty_page_in_the_middle(emulator: Emulator) -> None:
    answer = page(emulator, Fault.empty_page(), offset=2, limit=2)
    assert answer == {"backup_count": 6, "backup_list": []}


def test_page_repeated(emulator: Emulator) -> None:
    answer = page(emulator, Fault.page_repeated(), offset=4, limit=2)
    assert [row["id"] for row in answer["backup_list"]] == ["g1-b2", "g1-b3"]


def test_page_that_never_advances(emulator: Emulator) -> None:
    emulator.faults.add(Fault.offset_ignored(), times=None)
    for offset in (0, 2, 4):
        rows = get(emulator, offset=offset, limit=2).json()["backup_list"]
        assert [row["id"] for row in rows] == ["g1-b0", "g1-b1"]


@pytest.mark.parametrize(
    "fault",
    [Fault.list_missing(), Fault.count_missing(), Fault.list_is(None), Fault.count_is("x")],
    ids=lambda fault: fault.name,
)
def test_faults_of_pages_work_on_the_list_of_graphs_too(emulator: Emulator, fault: Fault) -> None:
    emulator.faults.add(fault, path="graphs")
    wrong, right = (get(emulator, f"/v2/{PROJECT}/graphs").json() for _ in range(2))
    assert right.keys() == {"graph_count", "graphs"}
    assert wrong != right
    assert wrong.keys() <= right.keys()


def test_faults_of_pages_leave_errors_alone(emulator: Emulator) -> None:
    emulator.faults.add(Fault.list_missing())
    assert get(emulator, f"/v2/{PROJECT}/graphs/no/backups").json()["error_code"] == "GES.0047"


def test_slow_drip(emulator: Emulator) -> None:
    size = len(get(emulator).content)
    emulator.faults.add(Fault.slow_drip(bytes_at_once=size // 5, interval_seconds=0.05))
    start = time.monotonic()
    assert get(emulator).json()["backup_count"] == 6
    assert time.monotonic() - start > 0.2


def test_hang_ends_when_the_client_gives_up_or_the_emulator_stops(emulator: Emulator) -> None:
    emulator.faults.add(Fault.hang(), times=2)
    with pytest.raises(requests.ReadTimeout):
        requests.get(emulator.endpoint + PATH, headers=TOKEN, timeout=0.1)
    threading.Timer(0.1, emulator.stop).start()
    start = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        requests.get(emulator.endpoint + PATH, headers=TOKEN, timeout=5)
    assert time.monotonic() - start < 1


def test_others_are_served_while_one_hangs(emulator: Emulator) -> None:
    emulator.faults.add(Fault.hang(), graph_id="g1")
    with pytest.raises(requests.ReadTimeout):
        requests.get(emulator.endpoint + PATH, headers=TOKEN, timeout=0.1)
    assert get(emulator, PATH.replace("g1", "g2")).status_code == 200


def test_gzip_unasked(emulator: Emulator) -> None:
    emulator.faults.add(Fault.gzip())
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=5)
    connection.request("GET", PATH, headers=TOKEN)
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.read()))["backup_count"] == 6
    connection.close()


def test_huge_body_is_valid_and_as_long_as_asked(emulator: Emulator) -> None:
    emulator.faults.add(Fault.huge_body(20_000_000))
    answer = get(emulator)
    assert len(answer.content) == 20_000_000
    assert answer.json()["backup_count"] == 6


def test_huge_body_ends_when_the_client_leaves(emulator: Emulator) -> None:
    emulator.faults.add(Fault.huge_body(10**12))
    with requests.get(emulator.endpoint + PATH, headers=TOKEN, timeout=5, stream=True) as answer:
        assert next(answer.iter_content(1000))
    assert get(emulator).status_code == 200


def test_faults_wait_for_their_graph_and_path(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(500), graph_id="g2")
    emulator.faults.add(Fault.http(503), path="graphs")
    assert get(emulator).status_code == 200
    assert get(emulator, PATH.replace("g1", "g2")).status_code == 500
    assert get(emulator, f"/v2/{PROJECT}/graphs").status_code == 503
    assert emulator.faults.met == ["http 500", "http 503"]


def test_faults_happen_at_the_nth_matching_request(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(500), graph_id="g1", at=(2, 4))
    statuses = []
    for _ in range(5):
        get(emulator, PATH.replace("g1", "g2"))
        statuses.append(get(emulator).status_code)
    assert statuses == [200, 500, 200, 500, 200]


def test_faults_happen_so_many_times_or_for_ever_until_cleared(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(500), times=2)
    emulator.faults.add(Fault.http(503), times=None)
    assert [get(emulator).status_code for _ in range(4)] == [500, 500, 503, 503]
    emulator.faults.clear()
    assert get(emulator).status_code == 200


def test_random_faults_follow_from_their_seed(emulator: Emulator) -> None:
    def statuses() -> list[int]:
        emulator.faults.random(0.3, seed=7, kinds=[Fault.http(500), Fault.http(503)])
        return [get(emulator).status_code for _ in range(60)]

    first = statuses()
    assert statuses() == first
    assert 6 < first.count(500) + first.count(503) < 30
    assert {500, 503} < set(first)


def test_client_that_asks_again_outlives_all_transient_faults(emulator: Emulator) -> None:
    for fault in Fault.transient():
        emulator.faults.add(fault)
    for _ in Fault.transient():
        try:
            get(emulator, offset=2, limit=2)
        except requests.RequestException:
            continue
    assert emulator.faults.met == [fault.name for fault in Fault.transient()]
    assert get(emulator).json()["backup_count"] == 6
