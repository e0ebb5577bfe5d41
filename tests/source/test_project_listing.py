"""A whole project in one listing: the same rows and marks as by graphs, deleted graphs included."""

from collections.abc import Iterator
from typing import Any

import pytest

from ges_backups.errors import SettingsError
from ges_emulator import Emulator, Fault
from harness import FIRST_MS, Asked, Warehouse, expected_row, fill, fleet_of, the_graph
from ledger import Keeper, Ledger


@pytest.fixture
def emulator(order: str) -> Iterator[Emulator]:
    with Emulator(fleet_of(graphs=5, backups=40), order=order) as emulator:
        yield emulator


@pytest.fixture
def project(learner: Ledger) -> Ledger:
    learner.listing = "project"
    return learner


def listed(emulator: Emulator) -> dict[str, Any]:
    """Rows of all backups that the project lists, those of deleted graphs included."""
    fleet = emulator.fleet
    return {
        backup.id: expected_row(backup.record, fleet.project_id)
        for graph in (*fleet.graphs, *fleet.deleted_graphs)
        for backup in graph.backups
    }


def assert_whole(kept: Keeper, emulator: Emulator) -> None:
    rows = kept.backups
    wanted = listed(emulator)
    assert {key for key, row in rows.items() if row["deleted_at"] is None} == set(wanted)
    assert {key: {name: rows[key][name] for name in row} for key, row in wanted.items()} == wanted


def test_a_project_is_followed_whole(emulator: Emulator, kept: Keeper) -> None:
    assert kept.load(emulator, listing="project").exit_code == 0
    assert_whole(kept, emulator)
    assert Asked.of(emulator).total == 1

    fleet = emulator.fleet
    fleet.delete_graph("g2")
    for graph in fleet.graphs:
        fill(graph, 1, first=100)
    gone = the_graph(fleet).backups[7]
    the_graph(fleet).delete_backup(gone)
    running = the_graph(fleet, "g3").add_backup(
        FIRST_MS + 10**11, status="backing_up", id="running"
    )
    kept.load(emulator, listing="project")
    assert_whole(kept, emulator)
    assert kept.deleted == {gone.id}
    graphs = {row["id"]: row for row in kept.rows("graphs")}
    assert graphs.keys() == {"g1", "g2", "g3", "g4", "g5"}
    assert [key for key, row in graphs.items() if row["deleted_at"]] == ["g2"]
    assert graphs["g2"]["status_name"] == "deleted"

    running.finish(size=9)
    the_graph(fleet).add_record(gone.record, start_ms=gone.start_ms)
    kept.load(emulator, listing="project")
    assert_whole(kept, emulator)
    assert kept.backups["running"]["size"] == 9
    assert kept.deleted == set()

    fleet.forget_graph("g2")
    kept.load(emulator, listing="project")
    assert_whole(kept, emulator)
    assert len(kept.deleted) == 40
    before = dict(kept.backups)
    asked = Asked(emulator)
    assert kept.load(emulator, listing="project").outcome == "unchanged"
    assert kept.backups == before
    assert asked.total == 1


def test_the_two_listings_take_over_from_each_other(emulator: Emulator, kept: Keeper) -> None:
    for listing in ("graphs", "project", "graphs", "project"):
        assert kept.load(emulator, listing=listing).exit_code == 0
        assert_whole(kept, emulator)
        the_graph(emulator.fleet).delete_backup(the_graph(emulator.fleet).backups[3])
        fill(the_graph(emulator.fleet, "g4"), 1, first=len(the_graph(emulator.fleet, "g4").backups))
    assert len(kept.deleted) == 3


def test_a_project_counts_the_graphs_that_its_listing_holds(warehouse: Warehouse) -> None:
    project = Warehouse(warehouse.path, {"listing": "project"})
    fleet = fleet_of(graphs=4, backups=3)
    fleet.add_graph("without any")
    with Emulator(fleet) as emulator:
        for _ in range(2):  # the second finds nothing new
            assert project.load(emulator).graphs == {"total": 4, "listed": 4, "failed": 0}
        fleet.delete_graph("g1")
        fleet.forget_graph("g2")
        assert project.load(emulator).graphs == {"total": 3, "listed": 3, "failed": 0}
        emulator.faults.add(Fault.http(403), times=None, path="all_backups")
        outcome = project.load(emulator, full=True)
        assert outcome.graphs == {"total": 1, "listed": 0, "failed": 1}
        assert [problem["outcome"] for problem in outcome.problems] == ["forbidden"]
        assert outcome.exit_code == 3


@pytest.mark.parametrize(
    "fault", [Fault.http(403), Fault.http(404), Fault.http(400)], ids=lambda fault: fault.name
)
def test_a_project_that_may_not_be_listed_marks_nothing(project: Ledger, fault: Fault) -> None:
    with Emulator(fleet_of(graphs=2, backups=5)) as emulator:
        project.load(emulator)
        emulator.faults.add(fault, times=None, path="all_backups")
        assert project.load(emulator, full=True).exit_code == 3
        assert_whole(project, emulator)


def test_a_bad_record_of_a_project_is_reported_once_with_its_graph(project: Ledger) -> None:
    with Emulator(fleet_of(graphs=2, backups=5)) as emulator:
        the_graph(emulator.fleet, "g2").add_backup(FIRST_MS, id="bad", size=-1).record["size"] = -1
        assert project.load(emulator).exit_code == 3
        assert project.load(emulator, full=True).exit_code == 0
    rejected = [(row["graph_id"], row["backup_id"]) for row in project.rejected.values()]
    assert rejected == [("g2", "bad")]


def test_graph_ids_and_a_project_contradict_each_other(warehouse: Warehouse) -> None:
    with Emulator(fleet_of()) as emulator:
        with pytest.raises(SettingsError, match="contradict"):
            warehouse.load(emulator, graph_ids=["g1"], listing="project")
        with pytest.raises(SettingsError, match="SOURCES__GES_BACKUPS__LISTING"):
            warehouse.load(emulator, listing="all")
        assert emulator.requests == []


def test_what_was_learned_of_the_pages_is_kept(warehouse: Warehouse) -> None:
    with Emulator(fleet_of(graphs=3, backups=30), most_rows=250) as emulator:
        warehouse.load(emulator)
        refused = [request.query["limit"] for request in emulator.requests if request.status == 400]
        assert refused == [1000, 500]
        for change in (False, True, False):
            asked = Asked(emulator)
            if change:
                fill(the_graph(emulator.fleet), 1, first=50)
            warehouse.load(emulator)
            assert asked.total == 4
        asked = Asked(emulator)
        warehouse.load(emulator, full_listing_interval="0s")  # too old: the largest is tried again
        assert asked.total == 7  # and it is asked again what deleted graphs have left


def test_a_size_of_ones_own_comes_from_the_environment(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(fleet_of(backups=5)) as emulator:
        for value, limit in (("auto", 1000), ("77", 77)):
            monkeypatch.setenv("SOURCES__GES_BACKUPS__PAGE_SIZE", value)
            asked = len(emulator.requests)
            warehouse.load(emulator)
            assert {request.query["limit"] for request in emulator.requests[asked:]} == {limit}


@pytest.mark.parametrize("order", ["old_to_new", "new_to_old"])
@pytest.mark.parametrize("listing", ["graphs", "project"])
def test_a_list_that_turns_where_its_anchor_stands_again_is_read_in_full(
    learner: Ledger, listing: str, order: str
) -> None:
    """As many new backups as stood before the newest one: in the turned list it has its old place."""
    fleet = fleet_of(graphs=1, backups=12)
    with Emulator(fleet, order=order, page_cap=5) as emulator:
        learner.load(emulator, listing=listing)
        graph = the_graph(fleet)
        for backup in graph.backups[:10]:
            graph.delete_backup(backup)
        fill(graph, 11, first=100)
        emulator.order = "new_to_old" if order == "old_to_new" else "old_to_new"
        learner.load(emulator, listing=listing)
        assert_whole(learner, emulator)
        assert len(learner.deleted) == 10
