"""The properties of a load, each over HTTP: complete, fresh, late, deleted, one bad graph, cheap."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beginnings import Beginnings
from ges_backups.errors import CredentialsError
from ges_emulator import Backup, Emulator, Fault, Fleet, Graph, Request, replies
from ges_history.reports.read import read_table
from harness import (
    DAY_MS,
    FIELDS,
    FIRST_MS,
    NOW,
    ORDERS,
    Asked,
    Warehouse,
    assert_exact,
    fill,
    fleet_of,
    served,
    the_graph,
)
from ledger import Keeper, Ledger

FIXTURES = Path(__file__).parents[1] / "fixtures"
SORTED = ORDERS[:2]


def test_the_example_of_the_api_page_loads_with_every_field_as_on_the_page(
    warehouse: Warehouse,
) -> None:
    example = json.loads((FIXTURES / "api_page_example.json").read_text())["backup_list"]
    fleet = Fleet(now=NOW)
    graph = fleet.add_graph(example[0]["graph_id"])
    for record in example:
        graph.add_record(record)

    with Emulator(fleet) as emulator:
        outcome = warehouse.load(emulator)

    assert outcome.backups["new"] == 2
    rows = warehouse.backups
    for record in example:
        row = rows[record["id"]]
        assert {name: row[name] for name in record} == record
        assert {name: row[name] for name in set(FIELDS) - set(record)} == {
            "product_type": None,
            "encrypted": None,
        }
    first = rows[example[0]["id"]]
    assert first["started_at"] == datetime(2021, 6, 8, 13, 55, 13, tzinfo=UTC)
    assert first["ended_at"] == datetime(2021, 6, 8, 13, 56, 8, tzinfo=UTC)
    assert first["project_id"] == fleet.project_id


def test_the_refusal_of_the_api_page_is_reported_in_its_words(warehouse: Warehouse) -> None:
    example = json.loads((FIXTURES / "api_page_example_404.json").read_text())
    with Emulator(fleet_of()) as emulator:
        outcome = warehouse.load(emulator, graph_ids=["gone"])

    assert outcome.exit_code == 3
    listing = warehouse.listings["gone"]
    assert listing["outcome"] == "missing"
    assert {name: listing[name] for name in example} == example


@pytest.mark.parametrize("page_cap", [1, 2, 3, 7, None])
def test_every_order_and_cap_of_pages_is_read_completely(
    ledger: Ledger, order: str, page_cap: int | None
) -> None:
    fleet = fleet_of(graphs=2, backups=10)
    with Emulator(fleet, order=order, page_cap=page_cap) as emulator:
        ledger.load(emulator, page_size=5)

    assert_exact(ledger, fleet)
    assert ledger.restarts == 0
    assert {listing.outcome for listing in ledger.outcomes} == {"complete"}


@pytest.mark.parametrize("page_size", [1, 2, 9, 10, 11])
def test_every_page_size_is_read_completely(ledger: Ledger, page_size: int) -> None:
    fleet = fleet_of(graphs=1, backups=10)
    with Emulator(fleet) as emulator:
        ledger.load(emulator, page_size=page_size)

    assert_exact(ledger, fleet)


def delete_first(graph: Graph) -> None:
    graph.delete_backup(graph.backups[0])


def delete_last(graph: Graph) -> None:
    graph.delete_backup(graph.backups[-1])


def insert_in_front(graph: Graph) -> None:
    graph.add_backup(graph.backups[0].start_ms - 1000, method="import")


def insert_behind(graph: Graph) -> None:
    graph.add_backup(graph.backups[-1].start_ms + 1000)


def insert_in_the_middle(graph: Graph) -> None:
    graph.add_backup(FIRST_MS + 10 * DAY_MS + 1, method="import")


def replace_first_by_a_new_one(graph: Graph) -> None:
    delete_first(graph)
    insert_behind(graph)


DRIFTS = (
    delete_first,
    delete_last,
    insert_in_front,
    insert_behind,
    insert_in_the_middle,
    replace_first_by_a_new_one,
)


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("drift", DRIFTS)
def test_a_list_that_moves_between_pages_loses_nothing(
    ledger: Ledger, order: str, drift: Callable[[Graph], None], times: int
) -> None:
    fleet = fleet_of(graphs=1, backups=20)
    graph = the_graph(fleet)
    before = set(served(fleet))
    moves: list[int] = []

    def move(request: Request) -> None:
        if request.query.get("offset") and len(moves) < times:
            moves.append(1)
            drift(graph)

    with Emulator(fleet, order=order) as emulator:
        emulator.before_answer = move
        ledger.load(emulator, page_size=5)
        assert len(moves) == times
        assert ledger.outcomes[0].error is None
        throughout = before & set(served(fleet))
        assert throughout <= ledger.listed

        emulator.before_answer = None
        ledger.load(emulator, page_size=5)
    assert_exact(ledger, fleet)


def test_a_backup_that_is_deleted_while_its_graph_is_first_read_is_marked_by_the_same_load(
    warehouse: Warehouse, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=20)
    graph = the_graph(fleet)
    gone: list[str] = []

    def delete_one_that_was_read(request: Request) -> None:
        if request.query.get("offset") and not gone:
            gone.append(graph.rows.page(order, 0, 1)[0].id)
            graph.delete_backup(gone[0])

    with Emulator(fleet, order=order) as emulator:
        emulator.before_answer = delete_one_that_was_read
        outcome = warehouse.load(emulator, page_size=5)

    assert warehouse.deleted == set(gone)
    assert (outcome.backups["new"], outcome.backups["deleted"]) == (20, 1)
    assert outcome.backups["changed"] == 0
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize("asked", ["graph", "project", "deleted graph"])
def test_a_backup_that_comes_and_goes_in_one_load_lowers_no_other_figure(
    warehouse: Warehouse, asked: str
) -> None:
    fleet = fleet_of(graphs=1, backups=3)
    endpoint = "backups" if asked == "graph" else "all_backups"
    listing = "project" if asked == "project" else "graphs"
    with Emulator(fleet) as emulator:
        warehouse.load(emulator, listing=listing)
        the_graph(fleet).rename("renamed")
        coming = fleet.add_graph("g2")
        fill(coming, 10)
        if asked == "deleted graph":
            fleet.delete_graph("g2")

        def delete_one_that_was_read(request: Request) -> None:
            is_behind = request.endpoint == endpoint and request.query.get("offset")
            if is_behind and coming.backups[0].id == "g2-b0":
                coming.delete_backup("g2-b0")

        emulator.before_answer = delete_one_that_was_read
        outcome = warehouse.load(emulator, listing=listing, page_size=5, full=True)

    assert warehouse.deleted == {"g2-b0"}
    figures = {kind: outcome.backups[kind] for kind in ("new", "changed", "deleted", "returned")}
    assert figures == {"new": 10, "changed": 3, "deleted": 1, "returned": 0}


REFUSALS = [replies.wrong_parameter("offset"), replies.no_graph()]


def graph_marks(ledger: Ledger) -> list[Any]:
    return [row["deleted_at"] for row in ledger.rows("graphs")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "404"])
@pytest.mark.parametrize("listing", ["graphs", "project"])
@pytest.mark.parametrize("order", SORTED)
def test_a_list_that_shrank_is_loaded_where_offsets_behind_its_end_are_refused(
    ledger: Ledger, order: str, listing: str, refusal: replies.Answer
) -> None:
    fleet = fleet_of(graphs=1, backups=30)
    graph = the_graph(fleet)
    ledger.listing = listing
    with Emulator(fleet, order=order, page_cap=10) as emulator:
        emulator.behind_end = refusal
        ledger.load(emulator)
        for backup in graph.backups[3:7]:
            graph.delete_backup(backup)
        for number in (50, 51):
            fill(graph, 1, first=number)
            assert ledger.load(emulator).exit_code == 0
            assert_exact(ledger, fleet)
    assert graph_marks(ledger) == [None]


@pytest.mark.parametrize("order", SORTED)
def test_a_list_that_shrank_is_loaded_where_the_last_page_is_answered_behind_its_end(
    ledger: Ledger, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=30)
    graph = the_graph(fleet)

    def served_from(offset: int, limit: int) -> int:
        last = (len(graph.backups) - 1) // limit * limit
        return offset if offset < len(graph.backups) else last

    with Emulator(fleet, order=order, page_cap=10) as emulator:
        emulator.faults.add(Fault("last page", page=served_from), times=None, path="backups")
        ledger.load(emulator)
        for backup in graph.backups[3:20]:
            graph.delete_backup(backup)
        fill(graph, 1, first=50)
        assert ledger.load(emulator, request_seconds=2).exit_code == 0
        assert_exact(ledger, fleet)


@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "404"])
@pytest.mark.parametrize("listing", ["graphs", "project"])
@pytest.mark.parametrize("order", SORTED)
def test_a_list_that_shrinks_while_it_is_first_read_is_loaded_where_offsets_are_refused(
    ledger: Ledger, order: str, listing: str, refusal: replies.Answer
) -> None:
    fleet = fleet_of(graphs=1, backups=60)
    graph = the_graph(fleet)
    ledger.listing = listing

    def delete_the_last(request: Request) -> None:
        if request.query.get("offset") and len(graph.backups) == 60:
            for backup in graph.rows.page(order, 40, 20):
                graph.delete_backup(backup)

    with Emulator(fleet, order=order, page_cap=10) as emulator:
        emulator.behind_end = refusal
        emulator.before_answer = delete_the_last
        assert ledger.load(emulator).exit_code == 0
    assert ledger.restarts == 1
    assert_exact(ledger, fleet)
    assert graph_marks(ledger) == [None]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "404"])
def test_graphs_that_go_while_their_list_is_read_end_no_load_where_offsets_are_refused(
    ledger: Ledger, refusal: replies.Answer
) -> None:
    fleet = fleet_of(graphs=60, backups=1)

    def delete_some(request: Request) -> None:
        if request.endpoint == "graphs" and request.query.get("offset") and len(fleet.graphs) > 40:
            for number in range(41, 61):
                fleet.delete_graph(f"g{number}")

    with Emulator(fleet, page_cap=10) as emulator:
        emulator.behind_end = refusal
        emulator.before_answer = delete_some
        assert ledger.load(emulator).exit_code == 0
    left = {f"g{number}" for number in range(1, 41)}
    assert {row["id"] for row in ledger.rows("graphs") if row["deleted_at"] is None} == left
    assert set(ledger.last_outcomes) >= left


@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "404"])
def test_pages_that_are_refused_each_time_are_told_in_the_words_of_the_api(
    ledger: Ledger, refusal: replies.Answer
) -> None:
    fleet = fleet_of(graphs=1, backups=30)
    with Emulator(fleet, page_cap=10) as emulator:
        emulator.behind_end = refusal
        behind = Fault("behind the end", page=lambda offset, _: offset and 1000)
        emulator.faults.add(behind, times=None, graph_id="g1")
        outcome = ledger.load(emulator, concurrency=1)

    assert outcome.exit_code == 3
    assert ledger.last_outcomes == {"g1": "failed"}
    assert ledger.listings["g1"]["error_code"] == refusal.payload["error_code"]
    assert Asked.of(emulator).count() == 12  # the first page and one behind it, six times
    assert graph_marks(ledger) == [None]
    assert len(ledger.backups) == 10


@pytest.mark.parametrize("order", SORTED)
def test_a_running_backup_is_read_again_until_it_has_ended(kept: Keeper, order: str) -> None:
    fleet = fleet_of(graphs=1, backups=10)
    graph = the_graph(fleet)
    running = graph.add_backup(FIRST_MS + 10 * DAY_MS, status="backing_up", id="running")
    with Emulator(fleet, order=order) as emulator:
        assert kept.load(emulator, page_size=4).backups["running"] == 1
        for first in (20, 30):
            fill(graph, 9, first)
            kept.load(emulator, page_size=4)
            assert kept.backups["running"]["ended_at"] is None
        running.finish(size=77, duration=9999)
        outcome = kept.load(emulator, page_size=4)

    assert outcome.backups["running"] == 0
    assert outcome.backups["changed"] == 1
    assert kept.backups["running"]["size"] == 77
    assert_exact(kept, fleet)


def test_a_graph_that_joins_late_brings_its_whole_history(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=1, backups=3)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        late = fleet.add_graph("late")
        for day in range(30):
            late.add_backup(1_000_000_000_000 + day * DAY_MS)
        outcome = warehouse.load(emulator, page_size=10)

    assert outcome.backups["new"] == 30
    assert_exact(warehouse, fleet)


def test_an_import_with_an_old_start_is_found_by_the_count(ledger: Ledger, order: str) -> None:
    fleet = fleet_of(graphs=1, backups=30)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=10)
        graph.add_backup(FIRST_MS + 12 * DAY_MS + 5, method="import", id="imported")
        ledger.load(emulator, page_size=10)

    assert_exact(ledger, fleet)


@pytest.mark.parametrize("order", SORTED)
def test_an_import_that_the_count_hides_is_found_by_the_next_full_listing(
    ledger: Ledger, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=30)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=10)
        graph.add_backup(FIRST_MS + 12 * DAY_MS + 5, method="import", id="imported")
        graph.delete_backup("g1-b15")
        ledger.load(emulator, page_size=10, full_listing_interval="0s")

    assert ledger.deleted == {"g1-b15"}
    assert_exact(ledger, fleet)


@pytest.mark.parametrize(
    ("order", "page_size"),
    [("old_to_new", 4), ("new_to_old", 4), ("shuffled", 4), ("old_to_new", 100)],
)
def test_deleted_backups_stay_and_are_marked_once(kept: Keeper, order: str, page_size: int) -> None:
    fleet = fleet_of(graphs=1, backups=10)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        kept.load(emulator, page_size=page_size)
        for number in (0, 5, 9):
            graph.delete_backup(f"g1-b{number}")
        before = datetime.now(UTC)
        assert kept.load(emulator, page_size=page_size).backups["deleted"] == 3
        after = datetime.now(UTC)
        marks = {key: row["deleted_at"] for key, row in kept.backups.items()}
        fill(graph, 2, first=20)
        assert kept.load(emulator, page_size=page_size, full=True).backups["deleted"] == 0

    assert kept.deleted == {"g1-b0", "g1-b5", "g1-b9"}
    assert all(before <= marks[key] <= after for key in kept.deleted)
    rows = kept.backups
    assert {key: rows[key]["deleted_at"] for key in marks} == marks
    assert_exact(kept, fleet)


@pytest.mark.parametrize("page_size", [4, 100], ids=["several pages", "one page"])
def test_an_emptied_graph_keeps_its_history_and_a_returned_backup_loses_its_mark(
    warehouse: Warehouse, beginnings: Beginnings, page_size: int
) -> None:
    fleet = fleet_of(graphs=2, backups=10)
    graph = the_graph(fleet)
    rows = graph.backups
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator, page_size=page_size)
        for row in rows:
            graph.delete_backup(row)
        assert warehouse.load(emulator, page_size=page_size).backups["deleted"] == 10
        assert_exact(warehouse, fleet)

        for row in rows[3:5]:
            graph.add_record(row.record, start_ms=row.start_ms)
        assert warehouse.load(emulator, page_size=page_size).backups["returned"] == 2
        assert_exact(warehouse, fleet)

        for row in [*rows[:3], *rows[5:]]:
            graph.add_record(row.record, start_ms=row.start_ms)
        assert warehouse.load(emulator, page_size=page_size).backups["returned"] == 8
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize("order", SORTED)
def test_a_returned_backup_loses_its_mark_in_a_list_of_several_pages(
    ledger: Ledger, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=10)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=4)
        gone = graph.backups[-1]
        graph.delete_backup(gone)
        ledger.load(emulator, page_size=4)
        assert ledger.deleted == {gone.id}
        graph.add_record(gone.record, start_ms=gone.start_ms)
        ledger.load(emulator, page_size=4)
    assert_exact(ledger, fleet)


BAD_GRAPHS: dict[str, tuple[Callable[[Emulator], None], str, str]] = {
    "missing": (
        lambda emulator: emulator.faults.add(Fault.http(404), None, graph_id="g2"),
        "missing",
        "GES.0047",
    ),
    "forbidden": (lambda emulator: emulator.forbid("g2"), "forbidden", "GES.0016"),
    "refused": (
        lambda emulator: emulator.faults.add(Fault.http(400), None, graph_id="g2"),
        "failed",
        "GES.0001",
    ),
    "failing": (
        lambda emulator: emulator.faults.add(Fault.http(500), None, graph_id="g2"),
        "failed",
        "GES.0011",
    ),
}


@pytest.mark.parametrize("kind", BAD_GRAPHS)
def test_a_bad_graph_is_reported_and_harms_no_other(
    warehouse: Warehouse, beginnings: Beginnings, kind: str
) -> None:
    break_it, outcome_word, error_code = BAD_GRAPHS[kind]
    fleet = fleet_of(graphs=3, backups=3)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        for graph in fleet.graphs:
            fill(graph, 2, first=10)
            delete_first(graph)
        break_it(emulator)
        outcome = warehouse.load(emulator, request_seconds=0.5)

        assert outcome.outcome == "partial"
        assert outcome.exit_code == 3
        assert outcome.graphs == {"total": 3, "listed": 2, "failed": 1}
        assert [problem["graph_id"] for problem in outcome.problems] == ["g2"]
        assert outcome.problems[0]["error_code"] == error_code
        kept = warehouse.backups
        assert {key for key, row in kept.items() if row["deleted_at"]} == {"g1-b0", "g3-b0"}
        assert {"g1-b10", "g3-b11"} <= kept.keys()
        assert "g2-b10" not in kept
        listing = warehouse.listings["g2"]
        assert (listing["outcome"], listing["error_code"]) == (outcome_word, error_code)

        emulator.faults.clear()
        emulator.allow("g2")
        assert warehouse.load(emulator).exit_code == 0
    assert_exact(warehouse, fleet)


def test_a_listing_that_fails_in_the_middle_marks_nothing(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=2, backups=10)
    graph = the_graph(fleet)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator, page_size=4)
        for backup in graph.backups[:5]:
            graph.delete_backup(backup)
        fill(graph, 3, first=20)
        emulator.faults.add(Fault.http(500), graph_id="g1", at=range(2, 1000))
        outcome = warehouse.load(emulator, page_size=4, full=True, request_seconds=0.5)
        assert outcome.exit_code == 3
        assert warehouse.deleted == set()

        emulator.faults.clear()
        warehouse.load(emulator, page_size=4)
    assert_exact(warehouse, fleet)


def test_a_graph_that_leaves_the_list_is_asked_once_and_comes_back_whole(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        kept = the_graph(fleet, "g2")
        fleet.delete_graph("g2")

        asked = Asked(emulator)
        assert warehouse.load(emulator).exit_code == 3
        assert asked.count(graph_id="g2") == 1
        assert warehouse.listings["g2"]["outcome"] == "missing"
        assert {row["id"]: bool(row["deleted_at"]) for row in warehouse.rows("graphs")} == {
            "g1": False,
            "g2": True,
        }
        assert warehouse.deleted == set()  # nobody said that its backups are gone

        asked = Asked(emulator)
        outcome = warehouse.load(emulator)
        assert (outcome.outcome, asked.count(graph_id="g2")) == ("unchanged", 0)

        again = fleet.add_graph("g2")
        for row in kept.backups[1:]:
            again.add_record(row.record, start_ms=row.start_ms)
            assert warehouse.load(emulator).exit_code == 0
        assert warehouse.deleted == {"g2-b0"}
        assert {row["deleted_at"] for row in warehouse.rows("graphs")} == {None}
    assert_exact(warehouse, fleet)


def test_a_token_that_dies_in_the_middle_ends_the_load_and_leaves_the_warehouse_as_it_was(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=3, backups=20)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator, page_size=5)
        for graph in fleet.graphs:
            fill(graph, 10, first=50)
        before = warehouse.snapshot()
        seen: list[Request] = []

        def revoke(request: Request) -> None:
            seen.append(request)
            if len(seen) == 8:
                emulator.revoke_tokens()

        emulator.before_answer = revoke
        with pytest.raises(CredentialsError, match="refused the credential") as refused:
            warehouse.load(emulator, page_size=5, full=True)
        assert "emulator-token" not in str(refused.value)
        assert warehouse.snapshot() == before

        emulator.before_answer = None
        emulator.tokens.add("another-token", fleet.project_id)
        warehouse.load(emulator, page_size=5, credentials={"token": "another-token"})
    assert_exact(warehouse, fleet)


BLOCK = 262_144  # DuckDB writes in such blocks, and needs a spare one or two to do so


@pytest.mark.parametrize(
    ("order", "page_size", "full"),
    [
        pytest.param("old_to_new", 4, False, id="old to new, recent"),
        pytest.param("new_to_old", 4, False, id="new to old, recent"),
        pytest.param("shuffled", 4, False, id="shuffled"),
        pytest.param("old_to_new", 4, True, id="several pages, full"),
        pytest.param("old_to_new", 100, False, id="one page"),
        pytest.param("old_to_new", 100, True, id="one page, full"),
    ],
)
def test_loading_again_changes_nothing(
    warehouse: Warehouse, beginnings: Beginnings, order: str, page_size: int, full: bool
) -> None:
    fleet = fleet_of(graphs=3, backups=10)
    the_graph(fleet, "g2").add_backup(NOW, status="backing_up")
    with Emulator(fleet, order=order) as emulator:
        beginnings.load(warehouse, emulator, page_size=page_size)
        rows, sizes = warehouse.backups, [warehouse.path.stat().st_size]
        for _ in range(7):
            outcome = warehouse.load(emulator, page_size=page_size, full=full)
            assert outcome.outcome == "unchanged"
            changes = ("new", "changed", "deleted", "returned", "rejected")
            assert {outcome.backups[kind] for kind in changes} == {0}
            sizes.append(warehouse.path.stat().st_size)

    assert warehouse.backups == rows
    if order != "shuffled" and not full:
        assert sizes[1] <= sizes[0] + 2 * BLOCK  # of `listings`, and of `projects`
    assert max(sizes[5:]) <= max(sizes[:5])
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize("order", SORTED)
def test_one_new_backup_in_a_graph_of_4000_costs_at_most_4_requests(
    kept: Keeper, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=4000)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        kept.load(emulator, page_size=100)
        for number in (5000, 5001):
            fill(graph, 1, first=number)
            asked = Asked(emulator)
            outcome = kept.load(emulator, page_size=100)
            assert outcome.backups["new"] == 1
            assert asked.total <= 4
            assert outcome.requests == asked.total
        asked = Asked(emulator)
        assert kept.load(emulator, page_size=100).outcome == "unchanged"
        assert asked.count() == 1
    assert_exact(kept, fleet)


@pytest.mark.parametrize("order", SORTED)
def test_what_is_new_costs_in_proportion_and_not_by_the_history(ledger: Ledger, order: str) -> None:
    fleet = fleet_of(graphs=1, backups=2000)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=20)
        fill(graph, 100, first=5000)
        asked = Asked(emulator)
        ledger.load(emulator, page_size=20)
        assert asked.count() <= 8
    assert_exact(ledger, fleet)


@pytest.mark.parametrize("order", SORTED)
def test_backups_stuck_forever_below_thousands_of_newer_ones_stay_cheap(
    ledger: Ledger, order: str
) -> None:
    fleet = fleet_of(graphs=1, backups=50)
    graph = the_graph(fleet)
    stuck = [
        graph.add_backup(FIRST_MS + day * DAY_MS + 7, status="backing_up", id=f"stuck{day}")
        for day in (3, 21, 48)
    ]
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=50)
        for first in range(100, 3100, 1000):
            fill(graph, 1000, first)
            ledger.load(emulator, page_size=50)
        fill(graph, 1, first=9000)
        asked = Asked(emulator)
        ledger.load(emulator, page_size=50)
        assert asked.count() <= 3 + len(stuck)

        stuck[1].finish(size=5)
        asked = Asked(emulator)
        ledger.load(emulator, page_size=50)
        assert asked.count() <= 3 + len(stuck)
    assert_exact(ledger, fleet)


@pytest.mark.parametrize("page_size", [7, 100])
def test_a_fleet_of_single_pages_costs_one_request_a_graph_plus_the_discovery(
    warehouse: Warehouse, page_size: int
) -> None:
    fleet = fleet_of(graphs=20, backups=5)
    with Emulator(fleet) as emulator:
        for of_deleted_graphs in (1, 0, 0):
            asked = Asked(emulator)
            warehouse.load(emulator, page_size=page_size)
            assert asked.count("backups") == 20
            assert asked.count("graphs") <= -(-20 // (page_size - 1))
            assert asked.count("all_backups") == of_deleted_graphs
            assert asked.total == 20 + asked.count("graphs") + of_deleted_graphs
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize(("order", "page_size"), [("new_to_old", 4), ("old_to_new", 100)])
def test_a_changed_row_is_never_hidden_by_an_answer_that_looks_alike(
    warehouse: Warehouse, beginnings: Beginnings, order: str, page_size: int
) -> None:
    fleet = fleet_of(graphs=1, backups=10)
    graph = the_graph(fleet)
    with Emulator(fleet, order=order) as emulator:
        beginnings.load(warehouse, emulator, page_size=page_size)
        warehouse.load(emulator, page_size=page_size)
        graph.rename("renamed")
        warehouse.load(emulator, page_size=page_size, full=page_size == 4)
        assert_exact(warehouse, fleet)
        graph.rename("renamed again")
        warehouse.load(emulator, page_size=page_size, full=True)
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize(("order", "page_size"), [("new_to_old", 4), ("old_to_new", 100)])
def test_a_window_loads_its_backups_marks_nothing_and_moves_no_cursor(
    warehouse: Warehouse, order: str, page_size: int
) -> None:
    fleet = fleet_of(graphs=2, backups=10)

    def day(number: int) -> datetime:
        return datetime.fromtimestamp(FIRST_MS / 1000, UTC) + timedelta(days=number)

    window: dict[str, Any] = {"since": day(3), "until": day(6), "page_size": page_size}
    with Emulator(fleet, order=order) as emulator:
        warehouse.load(emulator, **window)
        assert warehouse.listed == {f"g{g}-b{n}" for g in (1, 2) for n in (3, 4, 5)}
        warehouse.load(emulator, page_size=page_size)
        assert_exact(warehouse, fleet)

        graph = the_graph(fleet)
        graph.delete_backup("g1-b4")
        graph.delete_backup("g1-b9")
        fill(graph, 2, first=20)
        warehouse.load(emulator, **window)
        assert warehouse.deleted == set()
        assert not {"g1-b20", "g1-b21"} & warehouse.listed
        warehouse.load(emulator, page_size=page_size)
    assert_exact(warehouse, fleet)


def test_a_window_says_nothing_of_what_is_newer(warehouse: Warehouse) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    fleet.graphs[1].delete_backup("g2-b0")
    day = datetime.fromtimestamp(FIRST_MS / 1000, UTC)
    window: dict[str, Any] = {"since": day, "until": day + timedelta(days=1)}

    def known_until() -> dict[str, datetime | None]:
        names = read_table("recovery_point", warehouse.path).to_pylist()
        return {row["graph_id"]: row["known_until"] for row in names}

    with Emulator(fleet) as emulator:
        warehouse.load(emulator, **window)
        assert known_until() == {"g1": day, "g2": None}  # of g1 a backup was seen
        warehouse.load(emulator)
        listed = {key: row["listed_at"] for key, row in warehouse.listings.items()}
        assert known_until() == listed
        warehouse.load(emulator, **window)
        assert {key: row["listed_at"] > listed[key] for key, row in warehouse.listings.items()} == {
            "g1": True,
            "g2": True,
        }
        assert known_until() == listed


def test_a_graph_that_turns_its_order_or_its_cap_is_still_exact(ledger: Ledger) -> None:
    fleet = fleet_of(graphs=1, backups=25)
    graph = the_graph(fleet)
    with Emulator(fleet) as emulator:
        for number, (order, cap) in enumerate(
            [("old_to_new", 10), ("new_to_old", 4), ("shuffled", 1), ("new_to_old", 2)]
        ):
            emulator.order, emulator.page_cap = order, cap
            ledger.load(emulator)
            assert_exact(ledger, fleet)
            fill(graph, 2, first=100 + 10 * number)
            delete_first(graph)
            ledger.load(emulator)
            assert_exact(ledger, fleet)


@pytest.mark.parametrize("turn_at", [1, 2, 3, 4])
def test_an_order_that_turns_in_the_middle_of_a_listing_loses_nothing(
    ledger: Ledger, turn_at: int
) -> None:
    fleet = fleet_of(graphs=1, backups=25)
    seen: list[int] = []

    def order_of_request(request: Request) -> str:
        if request.endpoint == "backups":
            seen.append(1)
        return "old_to_new" if len(seen) <= turn_at else "new_to_old"

    with Emulator(fleet, order=order_of_request) as emulator:
        ledger.load(emulator, page_size=6)
    assert ledger.outcomes[0].error is None
    assert_exact(ledger, fleet)


def test_pages_that_are_read_side_by_side_survive_a_list_that_moves(ledger: Ledger) -> None:
    fleet = fleet_of(graphs=1, backups=600)
    graph = the_graph(fleet)
    before = set(served(fleet))
    seen: list[Request] = []

    def move(request: Request) -> None:
        seen.append(request)
        if request.graph_id and len(seen) in (5, 9, 14, 20):
            delete_first(graph)
            insert_behind(graph)

    with Emulator(fleet) as emulator:
        emulator.before_answer = move
        ledger.load(emulator, page_size=20, concurrency=8)
        assert ledger.outcomes[0].error is None
        assert before & set(served(fleet)) <= ledger.listed
        emulator.before_answer = None
        ledger.load(emulator, page_size=20)
    assert_exact(ledger, fleet)


def load_with_a_late_page(ledger: Ledger, fleet: Fleet, move: Callable[[int], None]) -> set[int]:
    """Load by pages of 20, the second one late: before it is answered, `move` gets its offset.

    Returns:
        The offsets that had been answered by then.
    """
    answered: list[int] = []
    before: list[set[int]] = []

    def wait_for_it(request: Request) -> None:
        if not request.graph_id:
            return
        offset = int(request.query["offset"])
        if offset in answered and not before:
            before.append(set(answered))
            move(offset)
        answered.append(offset)

    with Emulator(fleet) as emulator:
        emulator.before_answer = wait_for_it
        later = replies.error(503, "GES.7005", "Busy.", **{"Retry-After": "0.5"})
        emulator.faults.add(Fault("later", change=lambda _: later), graph_id="g1", at=2)
        ledger.load(emulator, page_size=20, concurrency=8)
    assert ledger.outcomes[0].error is None
    return before[0]


def test_what_only_a_page_read_ahead_has_shown_is_kept(ledger: Ledger) -> None:
    fleet = fleet_of(graphs=1, backups=200)
    graph = the_graph(fleet)
    short_lived = graph.backups[140]

    def move(_: int) -> None:
        delete_first(graph)
        graph.delete_backup(short_lived)

    assert 133 in load_with_a_late_page(ledger, fleet, move)
    assert short_lived.id in ledger.deleted
    with Emulator(fleet) as emulator:
        ledger.load(emulator, page_size=20)
    assert_exact(ledger, fleet)


def test_of_two_answers_for_a_backup_the_later_one_counts_though_its_page_is_the_earlier(
    ledger: Ledger,
) -> None:
    fleet = fleet_of(graphs=1, backups=200)
    graph = the_graph(fleet)
    late: list[int] = []
    changed: list[Backup] = []

    def move(offset: int) -> None:
        late.append(offset)
        changed.append(graph.backups[offset + 19])
        changed[0].record["size"] = 77
        graph.delete_backup(graph.backups[offset + 5])

    answered = load_with_a_late_page(ledger, fleet, move)
    assert late[0] + 19 in answered  # the next page begins with the last row of the late one
    assert ledger.backups[changed[0].id]["size"] == 77


def test_an_answer_like_the_last_complete_one_is_read_after_a_listing_that_failed(
    ledger: Ledger,
) -> None:
    fleet = fleet_of(graphs=1, backups=5)
    graph = the_graph(fleet)
    with Emulator(fleet, page_cap=20) as emulator:
        ledger.load(emulator)
        graph.rename("for a while")
        fill(graph, 40, first=10)
        emulator.faults.add(Fault.http(400), None, graph_id="g1", at=range(2, 99))
        ledger.load(emulator)
        assert ledger.last_outcomes == {"g1": "failed"}
        assert ledger.backups["g1-b0"]["graph_name"] == "for a while"

        emulator.faults.clear()
        for backup in graph.backups[5:]:
            graph.delete_backup(backup)
        graph.rename("graph_1")
        ledger.load(emulator)
    assert_exact(ledger, fleet)


def test_an_answer_like_the_last_complete_one_is_read_after_a_window(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=1, backups=5)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        the_graph(fleet).rename("for a while")
        warehouse.load(emulator, since=datetime(2020, 1, 1, tzinfo=UTC))
        assert warehouse.backups["g1-b0"]["graph_name"] == "for a while"
        the_graph(fleet).rename("graph_1")
        warehouse.load(emulator)
    assert_exact(warehouse, fleet)
