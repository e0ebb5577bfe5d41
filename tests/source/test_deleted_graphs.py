"""Graphs that were deleted and left backups: found, followed and marked where each graph is listed."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

import ges_history
from beginnings import Beginnings
from ges_backups.schema import PROJECT_COLUMNS
from ges_emulator import Emulator, Fault, Fleet
from ges_history.loading.projects import load
from harness import FIRST_MS, TOKEN, Asked, Warehouse, expected_row, fill, fleet_of, the_graph
from ledger import Keeper, Ledger

ALWAYS = {"full_listing_interval": "0s"}
"""The interval is over with each load."""


@pytest.fixture
def fleet() -> Fleet:
    """Five graphs of 40 backups, of which `g2` was deleted before anybody loaded."""
    fleet = fleet_of(graphs=5, backups=40)
    fleet.delete_graph("g2")
    return fleet


@pytest.fixture
def emulator(fleet: Fleet, order: str) -> Iterator[Emulator]:
    with Emulator(fleet, order=order) as emulator:
        yield emulator


def listed(fleet: Fleet) -> dict[str, Any]:
    """Rows of all backups that the project lists, those of deleted graphs included."""
    return {
        backup.id: expected_row(backup.record, fleet.project_id)
        for graph in (*fleet.graphs, *fleet.deleted_graphs)
        for backup in graph.backups
    }


def assert_whole(kept: Keeper, fleet: Fleet) -> None:
    rows = kept.backups
    wanted = listed(fleet)
    assert {key for key, row in rows.items() if row["deleted_at"] is None} == set(wanted)
    assert {key: {name: rows[key][name] for name in row} for key, row in wanted.items()} == wanted


def graphs_of(kept: Keeper) -> dict[str, bool]:
    """Whether each graph is marked; none stands there twice."""
    rows = kept.rows("graphs")
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["deleted_at"] is not None for row in rows}


def told(kept: Keeper) -> Any:
    """What came of asking for what deleted graphs have left."""
    (project,) = kept.rows("projects")
    return json.loads(project["cursor"])["deleted_graphs_outcome"]


def reported(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    with ges_history.connect(warehouse.path) as history:
        return history.execute(sql).fetchall()


def test_what_a_deleted_graph_has_left_is_found_followed_and_marked(
    emulator: Emulator, fleet: Fleet, kept: Keeper
) -> None:
    outcome = kept.load(emulator)
    assert (outcome.exit_code, outcome.graphs) == (0, {"total": 4, "listed": 4, "failed": 0})
    assert (outcome.backups["new"], outcome.requests) == (200, 6)
    assert_whole(kept, fleet)
    assert graphs_of(kept) == {"g1": False, "g2": True, "g3": False, "g4": False, "g5": False}

    gone = fleet.deleted_graphs[0].backups[7]
    fleet.deleted_graphs[0].delete_backup(gone)
    asked = Asked(emulator)
    assert kept.load(emulator).outcome == "unchanged"  # within the interval nobody asks
    assert (asked.total, asked.count("all_backups")) == (5, 0)

    assert kept.load(emulator, **ALWAYS).backups["deleted"] == 1
    assert kept.deleted == {gone.id}
    assert_whole(kept, fleet)
    marked_at = kept.backups[gone.id]["deleted_at"]

    fleet.forget_graph("g2")
    assert kept.load(emulator, **ALWAYS).backups["deleted"] == 39
    assert_whole(kept, fleet)
    assert kept.backups[gone.id]["deleted_at"] == marked_at
    before = dict(kept.backups)
    asked = Asked(emulator)
    assert kept.load(emulator, **ALWAYS).outcome == "unchanged"
    assert asked.count("all_backups") == 1
    assert kept.backups == before


@pytest.mark.parametrize("cap", [None, 10])
def test_a_graph_that_is_deleted_while_it_is_followed_keeps_its_backups(
    order: str, cap: int | None, warehouse: Warehouse, learner: Ledger
) -> None:
    kept = warehouse if (order, cap) == ("old_to_new", None) else learner
    fleet = fleet_of(graphs=3, backups=40)
    with Emulator(fleet, order=order, page_cap=cap) as emulator:
        kept.load(emulator)
        fill(the_graph(fleet, "g3"), 1, first=50)
        fleet.delete_graph("g3")
        outcome = kept.load(emulator, **ALWAYS)
        assert outcome.exit_code == 3  # told once: it was asked for, and is missing
        assert_whole(kept, fleet)
        assert graphs_of(kept) == {"g1": False, "g2": False, "g3": True}
        statuses = {row["id"]: (row["status"], row["status_name"]) for row in kept.rows("graphs")}
        assert statuses["g3"] == ("400", "deleted")  # by the listing of the project
        assert statuses["g1"] == ("200", "running")
        assert kept.load(emulator, **ALWAYS).exit_code == 0
        assert_whole(kept, fleet)
        fleet.forget_graph("g3")
        kept.load(emulator, **ALWAYS)
        assert_whole(kept, fleet)
        assert len(kept.deleted) == 41


def test_where_nothing_was_deleted_it_costs_one_request_an_interval(
    order: str, learner: Ledger
) -> None:
    fleet = fleet_of(graphs=3, backups=40)
    with Emulator(fleet, order=order, page_cap=10) as emulator:
        for settings, times in (({}, 1), ({}, 0), (ALWAYS, 1), ({}, 0), ({"full": True}, 1)):
            asked = Asked(emulator)
            learner.load(emulator, **settings)
            assert asked.count("all_backups") == times
        learner.load(emulator, graph_ids=["g1"], **ALWAYS)
        assert Asked.of(emulator).count("all_backups") == 3
        assert_whole(learner, fleet)


def test_a_window_asks_for_nothing_of_deleted_graphs(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    with Emulator(fleet_of(graphs=2, backups=3)) as emulator:
        beginnings.load(warehouse, emulator)
        asked = Asked(emulator)
        warehouse.load(emulator, since="2020-01-01", **ALWAYS)
        assert (asked.count(), asked.count("all_backups")) == (2, 0)


def test_a_project_that_has_no_graph_left_is_followed(learner: Ledger) -> None:
    fleet = fleet_of(graphs=1, backups=3)
    fleet.delete_graph("g1")
    with Emulator(fleet) as emulator:
        assert learner.load(emulator).exit_code == 0
        assert_whole(learner, fleet)
        assert graphs_of(learner) == {"g1": True}


FAULTS = [
    Fault.http(404),
    Fault.http(404, error_code="APIGW.0101"),
    Fault.http(400),
    Fault.http(403),
    Fault.http(401),
    Fault.http(503),
    Fault.reset_before_answer(),
    Fault.html_page(),
]


def assert_does_not_tell(fault: Fault, kept: Keeper) -> None:
    """Two loads while the project's listing is refused: without a problem, without a mark."""
    fleet = fleet_of(graphs=3, backups=5)
    with Emulator(fleet) as emulator:
        fleet.delete_graph("g3")
        kept.load(emulator)
        emulator.faults.add(fault, times=None, path="all_backups")
        for full in (True, False):
            asked = Asked(emulator)
            outcome = kept.load(emulator, full=full, request_seconds=2)
            assert (outcome.exit_code, outcome.problems) == (0, [])
            assert outcome.graphs == {"total": 2, "listed": 2, "failed": 0}
            assert (asked.count("all_backups") > 0) is full  # remembered for the interval
        assert asked.total == 3
    assert_whole(kept, fleet)
    assert {row["graph_id"] for row in kept.rows("listings")} == {"g1", "g2"}
    assert told(kept) in ("missing", "forbidden", "failed")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_project_that_does_not_tell_is_no_problem_and_marks_nothing(
    fault: Fault, learner: Ledger
) -> None:
    assert_does_not_tell(fault, learner)


def test_a_project_that_does_not_tell_is_no_problem_in_a_report(warehouse: Warehouse) -> None:
    assert_does_not_tell(Fault.http(403), warehouse)
    assert reported(warehouse, "SELECT graph_id FROM reports.load_health ORDER BY 1") == [
        ("g1",),
        ("g2",),
    ]
    overview = "SELECT graphs, graphs_at_source, failed_listings FROM reports.overview"
    assert reported(warehouse, overview) == [(3, 2, 0)]


def test_a_listing_that_breaks_off_is_no_evidence(learner: Ledger) -> None:
    fleet = fleet_of(graphs=2, backups=30)
    fleet.delete_graph("g2")
    with Emulator(fleet, page_cap=10) as emulator:
        learner.load(emulator)
        fleet.deleted_graphs[0].delete_backup(fleet.deleted_graphs[0].backups[3])
        emulator.faults.add(Fault.http(403), path="all_backups", at=3)
        assert learner.load(emulator, **ALWAYS).exit_code == 0
        assert told(learner) == "forbidden"
        assert learner.deleted == set()
        learner.load(emulator, **ALWAYS)
        assert_whole(learner, fleet)


def test_a_graph_that_fails_is_not_taken_from_the_project(learner: Ledger) -> None:
    fleet = fleet_of(graphs=3, backups=5)
    fleet.delete_graph("g3")
    with Emulator(fleet) as emulator:
        emulator.faults.add(Fault.http(403), times=None, graph_id="g2")
        outcome = learner.load(emulator)
        assert outcome.exit_code == 3
        assert [problem["graph_id"] for problem in outcome.problems] == ["g2"]
        assert {row["graph_id"] for row in learner.backups.values()} == {"g1", "g3"}
        assert graphs_of(learner) == {"g1": False, "g2": False, "g3": True}


def test_a_graph_that_may_not_be_seen_any_more_has_not_lost_its_backups(
    emulator: Emulator, fleet: Fleet, learner: Ledger
) -> None:
    """A credential that lost its rights: no list of the project holds the graph or its backups."""
    learner.load(emulator)
    fleet.delete_graph("g4")
    fleet.forget_graph("g4")
    emulator.faults.add(Fault.http(403), times=None, graph_id="g4")
    gone = fleet.deleted_graphs[0].backups[7]
    fleet.deleted_graphs[0].delete_backup(gone)
    for number in range(3):
        learner.load(emulator, full=number == 1, **ALWAYS)
        assert learner.deleted == {gone.id}

    fill(fleet.add_graph("g4"), 39, first=1)
    emulator.faults.clear()
    learner.load(emulator, **ALWAYS)
    assert learner.deleted == {gone.id, "g4-b0"}


def test_a_bad_record_of_a_deleted_graph_is_reported_once(learner: Ledger) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    the_graph(fleet, "g2").add_backup(FIRST_MS, id="bad").record["size"] = -1
    fleet.delete_graph("g2")
    with Emulator(fleet) as emulator:
        assert learner.load(emulator).exit_code == 3
        assert learner.load(emulator, full=True).exit_code == 0
    rejected = [(row["graph_id"], row["backup_id"]) for row in learner.rejected.values()]
    assert rejected == [("g2", "bad")]


def test_a_bad_record_that_names_another_graph_is_reported_for_its_list_only(
    learner: Ledger,
) -> None:
    fleet = fleet_of(graphs=1, backups=3)
    the_graph(fleet).add_backup(FIRST_MS, id="bad").record.update(graph_id="other", size=-1)
    with Emulator(fleet) as emulator:
        assert learner.load(emulator).exit_code == 3
        assert learner.load(emulator, full=True).exit_code == 0
    assert [row["graph_id"] for row in learner.rejected.values()] == ["g1"]


def test_a_graph_that_comes_back_is_listed_by_itself_again(learner: Ledger) -> None:
    fleet = fleet_of(graphs=2, backups=4)
    kept = [(row.record, row.start_ms) for row in the_graph(fleet, "g2").backups]
    fleet.delete_graph("g2")
    with Emulator(fleet) as emulator:
        learner.load(emulator)
        fleet.forget_graph("g2")
        back = fleet.add_graph("g2")
        for record, start_ms in kept[1:]:
            back.add_record({**record, "graph_status": "200"}, start_ms=start_ms)
        assert learner.load(emulator, **ALWAYS).exit_code == 0
        assert_whole(learner, fleet)
        assert learner.deleted == {"g2-b0"}
        assert graphs_of(learner) == {"g1": False, "g2": False}


@pytest.mark.parametrize("cap", [None, 3])
def test_a_graph_that_comes_back_as_it_was_loses_its_marks(
    cap: int | None, warehouse: Warehouse, learner: Ledger
) -> None:
    kept = warehouse if cap is None else learner
    fleet = fleet_of(graphs=2, backups=10)
    with Emulator(fleet, page_cap=cap) as emulator:
        kept.load(emulator)
        records = [(row.record, row.start_ms) for row in the_graph(fleet, "g2").backups]
        fleet.forget_graph("g2")
        kept.load(emulator, **ALWAYS)
        assert len(kept.deleted) == 10
        back = fleet.add_graph("g2")
        for record, start_ms in records:
            back.add_record(record, start_ms=start_ms)
        assert kept.load(emulator).backups["returned"] == 10
        assert_whole(kept, fleet)
        assert graphs_of(kept) == {"g1": False, "g2": False}


@pytest.mark.parametrize("cap", [None, 3])
@pytest.mark.parametrize("listings", [("graphs", "project"), ("project", "graphs")])
def test_what_came_back_is_seen_though_the_other_listing_marked_it(
    listings: tuple[str, str], cap: int | None, warehouse: Warehouse, learner: Ledger
) -> None:
    one, other = listings
    kept = warehouse if (one, cap) == ("graphs", None) else learner
    fleet = fleet_of(graphs=2, backups=10)
    graph = the_graph(fleet)
    with Emulator(fleet, page_cap=cap) as emulator:
        kept.load(emulator, listing=one)
        gone = graph.backups[4]
        graph.delete_backup(gone)
        kept.load(emulator, listing=other)
        assert kept.deleted == {gone.id}
        graph.add_record(gone.record, start_ms=gone.start_ms)
        kept.load(emulator, listing=one)
        assert kept.deleted == set()
        assert_whole(kept, fleet)
        asked = Asked(emulator)
        assert kept.load(emulator, listing=one).outcome == "unchanged"
        assert asked.count("all_backups" if one == "project" else "backups") <= 2


def test_a_time_that_was_noted_by_a_load_that_did_not_end_does_not_count(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        fleet.delete_graph("g2")
        with duckdb.connect(str(warehouse.path)) as connection:
            connection.execute("DELETE FROM ges._dlt_loads")
        asked = Asked(emulator)
        warehouse.load(emulator)
        assert asked.count("all_backups") == 1
        assert_whole(warehouse, fleet)
        asked = Asked(emulator)
        warehouse.load(emulator)
        assert asked.count("all_backups") == 0


def test_a_history_that_never_asked_for_them_is_taken_over(warehouse: Warehouse) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    fleet.delete_graph("g2")
    with Emulator(fleet) as emulator:
        with pytest.MonkeyPatch.context() as before:
            before.delitem(PROJECT_COLUMNS, "cursor")
            warehouse.load(emulator, graph_ids=["g1"])
        assert len(warehouse.backups) == 3
        asked = Asked(emulator)
        assert warehouse.load(emulator).exit_code == 0
        assert asked.count("all_backups") == 1
        assert_whole(warehouse, fleet)


def test_the_two_listings_take_over_from_each_other(
    emulator: Emulator, fleet: Fleet, learner: Ledger
) -> None:
    for number, listing in enumerate(("graphs", "project", "graphs", "project", "graphs")):
        assert learner.load(emulator, listing=listing, **ALWAYS).exit_code == 0
        assert_whole(learner, fleet)
        for graph in (the_graph(fleet), fleet.deleted_graphs[0]):
            graph.delete_backup(graph.backups[3])
        fill(the_graph(fleet, "g4"), 1, first=100 + number)
    assert len(learner.deleted) == 8


def test_the_deleted_graphs_of_two_projects_are_each_their_own(warehouse: Warehouse) -> None:
    fleets = [Fleet(project_id=name) for name in ("orders", "risk")]
    for fleet in fleets:
        for name in ("kept", "gone"):
            fill(fleet.add_graph(f"{fleet.project_id}{name}"), 5)
        fleet.delete_graph(f"{fleet.project_id}gone")
    with Emulator(fleets[0]) as orders, Emulator(fleets[1]) as risk:
        projects = [
            {"name": one.fleet.project_id, "project_id": one.fleet.project_id}
            | {"endpoint": one.endpoint}
            for one in (orders, risk)
        ]

        def load_both() -> dict[str, int]:
            outcome = load(
                warehouse.path, projects=projects, credentials={"token": TOKEN}, **ALWAYS
            )
            assert outcome.exit_code == 0
            return {name: one.backups["deleted"] for name, one in outcome.projects.items()}

        load_both()
        assert len(warehouse.listed) == 20
        fleets[1].forget_graph("riskgone")
        assert load_both() == {"orders": 0, "risk": 5}
        assert {row["project_id"] for row in warehouse.backups.values() if row["deleted_at"]} == {
            "risk"
        }
        assert len(warehouse.listed) == 15


def test_the_reports_show_what_a_deleted_graph_holds(warehouse: Warehouse) -> None:
    fleet = fleet_of(graphs=2, backups=5)
    fleet.delete_graph("g2")
    with Emulator(fleet) as emulator:
        warehouse.load(emulator)
        fleet.deleted_graphs[0].delete_backup("g2-b1")
        warehouse.load(emulator, **ALWAYS)
    inventory = """
        SELECT graph_id, graph_name, graph_deleted_at IS NOT NULL, backups, size_mb, deleted
        FROM reports.inventory ORDER BY 1
    """
    assert reported(warehouse, inventory) == [
        ("g1", "graph_1", False, 5, 10, 0),
        ("g2", "graph_2", True, 4, 9, 1),
    ]
    names = "SELECT graph_id FROM reports.graph_names ORDER BY 1"
    assert reported(warehouse, names) == [("g1",), ("g2",)]
    overdue = "SELECT graphs, graphs_at_source, overdue FROM reports.overview"
    assert reported(warehouse, overdue) == [(2, 1, 1)]
