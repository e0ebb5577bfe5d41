"""The emulator's endpoints over HTTP: pages in every order and cap, errors, drift, life cycle."""

import contextlib
import gc
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

import ges_emulator
from ges_emulator import Backup, Emulator, Fault, Fleet, Graph, Request

FIXTURES = Path(__file__).parents[1] / "fixtures"
PROJECT = "0123456789abcdef0123456789abcdef"
TOKEN = {"X-Auth-Token": "emulator-token"}


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(PROJECT, datetime(2025, 1, 1, tzinfo=UTC))
    orders = fleet.add_graph("g1", "orders")
    for day in range(7):
        orders.add_backup(fleet.now + timedelta(days=day), id=f"b{day}")
    fleet.add_graph("g2", "empty")
    return fleet


@pytest.fixture
def emulator(fleet: Fleet) -> Iterator[Emulator]:
    with Emulator(fleet) as emulator:
        yield emulator


def graph_of(emulator: Emulator, graph_id: str = "g1") -> Graph:
    graph = emulator.fleet.graph(graph_id)
    assert graph is not None
    return graph


def get(emulator: Emulator, path: str = "graphs/g1/backups", **query: Any) -> requests.Response:
    url = f"{emulator.endpoint}/v2/{PROJECT}/{path}"
    return requests.get(url, params=query, headers=TOKEN, timeout=5)


def ids(answer: requests.Response) -> list[str]:
    return [row["id"] for row in answer.json()["backup_list"]]


def read_all(emulator: Emulator, limit: int) -> list[str]:
    read: list[str] = []
    while rows := ids(get(emulator, offset=len(read), limit=limit)):
        read += rows
    return read


def read_for_ever(emulator: Emulator) -> None:
    while True:
        get(emulator, offset=4)


def test_example_of_the_api_page_is_served_to_the_letter() -> None:
    page = json.loads((FIXTURES / "api_page_example.json").read_text())
    fleet = Fleet(PROJECT)
    graph = fleet.add_graph(
        page["backup_list"][0]["graph_id"],
        "ges060803_nodelete",
        data_store_version="2.2.21",
        product_type=None,
        encrypted=None,
    )
    graph.add_backup(
        1623160513000,
        54,
        1,
        method="manual",
        id="ada3e720-ab87-48cb-bff7-3ec5ae1a9652",
        end_timestamp=1623160568000,
        end_time="2021-06-08T13:56:08",
    )
    graph.add_backup(
        1623242004000,
        0,
        1,
        id="7ed3f51d-816d-4651-9129-fe21b64b5c91",
        name="ges060803_nodelete_20210609203323_auto",
    )
    with Emulator(fleet) as emulator:
        answer = get(emulator, f"graphs/{graph.id}/backups", offset=0, limit=2)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == page
    assert [list(row) for row in answer.json()["backup_list"]] == [
        list(row) for row in page["backup_list"]
    ]


def test_failed_example_of_the_api_page_is_served_to_the_letter(emulator: Emulator) -> None:
    answer = get(emulator, "graphs/nowhere/backups")
    assert answer.status_code == 404
    assert answer.json() == json.loads((FIXTURES / "api_page_example_404.json").read_text())


def test_offset_and_limit_default_to_0_and_10(emulator: Emulator) -> None:
    for day in range(10, 20):
        graph_of(emulator).add_backup(emulator.fleet.now + timedelta(days=day))
    answer = get(emulator)
    assert answer.json()["backup_count"] == 17
    assert len(answer.json()["backup_list"]) == 10


@pytest.mark.parametrize("page_cap", [None, 1, 3, 7, 100])
@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_pages_join_to_the_listing_in_each_order(
    emulator: Emulator, page_cap: int | None, limit: int
) -> None:
    natural = [f"b{day}" for day in range(7)]
    emulator.page_cap = page_cap
    assert read_all(emulator, limit) == natural
    emulator.order = "new_to_old"
    assert read_all(emulator, limit) == natural[::-1]
    emulator.order = "shuffled"
    shuffled = read_all(emulator, limit)
    assert shuffled not in (natural, natural[::-1])
    assert sorted(shuffled) == natural


def test_page_cap_answers_fewer_rows_but_the_whole_count(emulator: Emulator) -> None:
    emulator.page_cap = 2
    answer = get(emulator, limit=5)
    assert ids(answer) == ["b0", "b1"]
    assert answer.json()["backup_count"] == 7


def test_order_and_cap_can_depend_on_the_request(emulator: Emulator) -> None:
    emulator.order = lambda request: "new_to_old" if request.query["offset"] else "old_to_new"
    emulator.page_cap = lambda request: 1 if request.query["offset"] else 2
    assert ids(get(emulator, offset=0)) == ["b0", "b1"]
    assert ids(get(emulator, offset=2)) == ["b4"]


def test_shuffled_order_keeps_its_order_when_a_row_leaves(emulator: Emulator) -> None:
    emulator.order = "shuffled"
    before = ids(get(emulator))
    graph_of(emulator).delete_backup("b3")
    assert ids(get(emulator)) == [key for key in before if key != "b3"]


@pytest.mark.parametrize("order", ["old_to_new", "new_to_old", "shuffled"])
def test_page_behind_the_end_is_empty(emulator: Emulator, order: str) -> None:
    emulator.order = order
    for offset in (7, 8, 1000):
        assert get(emulator, offset=offset).json() == {"backup_count": 7, "backup_list": []}


@pytest.mark.parametrize(
    "query",
    [{"offset": -1}, {"offset": "two"}, {"limit": 0}, {"limit": -5}, {"limit": ""}, {"limit": 1.5}],
    ids=str,
)
def test_wrong_parameter_is_refused(emulator: Emulator, query: dict[str, Any]) -> None:
    answer = get(emulator, **query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "GES.0001")


@pytest.mark.parametrize(
    "path", ["/", "/v2", f"/v2/{PROJECT}/graphs/g1", f"/v2/{PROJECT}/graphs/a/b/backups"]
)
def test_unknown_path_is_answered_by_the_gateway(emulator: Emulator, path: str) -> None:
    answer = requests.get(emulator.endpoint + path, headers=TOKEN, timeout=5)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "APIGW.0101")


def test_graphs_are_listed_with_the_fields_of_the_api(emulator: Emulator) -> None:
    answer = get(emulator, "graphs", limit=1).json()
    assert answer["graph_count"] == 2
    assert answer["graphs"][0]["id"] == "g1"
    assert answer["graphs"][0]["created"] == "2025-01-01T00:00:00"
    assert {"status", "region_code", "arch", "product_type"} <= answer["graphs"][0].keys()
    assert [row["id"] for row in get(emulator, "graphs", offset=1).json()["graphs"]] == ["g2"]


def test_all_backups_run_from_old_to_new_over_the_graphs(emulator: Emulator) -> None:
    graph_of(emulator, "g2").add_backup(emulator.fleet.now + timedelta(days=2.5), id="other")
    assert ids(get(emulator, "graphs/backups"))[2:5] == ["b2", "other", "b3"]
    assert get(emulator, "graphs/backups").json()["backup_count"] == 8
    emulator.order = "new_to_old"
    assert ids(get(emulator, "graphs/backups", limit=2)) == ["b6", "b5"]


def test_deleted_graph_is_gone_but_its_backups_are_among_all(emulator: Emulator) -> None:
    emulator.fleet.delete_graph("g1")
    assert get(emulator).status_code == 404
    assert [row["id"] for row in get(emulator, "graphs").json()["graphs"]] == ["g2"]
    rows = get(emulator, "graphs/backups").json()["backup_list"]
    assert {row["graph_status"] for row in rows} == {"400"}
    assert len(rows) == 7
    emulator.fleet.forget_graph("g1")
    assert get(emulator, "graphs/backups").json() == {"backup_count": 0, "backup_list": []}


def test_renamed_graph_shows_in_its_backups_but_not_in_their_names(emulator: Emulator) -> None:
    emulator.fleet.rename_graph("g1", "sales")
    row = get(emulator).json()["backup_list"][0]
    assert row["graph_name"] == "sales"
    assert row["name"].startswith("orders_")
    assert get(emulator, "graphs").json()["graphs"][0]["name"] == "sales"


def test_record_changed_in_place_is_served(emulator: Emulator) -> None:
    backup = graph_of(emulator).backups[0]
    get(emulator)
    backup.record.update(size=2**80, surprise={"nested": [1, None]})
    del backup.record["name"]
    row = get(emulator).json()["backup_list"][0]
    assert row["size"] == 2**80
    assert row["surprise"] == {"nested": [1, None]}
    assert "name" not in row


@pytest.mark.parametrize("record", [None, 7, "text", [], {}, {"id": None}, "\ud800"], ids=repr)
def test_raw_record_is_served_as_it_is(emulator: Emulator, record: object) -> None:
    graph_of(emulator).add_record(record)
    answer = get(emulator).json()
    assert answer["backup_list"][-1] == record
    assert answer["backup_count"] == 8


def test_index_places_a_backup_against_its_start(emulator: Emulator) -> None:
    graph = graph_of(emulator)
    graph.add_backup(0, id="imported", method="import")
    graph.add_backup(0, id="odd", index=3)
    assert ids(get(emulator)) == ["imported", "b0", "b1", "odd", "b2", "b3", "b4", "b5", "b6"]


def test_running_backup_has_no_end_until_it_finishes(emulator: Emulator) -> None:
    start = emulator.fleet.now + timedelta(days=8)
    backup = graph_of(emulator).add_backup(start, status="backing_up", size=9)
    row = get(emulator).json()["backup_list"][-1]
    assert (row["end_timestamp"], row["end_time"], row["size"], row["duration"]) == (
        None,
        None,
        0,
        0,
    )
    backup.finish(size=5, duration=60)
    row = get(emulator).json()["backup_list"][-1]
    assert (row["status"], row["end_time"]) == ("success", "2025-01-09T00:01:00")
    assert (row["end_timestamp"] - row["start_timestamp"], row["size"]) == (60_000, 5)


def test_hook_changes_the_fleet_before_its_request_is_answered(emulator: Emulator) -> None:
    graph = graph_of(emulator)

    def drift(request: Request) -> None:
        if request.query["offset"] == 2:
            graph.delete_backup("b0")

    emulator.before_answer = drift
    assert ids(get(emulator, offset=0, limit=2)) == ["b0", "b1"]
    answer = get(emulator, offset=2, limit=2)
    assert ids(answer) == ["b3", "b4"]
    assert answer.json()["backup_count"] == 6


def test_error_in_the_hook_is_raised_where_the_emulator_ends(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Emulator(fleet) as emulator:  # noqa: PT012
        emulator.before_answer = fail
        assert get(emulator).status_code == 500


def test_count_and_rows_of_an_answer_belong_together_while_the_fleet_moves(
    emulator: Emulator,
) -> None:
    graph = graph_of(emulator)
    over = threading.Event()

    def move() -> None:
        while not over.is_set():
            backup: Backup = graph.add_backup(emulator.fleet.now + timedelta(days=9))
            graph.delete_backup(backup)
            time.sleep(0.0002)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(50):
            page = get(emulator).json()
            assert page["backup_count"] == len(page["backup_list"])
    finally:
        over.set()
        mover.join()


def test_requests_are_kept_without_their_headers(emulator: Emulator) -> None:
    get(emulator, offset=3, limit=2)
    get(emulator, "graphs/no/backups", limit="x")
    requests.get(f"{emulator.endpoint}/v2/{PROJECT}/graphs", timeout=5)
    first, second, third = emulator.requests
    assert first == Request(
        "GET",
        f"/v2/{PROJECT}/graphs/g1/backups",
        {"offset": 3, "limit": 2},
        "backups",
        PROJECT,
        "g1",
        True,
        200,
        None,
    )
    assert (second.graph_id, second.query, second.status) == ("no", {"limit": "x"}, 400)
    assert (third.endpoint, third.has_credentials, third.status) == ("graphs", False, 401)
    assert "emulator-token" not in repr(emulator.requests)


def test_quoted_graph_id_stays_one_segment(emulator: Emulator) -> None:
    assert get(emulator, "graphs/..%2Fg1/backups").status_code == 404
    assert emulator.requests[0].graph_id == "../g1"


def test_emulator_comes_back_on_the_same_port(emulator: Emulator) -> None:
    endpoint = emulator.endpoint
    with requests.Session() as session:
        url = f"{endpoint}/v2/{PROJECT}/graphs"
        assert session.get(url, headers=TOKEN, timeout=5).status_code == 200
        emulator.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(url, headers=TOKEN, timeout=5)
        emulator.start()
        assert emulator.endpoint == endpoint
        assert session.get(url, headers=TOKEN, timeout=5).status_code == 200


def test_an_answer_that_nobody_reads_is_closed_with_the_emulator(fleet: Fleet) -> None:
    large = Fault("large", change=lambda answer: replace(answer, body=b"x" * 50_000_000))
    with warnings.catch_warnings(record=True) as caught, Emulator(fleet) as emulator:
        warnings.simplefilter("always")
        emulator.faults.add(large)
        with socket.create_connection((emulator.host, emulator.port)) as client:
            client.sendall(
                f"GET /v2/{PROJECT}/graphs HTTP/1.1\r\nHost: x\r\n"
                f"X-Auth-Token: {TOKEN['X-Auth-Token']}\r\n\r\n".encode()
            )
            client.recv(100)
            emulator.stop()
        gc.collect()
    assert not caught


def test_hook_can_stop_the_emulator_in_the_middle_of_a_listing(fleet: Fleet) -> None:
    def stop(request: Request) -> None:
        if request.query["offset"] == 2:
            emulator.stop()

    with Emulator(fleet) as emulator:
        emulator.before_answer = stop
        for offset in (0, 2):
            get(emulator, offset=offset, limit=2)
        with pytest.raises(requests.ConnectionError):
            read_for_ever(emulator)
        emulator.start()
        assert get(emulator, offset=4, limit=2).status_code == 200


def test_taken_port_is_an_error_of_start(emulator: Emulator, fleet: Fleet) -> None:
    with pytest.raises(OSError, match="address already in use"):
        Emulator(fleet, port=emulator.port).start()


def test_gzip_is_for_those_who_accept_it(fleet: Fleet) -> None:
    with Emulator(fleet, gzip=True) as emulator:
        url = f"{emulator.endpoint}/v2/{PROJECT}/graphs/g1/backups"
        zipped = requests.get(url, headers=TOKEN, timeout=5)
        plain = requests.get(url, headers={**TOKEN, "Accept-Encoding": "identity"}, timeout=5)
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.json() == plain.json()


def test_latency_delays_answers_side_by_side(fleet: Fleet) -> None:
    with Emulator(fleet, latency_seconds=0.2) as emulator:
        threads = [threading.Thread(target=get, args=(emulator,)) for _ in range(8)]
        start = datetime.now(UTC)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = (datetime.now(UTC) - start).total_seconds()
    assert 0.2 <= seconds < 1


def test_rate_limit_answers_429_with_retry_after(fleet: Fleet) -> None:
    with Emulator(fleet, rate_limit_per_second=5) as emulator:
        answers = [get(emulator) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 5 <= len(answers) - len(refused) < 15
    assert refused[0].json()["error_code"] == "APIGW.0308"
    assert refused[0].headers["Retry-After"] == "1"


def test_example_of_the_readme_runs() -> None:
    readme = Path(ges_emulator.__file__).with_name("README.md").read_text()
    example = readme.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(example, names)
    assert len(names["graph"].backups) > 4


def test_connections_that_come_while_it_stops_are_closed(fleet: Fleet) -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(40):
            stop_while_clients_connect(fleet)
        gc.collect()
    assert [str(one.message) for one in told] == []


def stop_while_clients_connect(fleet: Fleet) -> None:
    connections: list[socket.socket] = []
    begun, over = threading.Event(), threading.Event()

    def connect(port: int) -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connections.append(socket.create_connection(("127.0.0.1", port), timeout=0.1))
            begun.set()

    with Emulator(fleet) as emulator:
        client = threading.Thread(target=connect, args=(emulator.port,))
        client.start()
        begun.wait()
    over.set()
    client.join()
    for connection in connections:
        connection.close()
