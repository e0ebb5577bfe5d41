"""Requests counted, not estimated: what a load costs, in both listings and at the limits of servers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ges_backups.client import GesClient
from ges_backups.credentials import GesCredentials
from ges_backups.errors import RequestRefused
from ges_backups.graph import PROJECT_WIDE, GraphListing, ListingOptions
from ges_backups.page_size import SIZES, PageSize
from ges_backups.pool import GraphPool, fetch_graphs
from ges_emulator import Emulator, Fault, Fleet
from harness import (
    DAY_MS,
    FIRST_MS,
    NOW,
    TOKEN,
    Asked,
    examples,
    fill,
    fleet_of,
    the_graph,
)
from ledger import Ledger

GRAPHS = 8


@dataclass
class Reader:
    """Loads without a warehouse: keeps the cursors, and the ids that are listed."""

    emulator: Emulator
    listing: str = "graphs"
    size: Any = None
    concurrency: int = 4
    full: bool = False
    cursors: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=dict)
    listings: dict[str, GraphListing] = field(default_factory=dict)

    def load(self) -> int:
        """One load; how many requests the backups cost."""
        fleet = self.emulator.fleet
        client = GesClient(self.emulator.endpoint, concurrency=4, request_seconds=10)
        client.authorize(GesCredentials(token=TOKEN), fleet.project_id, None)
        size = self.size or PageSize()
        names = [PROJECT_WIDE]
        if self.listing == "graphs":
            names = [row["id"] for row in fetch_graphs(client, fleet.project_id, size)[0]]
        asked = len(self.emulator.requests)
        options = ListingOptions(size, self.full, window=False, full_listing_seconds=86_400)
        pool = GraphPool(client, fleet.project_id, options, self.concurrency)
        for listing in pool.iter_listings(names, self.cursors):
            self._take(listing)
        return len(self.emulator.requests) - asked

    def _take(self, listing: GraphListing) -> None:
        assert listing.error is None, str(listing.error)
        self.listings[listing.graph_id] = listing
        if listing.cursor is not None:
            self.cursors[listing.graph_id] = listing.cursor
        if listing.unchanged:
            return
        known = self.ids.setdefault(listing.graph_id, set())
        if listing.rows is not None:
            known |= set(listing.rows.column("id").to_pylist())
        if listing.outcome == "complete" and listing.listed_ids is not None:
            known &= set(listing.listed_ids)

    @property
    def rows_read(self) -> int:
        """Rows in all answers since the emulator was asked first."""
        return sum(len(listing.rows or ()) for listing in self.listings.values())

    def assert_exact(self) -> None:
        """What is known is what the fleet lists."""
        listed = {backup.id for graph in _all_graphs(self) for backup in graph.backups}
        assert set().union(*self.ids.values()) == listed


def _all_graphs(reader: Reader) -> list[Any]:
    fleet = reader.emulator.fleet
    return fleet.graphs + (fleet.deleted_graphs if reader.listing == "project" else [])


def pages_of(rows: int, limit: int) -> int:
    """Pages of a list where each but the first begins with the last row of the one before."""
    return 1 + max(0, ceil((rows - limit) / (limit - 1)))


def fleet_with(backups: int, graphs: int = GRAPHS) -> Fleet:
    """Graphs whose backups start one after the other, as a project's do."""
    fleet = Fleet(now=NOW)
    for number in range(graphs):
        fleet.add_graph(f"g{number}")
    for number in range(backups):
        for place, graph in enumerate(fleet.graphs):
            start = FIRST_MS + number * DAY_MS + place * 1000
            graph.add_backup(start, id=f"{graph.id}-b{number}", size=number)
    return fleet


def add_one_each(fleet: Fleet, number: int) -> None:
    for place, graph in enumerate(fleet.graphs):
        start = FIRST_MS + number * DAY_MS + place * 1000
        graph.add_backup(start, id=f"{graph.id}-b{number}")


def serve(limit: str, fleet: Fleet, order: str) -> Emulator:
    """A server that caps its pages, or refuses a limit above 200."""
    if limit == "refuses 200":
        return Emulator(fleet, order, most_rows=200)
    return Emulator(fleet, order, page_cap=int(limit))


@pytest.fixture(params=["old_to_new", "new_to_old"])
def order(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


@pytest.mark.parametrize("limit", ["10", "100", "1000", "refuses 200"])
@pytest.mark.parametrize("listing", ["graphs", "project"])
def test_a_load_costs_what_the_server_makes_it(listing: str, limit: str, order: str) -> None:
    backups = 150
    rows = int(limit.rsplit(maxsplit=1)[-1])
    lists = GRAPHS if listing == "graphs" else 1
    each = backups if listing == "graphs" else backups * GRAPHS
    new = 1 if listing == "graphs" else GRAPHS
    with serve(limit, fleet_with(backups), order) as emulator:
        reader = Reader(emulator, listing)
        refused = 2 if limit[0] == "r" and listing == "project" else 0  # 1000, 500: by ListGraphs
        assert reader.load() == lists * pages_of(each, rows) + refused
        reader.assert_exact()

        reader.size = PageSize(learned={"rows": rows, "learned_at": 0}, now=1, retry_seconds=9)
        if limit[0] != "r":
            reader.size = None
        assert reader.load() == lists
        assert {found.unchanged for found in reader.listings.values()} == {True}

        add_one_each(emulator.fleet, backups)
        tail = pages_of(new + 1, min(rows, 50) if order == "new_to_old" else rows)
        assert reader.load() == lists * tail
        reader.assert_exact()

        for graph in emulator.fleet.graphs:
            graph.delete_backup(graph.backups[backups // 2])
        now_each = each + new - (1 if listing == "graphs" else GRAPHS)
        whole = pages_of(now_each, rows)
        seen_first = order == "new_to_old" and rows <= 50  # the page that showed it serves again
        assert reader.load() == lists * (whole if seen_first else 1 + whole)
        reader.assert_exact()


@pytest.mark.parametrize("limit", ["10", "100", "1000", "refuses 200"])
def test_what_deleted_graphs_have_left_costs_one_request_or_the_projects_pages(
    limit: str, order: str, ledger: Ledger
) -> None:
    rows = int(limit.rsplit(maxsplit=1)[-1])
    each = min(60, 4 * rows)
    fleet = fleet_with(each, graphs=4)
    over = {"full_listing_interval": "0s"}
    with serve(limit, fleet, order) as emulator:

        def extra(**settings: Any) -> int:
            asked = Asked(emulator)
            ledger.load(emulator, page_size=PageSize(), **settings)
            return asked.count("all_backups")

        assert [extra(), extra(), extra(**over), extra(full=True)] == [1, 0, 1, 1]
        fleet.delete_graph("g0")
        assert [extra(), extra(**over), extra()] == [0, pages_of(4 * each, rows), 0]
        fleet.forget_graph("g0")
        assert [extra(**over), extra(**over)] == [pages_of(3 * each, rows), 1]
        assert len(ledger.deleted) == each
        emulator.faults.add(Fault.http(403), times=None, path="all_backups")
        assert [extra(**over), extra()] == [1, 0]


MOVES = st.sampled_from(["new", "delete", "delete graph", "delete left", "forget", "add graph"])


@given(
    moves=st.lists(st.lists(st.tuples(MOVES, st.integers(0, 9)), max_size=3), max_size=4),
    cap=st.integers(2, 7),
    order=st.sampled_from(["old_to_new", "new_to_old", "shuffled"]),
)
@examples(8)
def test_each_load_costs_what_its_project_holds(
    moves: list[list[tuple[str, int]]], cap: int, order: str
) -> None:
    """By each listing: the requests for what deleted graphs have left, and those of one list."""
    fleet = fleet_with(6, graphs=3)
    with Emulator(fleet, order, page_cap=cap) as emulator, TemporaryDirectory() as folder:
        by_graph, project = Ledger(Path(folder)), Ledger(Path(folder), listing="project")
        for number, step in enumerate([[], *moves]):
            for move, place in step:
                change(fleet, move, place, number)
            held = {
                row["graph_id"] for key, row in by_graph.backups.items() if key in by_graph.listed
            }
            listed = {graph.id for graph in fleet.graphs}
            total = sum(len(graph.backups) for graph in (*fleet.graphs, *fleet.deleted_graphs))
            left = any(graph.backups for graph in fleet.deleted_graphs)
            asked = Asked(emulator)
            by_graph.load(emulator, full_listing_interval="0s")
            whole = pages_of(total, cap)
            assert asked.count("all_backups") == (whole if left or held - listed else 1)
            asked = Asked(emulator)
            project.load(emulator, full_listing_interval="0s")
            assert 1 <= asked.total <= 1 + whole
            assert asked.total == asked.count("all_backups")
            there = {b.id for g in (*fleet.graphs, *fleet.deleted_graphs) for b in g.backups}
            assert by_graph.listed == project.listed == there
            asked = Asked(emulator)
            by_graph.load(emulator)
            assert asked.count("all_backups") == 0


def change(fleet: Fleet, move: str, place: int, number: int) -> None:
    """One move of a fleet, of a graph that is there or was deleted."""
    graphs, deleted = fleet.graphs, fleet.deleted_graphs
    match move:
        case "new" if graphs:
            start = FIRST_MS + (100 + number) * DAY_MS + place
            graphs[place % len(graphs)].add_backup(start)
        case "delete" if graphs and (rows := graphs[place % len(graphs)].backups):
            graphs[place % len(graphs)].delete_backup(rows[place % len(rows)])
        case "delete graph" if graphs:
            fleet.delete_graph(graphs[place % len(graphs)].id)
        case "delete left" if deleted and (rows := deleted[place % len(deleted)].backups):
            deleted[place % len(deleted)].delete_backup(rows[place % len(rows)])
        case "forget" if deleted:
            fleet.forget_graph(deleted[place % len(deleted)].id)
        case "add graph":
            fleet.add_graph(f"late{number}-{place}-{fleet.new_id()}")


@pytest.mark.parametrize("backups", [101, 900, 1000])
def test_a_steady_load_of_a_long_list_reads_its_newest_rows_only(backups: int, order: str) -> None:
    with Emulator(fleet_of(backups=backups), order) as emulator:
        reader = Reader(emulator)
        reader.load()
        graph = the_graph(emulator.fleet)
        for number in range(3):
            fill(graph, 1, first=backups + number)
            assert reader.load() == 1
            listing = reader.listings["g1"]
            assert listing.outcome == "incremental"
            assert len(listing.rows or ()) <= 50
            reader.assert_exact()
        asked = len(emulator.requests)
        assert reader.load() == 1
        assert reader.listings["g1"].unchanged
        assert emulator.requests[asked + 1].query["offset"] in (0, backups + 2)


def test_a_short_list_is_read_whole_each_time(order: str) -> None:
    with Emulator(fleet_of(backups=100), order) as emulator:
        reader = Reader(emulator)
        reader.load()
        graph = the_graph(emulator.fleet)
        graph.delete_backup(graph.backups[50])
        graph.add_backup(FIRST_MS, id="import", method="import")
        assert reader.load() == 1
        reader.assert_exact()


@pytest.mark.parametrize("depth", [2, 40, 80, 300, 899])
def test_a_backup_that_runs_for_long_is_read_again_at_the_least_cost(
    depth: int, order: str
) -> None:
    fleet = fleet_of(backups=900)
    running = the_graph(fleet).backups[-depth]
    running.record.update(status="backing_up", end_timestamp=None, size=0)
    with Emulator(fleet, order) as emulator:
        reader = Reader(emulator)
        reader.load()
        assert reader.load() <= 2
        running.finish(size=77)
        assert reader.load() <= 2
        rows = {row["id"]: row for row in reader.listings["g1"].rows.to_pylist()}  # type: ignore[union-attr]
        assert rows[running.id]["size"] == 77
        assert len(rows) <= 120 + 50


def shown(emulator: Emulator, order: str, since: int) -> set[str]:
    """Ids of the backups of `g1` that the answers since a request have shown."""
    rows = [backup.id for backup in the_graph(emulator.fleet).rows.natural]
    if order == "new_to_old":
        rows.reverse()
    found: set[str] = set()
    for request in emulator.requests[since:]:
        if request.graph_id == "g1":
            at, limit = request.query["offset"], request.query["limit"]
            found.update(rows[at : at + min(limit, emulator.page_cap or limit)])
    return found


@given(
    backups=st.integers(20, 160),
    cap=st.integers(2, 60),
    size=st.sampled_from([None, 20, 50, 100, 1000]),
    depths=st.sets(st.integers(1, 160), min_size=1, max_size=5),
    ends=st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=1, max_size=3),
    renamed=st.sets(st.integers(1, 60), max_size=2),
    order=st.sampled_from(["old_to_new", "new_to_old"]),
)
@example(200, 10, 100, {20}, [{0}], set(), "old_to_new")
@example(400, 100, 1000, {120, 130}, [{0, 1}], set(), "old_to_new")
@example(200, 10, None, {20}, [{0}], set(), "old_to_new")
@example(200, 10, 100, {20}, [set()], {15}, "old_to_new")
@example(200, 10, 100, {20}, [{0}], {8}, "new_to_old")
@examples(20)
def test_what_an_answer_shows_is_never_taken_for_what_it_was(
    backups: int,
    cap: int,
    size: int | None,
    depths: set[int],
    ends: list[set[int]],
    renamed: set[int],
    order: str,
) -> None:
    """The server gives less than is asked for; without a size, each load has to learn that again."""
    fleet = fleet_of(backups=backups)
    newest = the_graph(fleet).backups[::-1]
    running = [newest[depth - 1] for depth in sorted(depths) if depth <= backups]
    for backup in running:
        backup.record.update(status="backing_up", end_timestamp=None, size=0)
    with Emulator(fleet, order, page_cap=cap) as emulator:
        reader, known = Reader(emulator, size=size), {}
        for number, ended in enumerate([set(), *ends, set()]):
            for place in ended & set(range(len(running))):
                running[place].finish(size=1000 + number)
            if number == 1:
                for depth in renamed:
                    newest[min(depth, backups) - 1].record["graph_name"] = "renamed"
            asked = len(emulator.requests)
            reader.load()
            listing = reader.listings["g1"]
            rows = listing.rows.to_pylist() if listing.rows and not listing.unchanged else []
            known |= {row["id"]: (row["status"], row["graph_name"]) for row in rows}
            told = shown(emulator, order, asked) | {backup.id for backup in running}
            assert {key: known[key] for key in told} == {
                backup.id: (backup.record["status"], backup.record["graph_name"])
                for backup in newest
                if backup.id in told
            }


@pytest.mark.parametrize("size", [20, 100])
def test_a_list_whose_running_backups_still_run_is_unchanged(size: int, order: str) -> None:
    fleet = fleet_of(backups=200)
    the_graph(fleet).backups[-15].record.update(status="backing_up", end_timestamp=None, size=0)
    with Emulator(fleet, order, page_cap=10) as emulator:
        reader = Reader(emulator, size=size)
        for _ in range(3):
            reader.load()
        assert reader.listings["g1"].unchanged


def test_many_running_backups_of_a_project_are_read_in_pages_not_one_by_one(order: str) -> None:
    fleet = fleet_with(backups=40, graphs=100)
    running = [graph.backups[-1] for graph in fleet.graphs]
    for backup in running:
        backup.record.update(status="backing_up", end_timestamp=None, size=0)
    with Emulator(fleet, order) as emulator:
        reader = Reader(emulator, "project")
        assert reader.load() == pages_of(4000, 1000)
        assert reader.load() <= 2
        for backup in running:
            backup.finish(size=77)
        assert reader.load() <= 2
        sizes = reader.listings[PROJECT_WIDE].rows.column("size").to_pylist()  # type: ignore[union-attr]
        assert sizes.count(77) == 100


def test_the_backups_of_deleted_graphs_are_in_the_projects_listing(order: str) -> None:
    with Emulator(fleet_with(backups=30), order) as emulator:
        emulator.fleet.delete_graph("g3")
        reader = Reader(emulator, "project")
        reader.load()
        reader.assert_exact()
        rows = reader.listings[PROJECT_WIDE].rows
        assert rows is not None
        statuses = {(row["graph_id"], row["graph_status"]) for row in rows.to_pylist()}
        assert statuses == {(f"g{n}", "400" if n == 3 else "200") for n in range(GRAPHS)}
        emulator.fleet.forget_graph("g3")
        reader.load()
        reader.assert_exact()


def test_a_record_of_a_project_without_its_graph_is_rejected_whole(order: str) -> None:
    fleet = fleet_with(backups=3)
    for bad in (None, "", 7, "a\0b"):
        fleet.graphs[0].add_backup(FIRST_MS, id=f"bad {bad!r}", graph_id=bad)
    with Emulator(fleet, order) as emulator:
        reader = Reader(emulator, "project")
        reader.load()
    rejected = reader.listings[PROJECT_WIDE].rejected
    assert len(rejected) == 4
    assert {record.graph_id for record in rejected} == {None}
    assert len(reader.ids[PROJECT_WIDE]) == 3 * GRAPHS


@pytest.mark.parametrize(
    ("most_rows", "asked"),
    [
        (10_000, [1000]),
        (999, [1000, 500]),
        (250, [1000, 500, 200]),
        (100, [1000, 500, 200, 100]),
        (10, [1000, 500, 200, 100, 10]),
    ],
)
def test_a_server_that_refuses_a_limit_is_asked_for_fewer_once(
    most_rows: int, asked: list[int]
) -> None:
    with Emulator(fleet_of(graphs=30, backups=3), most_rows=most_rows) as emulator:
        size = PageSize(now=100.0)
        reader = Reader(emulator, size=size)
        reader.load()
        limits = [request.query["limit"] for request in emulator.requests]
        assert limits[: len(asked)] == asked
        assert set(limits[len(asked) :]) <= {asked[-1]}
        assert size.rows == asked[-1]

        state = size.to_state()
        assert state == (
            None if most_rows > 1000 else {"rows": asked[-1], "most": None, "learned_at": 100.0}
        )
        for now, begins in ((150.0, asked[-1]), (100.0 + 86_400, 1000), (99.0, 1000)):
            later = PageSize(learned=state, now=now, retry_seconds=86_400)
            assert later.rows == begins


def test_what_one_endpoint_takes_says_nothing_of_another() -> None:
    size = PageSize()
    assert size.ask("graphs", 1000, lambda rows: rows) == 1000

    def at_most_100(rows: int) -> int:
        if rows > 100:
            raise RequestRefused("limit", path="/v2/p/graphs/g/backups", status=400)
        return rows

    assert size.ask("backups", 1000, at_most_100) == size.rows == 100


@pytest.mark.parametrize("size", [None, 77], ids=["auto", "fixed"])
def test_a_refusal_that_no_limit_mends_is_the_outcome_and_teaches_nothing(size: int | None) -> None:
    from ges_emulator import Fault  # noqa: PLC0415

    with Emulator(fleet_of(graphs=3, backups=3)) as emulator:
        emulator.faults.add(Fault.http(400), times=None, graph_id="g2")
        page_size = PageSize(size)
        pool_client = GesClient(emulator.endpoint, concurrency=1, request_seconds=5)
        pool_client.authorize(GesCredentials(token=TOKEN), emulator.fleet.project_id, None)
        options = ListingOptions(page_size, full=False, window=False, full_listing_seconds=1)
        pool = GraphPool(pool_client, emulator.fleet.project_id, options, 1)
        found = {
            listing.graph_id: listing for listing in pool.iter_listings(["g1", "g2", "g3"], {})
        }
        assert {name: listing.outcome for name, listing in found.items()} == {
            "g1": "complete",
            "g2": "failed",
            "g3": "complete",
        }
        assert found["g2"].error is not None
        assert found["g2"].error.error_code == "GES.0001"
        assert found["g2"].requests == 1  # g1 has shown that the limit is taken
        assert page_size.rows == (size or SIZES[0])


def test_a_size_of_ones_own_is_asked_for_whatever_the_server_says() -> None:
    with Emulator(fleet_of(backups=30)) as emulator:
        Reader(emulator, size=7).load()
        assert {request.query["limit"] for request in emulator.requests} == {7}
