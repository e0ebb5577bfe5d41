"""Random lives of projects: they start, end, delete, import, turn and shrink while loads run.

A model of a few lines knows what must be in the warehouse, whichever way each of two projects is
listed at the time. Most lives go to a ledger (reading over HTTP, no database), some through dlt into
DuckDB. `GES_SOAK=20` makes twenty times as many; a life that fails is printed with a blob that
repeats it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ges_backups.graph import PROJECT_WIDE
from ges_emulator import Backup, Emulator, Fleet, Graph, Request
from ges_history.loading.dlt_settings import SETTINGS
from ges_history.warehouses.duckdb_destination import _MergeJob
from harness import (
    DAY_MS,
    FIRST_MS,
    NOW,
    Row,
    Warehouse,
    assert_exact,
    examples,
    expected_row,
    fill,
    fleet_of,
    the_graph,
)
from ledger import Ledger
from postgres_history import PostgresHistory
from postgres_server import PostgresDatabase, PostgresServer

ORDERS = st.sampled_from(["old_to_new", "new_to_old", "shuffled"])
CAPS = st.none() | st.integers(1, 9)
PLACES = st.integers(0, 99)
DRIFTS = ("append", "append", "start", "finish", "delete", "delete oldest", "import", "cap", "turn")
#: Moves after which counts may add up by coincidence until the next complete listing.
MUDDLING = ("import", "turn")


LISTINGS = st.sampled_from(["graphs", "project"])
INTERVALS = st.sampled_from(["24h", "24h", "24h", "0s"])
READ = ("complete", "incremental")


@dataclass
class Side:
    """A project, its server, and what is known of its life.

    `muddled` are graphs, or `PROJECT_WIDE`, of which counts may add up by coincidence until the next
    complete listing; `left` are graphs that can come back.
    """

    emulator: Emulator
    listing: str = "graphs"
    clock: int = FIRST_MS + 1000 * DAY_MS
    made: int = 0
    muddled: set[str] = field(default_factory=set)
    left: dict[str, list[Backup]] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)
    marks: dict[str, Any] = field(default_factory=dict)

    @property
    def fleet(self) -> Fleet:
        return self.emulator.fleet

    def muddle(self, graphs: Iterable[Graph]) -> None:
        """From now on these may not be exact until they were read in full."""
        if self.listing == "project":
            self.muddled.add(PROJECT_WIDE)
        self.muddled.update(graph.id for graph in graphs)

    def is_muddled(self, graph_id: str) -> bool:
        return bool(self.muddled & {graph_id, PROJECT_WIDE})

    def settle(self, outcomes: dict[str, str]) -> None:
        """What was read in full is known again."""
        complete = {key for key, outcome in outcomes.items() if outcome == "complete"}
        if self.listing == "project":
            self.muddled = set() if PROJECT_WIDE in complete else self.muddled
            return
        self.muddled -= complete
        if complete >= {graph.id for graph in self.fleet.graphs}:
            self.muddled.discard(PROJECT_WIDE)


def listed_by(fleet: Fleet, graphs: Iterable[Graph]) -> dict[str, Row]:
    """The rows of these graphs, as they are listed now."""
    return {
        backup.id: expected_row(backup.record, fleet.project_id)
        for graph in graphs
        for backup in graph.backups
    }


class Shelf:
    """A ledger for each project, taken for one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ledgers: dict[str, Ledger] = {}

    def load(self, emulator: Emulator, listing: str, **settings: Any) -> None:
        """One load of a project."""
        project_id = emulator.fleet.project_id
        ledger = self._ledgers.setdefault(project_id, Ledger(self._folder))
        ledger.listing = listing
        ledger.load(emulator, **settings)

    @property
    def backups(self) -> dict[str, Row]:
        """Those of all projects."""
        return {key: row for one in self._ledgers.values() for key, row in one.backups.items()}

    def outcomes_of(self, project_id: str) -> dict[str, str]:
        """What became of each listing of a project's last load."""
        return self._ledgers[project_id].last_outcomes


class Life(RuleBasedStateMachine):
    """Two projects, their servers, and a store that loads go to; one of them lives at a time."""

    store: Any

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.sides = []
        for seed, name in enumerate(("orders", "risk"), 1):
            fleet = Fleet(project_id=name, now=NOW, seed=seed)
            for number in (1, 2):
                fill(fleet.add_graph(f"{name}{number}"), 5)
            emulator = Emulator(fleet)
            emulator.start()
            self.sides.append(Side(emulator))
        self.side = self.sides[0]
        self.store = self.make_store()

    def make_store(self) -> Any:
        """Where loads go."""
        return Shelf(self.folder)

    @property
    def fleet(self) -> Fleet:
        return self.side.fleet

    @property
    def emulator(self) -> Emulator:
        return self.side.emulator

    def teardown(self) -> None:
        """Stop the servers, remove the files."""
        for side in self.sides:
            side.emulator.before_answer = None
            side.emulator.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert all(side.emulator.errors == [] for side in self.sides)

    # What happens at the source

    @initialize(order=ORDERS, cap=CAPS, listings=st.tuples(LISTINGS, LISTINGS))
    def begin(self, order: str, cap: int | None, listings: tuple[str, str]) -> None:
        for side, listing in zip(self.sides, listings, strict=True):
            side.emulator.order, side.emulator.page_cap, side.listing = order, cap, listing

    @rule()
    def turn_to_the_other_project(self) -> None:
        self.side = self.sides[self.side is self.sides[0]]

    @rule(listing=LISTINGS)
    def list_otherwise(self, listing: str) -> None:
        if listing != self.side.listing:
            self.side.listing = listing
            self.side.muddle(self.fleet.graphs)  # nothing is known until all is read in full

    @rule(order=ORDERS, cap=CAPS)
    def serve_otherwise(self, order: str, cap: int | None) -> None:
        if order != self.emulator.order:
            self.side.muddle(self.fleet.graphs)  # what came and went may add up to the old order
        self.emulator.order, self.emulator.page_cap = order, cap

    @rule(kind=st.sampled_from(DRIFTS[:-2]), graph=PLACES, place=PLACES, times=st.integers(1, 8))
    def live(self, kind: str, graph: int, place: int, times: int) -> None:
        for _ in range(times):
            self.move(kind, graph, place)

    @rule(backups=st.integers(0, 12))
    def add_graph(self, backups: int) -> None:
        self.side.made += 1
        graph = self.fleet.add_graph(f"{self.fleet.project_id}late{self.side.made}")
        for _ in range(backups):
            self.append(graph)

    @precondition(lambda self: len(self.fleet.graphs) > 1)
    @rule(graph=PLACES)
    def remove_graph(self, graph: int) -> None:
        gone = self.pick(graph)
        self.side.left[gone.id] = gone.backups
        self.fleet.forget_graph(gone.id)

    @precondition(lambda self: len(self.fleet.graphs) > 1)
    @rule(graph=PLACES)
    def delete_graph_and_leave_its_backups(self, graph: int) -> None:
        gone = self.pick(graph)
        self.side.muddle([gone])  # the status of its older backups changed
        self.fleet.delete_graph(gone.id)

    @precondition(lambda self: self.fleet.deleted_graphs)
    @rule(graph=PLACES, place=PLACES)
    def delete_what_a_deleted_graph_left(self, graph: int, place: int) -> None:
        deleted = self.fleet.deleted_graphs
        rows = deleted[graph % len(deleted)].backups
        if rows:
            deleted[graph % len(deleted)].delete_backup(rows[place % len(rows)])

    @precondition(lambda self: self.side.left)
    @rule(kept=st.integers(0, 5))
    def bring_graph_back(self, kept: int) -> None:
        graph_id, backups = self.side.left.popitem()
        graph = self.fleet.add_graph(graph_id)
        self.side.muddle([graph])
        for backup in backups[kept:]:
            graph.add_record(backup.record, start_ms=backup.start_ms)

    @rule(graph=PLACES)
    def rename(self, graph: int) -> None:
        self.side.made += 1
        self.pick(graph).rename(f"name {self.side.made}")
        self.side.muddle([self.pick(graph)])

    def move(self, kind: str, graph_number: int, place: int) -> None:  # noqa: C901, one line a move
        """One move of one graph."""
        graph = self.pick(graph_number)
        rows = graph.backups
        if kind in MUDDLING:
            self.side.muddle([graph])
        match kind:
            case "append":
                self.append(graph)
            case "start":
                self.append(graph, status="backing_up")
            case "finish":
                running = [row for row in rows if row.record["status"] == "backing_up"]
                if running:
                    status = ("success", "failed", "odd")[place % 3]
                    running[place % len(running)].finish(status=status, size=place)
            case "delete" if rows:
                graph.delete_backup(rows[place % len(rows)])
            case "delete oldest" if rows:
                graph.delete_backup(rows[0])
            case "import":
                self.side.made += 1
                graph.add_backup(FIRST_MS + place * DAY_MS + self.side.made, method="import")
            case "cap":
                self.emulator.page_cap = place % 9 + 1
            case "turn":
                self.side.muddle(self.fleet.graphs)
                self.emulator.order = ("old_to_new", "new_to_old", "shuffled")[place % 3]

    def pick(self, number: int) -> Graph:
        graphs = self.fleet.graphs
        return graphs[number % len(graphs)]

    def append(self, graph: Graph, **fields: Any) -> None:
        self.side.clock += 1000
        graph.add_backup(self.side.clock, **fields)

    # What a load must do

    @rule(
        page_size=st.sampled_from([1, 2, 3, 5, 10, 100]),
        full=st.sampled_from([False, False, False, True]),
        concurrency=st.integers(1, 4),
        interval=INTERVALS,
    )
    def load(self, page_size: int, full: bool, concurrency: int, interval: str = "24h") -> None:
        """A load of a project that stands still is exact."""
        self.load_one(
            page_size=page_size,
            full=full,
            concurrency=concurrency,
            full_listing_interval=interval,
        )
        sees_deleted = self.side.listing == "project" or full or interval == "0s"
        deleted = self.fleet.deleted_graphs if sees_deleted else []
        self.check_history(listed_by(self.fleet, [*self.fleet.graphs, *deleted]))
        rows = self.rows()
        for graph in self.exact_graphs(deleted):
            now = listed_by(self.fleet, [graph])
            known = {key for key, row in rows.items() if row["graph_id"] == graph.id}
            assert {key for key in known if rows[key]["deleted_at"] is None} == set(now)
            for key, expected in now.items():
                assert {name: rows[key][name] for name in expected} == expected

    @rule(page_size=st.sampled_from([2, 5, 100]))
    def load_twice(self, page_size: int) -> None:
        """The second of two loads changes nothing."""
        self.load(page_size, full=False, concurrency=2)
        before = self.rows()
        self.load_one(page_size=page_size)
        assert self.rows() == before

    @rule(
        page_size=st.sampled_from([1, 2, 3, 5, 10]),
        full=st.booleans(),
        concurrency=st.integers(1, 4),
        script=st.lists(
            st.tuples(st.integers(1, 12), st.sampled_from(DRIFTS), PLACES, PLACES), max_size=6
        ),
    )
    def load_while_it_lives(
        self, page_size: int, full: bool, concurrency: int, script: list[tuple[int, str, int, int]]
    ) -> None:
        """What was listed throughout is there and unmarked, whatever moved between the pages."""
        before = listed_by(self.fleet, [*self.fleet.graphs, *self.fleet.deleted_graphs])
        asked = [0]
        muddled = bool(self.side.muddled)

        def drift(request: Request) -> None:
            asked[0] += 1
            for at, kind, graph, place in script:
                if at == asked[0]:
                    self.move(kind, graph, place)

        self.emulator.before_answer = drift
        try:
            self.load_one(page_size=page_size, full=full, concurrency=concurrency)
        finally:
            self.emulator.before_answer = None
        after = listed_by(self.fleet, [*self.fleet.graphs, *self.fleet.deleted_graphs])
        throughout = {key: row for key, row in after.items() if before.get(key) == row}
        self.check_history(throughout, came_back=before)
        if not muddled and not any(kind in MUDDLING for _, kind, _, _ in script):
            self.check_fresh(throughout)

    def load_one(self, **settings: Any) -> None:
        """One load of the project; the other one's rows stay as they are."""
        others = self.rows(of_others=True)
        self.store.load(self.emulator, listing=self.side.listing, **settings)
        assert self.rows(of_others=True) == others

    def rows(self, *, of_others: bool = False) -> dict[str, Row]:
        """The project's rows in the store, or those of all others."""
        own = self.fleet.project_id
        return {
            key: row
            for key, row in self.store.backups.items()
            if (row["project_id"] != own) is of_others
        }

    def outcomes(self) -> dict[str, str]:
        """What became of each listing of the last load of the project."""
        return dict(self.store.outcomes_of(self.fleet.project_id))

    def exact_graphs(self, deleted: Iterable[Graph]) -> list[Graph]:
        """Graphs of which the last load must know everything."""
        outcomes = self.outcomes()
        self.side.settle(outcomes)
        if self.side.listing == "project":
            assert outcomes[PROJECT_WIDE] in READ
        else:
            assert all(outcomes[graph.id] in READ for graph in self.fleet.graphs)
        graphs = [*self.fleet.graphs, *deleted]
        return [graph for graph in graphs if not self.side.is_muddled(graph.id)]

    def check_history(self, throughout: dict[str, Row], came_back: Iterable[str] = ()) -> None:
        """Nothing is ever lost, nothing listed is marked, a mark is set once until it comes back."""
        rows = self.rows()
        assert self.side.ever <= rows.keys()
        self.side.ever = set(rows)
        for key in throughout.keys() & rows.keys():
            if not self.side.is_muddled(rows[key]["graph_id"]):
                assert rows[key]["deleted_at"] is None
        marks = {key: row["deleted_at"] for key, row in rows.items() if row["deleted_at"]}
        for key in (marks.keys() & self.side.marks.keys()) - set(came_back):
            assert marks[key] == self.side.marks[key]
        self.side.marks = marks

    def check_fresh(self, throughout: dict[str, Row]) -> None:
        """What was listed throughout is there with its values; a failed listing promises nothing."""
        rows, outcomes = self.rows(), self.outcomes()
        for key, row in throughout.items():
            by = PROJECT_WIDE if self.side.listing == "project" else row["graph_id"]
            if outcomes.get(by) in READ:
                assert key in rows
                assert {name: rows[key][name] for name in row} == row


class LifeInDuckDB(Life):
    """The same through dlt into a database."""

    def make_store(self) -> Warehouse:
        return Warehouse(self.folder / "history.duckdb")

    def outcomes(self) -> dict[str, str]:
        """What stands in `ges.listings`; that of the listing that is not taken is left out."""
        return {
            row["graph_id"]: row["outcome"]
            for row in self.store.rows("listings")
            if row["project_id"] == self.fleet.project_id
            and (row["graph_id"] == PROJECT_WIDE) is (self.side.listing == "project")
        }


class LifeInPostgres(LifeInDuckDB):
    """The same into PostgreSQL, each life in a database of its own."""

    databases: ClassVar[Callable[[], PostgresDatabase]]

    def make_store(self) -> Warehouse:
        return PostgresHistory(self.folder / "history", database=type(self).databases())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads cross batches and files after a few rows, as large ones do after many thousands."""
    monkeypatch.setattr("ges_backups.batches.BATCH_ROWS", 7)
    monkeypatch.setattr("ges_backups.batches.MANY_TABLES", 2)
    monkeypatch.setitem(SETTINGS["sources"]["data_writer"], "file_max_items", 3)


@pytest.mark.parametrize("with_a_new_field", [False, True])
def test_files_of_a_first_load_hold_as_many_backups_each(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, with_a_new_field: bool
) -> None:
    """So each fills a row group of DuckDB; where columns change, what came before is by itself."""
    monkeypatch.setattr("ges_backups.batches.BATCH_ROWS", 7)
    monkeypatch.setitem(SETTINGS["sources"]["data_writer"], "file_max_items", 14)
    sizes: list[int] = []
    merge = _MergeJob.run

    def noting(job: _MergeJob) -> None:
        if Path(job._file_path).name.startswith("backups."):
            sizes.append(pq.read_metadata(job._file_path).num_rows)
        merge(job)

    monkeypatch.setattr(_MergeJob, "run", noting)
    fleet = fleet_of(graphs=5, backups=9)
    if with_a_new_field:
        the_graph(fleet, "g3").backups[0].record["zone"] = "a"
    with Emulator(fleet) as emulator:
        warehouse.load(emulator, concurrency=1)

    assert_exact(warehouse, fleet)
    assert sum(sizes) == 45
    if not with_a_new_field:
        assert sorted(sizes) == [3, 14, 14, 14]


def test_lives_of_a_fleet_are_kept_exactly() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life, settings=settings(examples(25), stateful_step_count=25)
    )


@pytest.mark.usefixtures("small_batches")
def test_lives_of_a_fleet_are_kept_exactly_in_duckdb() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LifeInDuckDB, settings=settings(examples(3), stateful_step_count=10)
    )


@pytest.mark.usefixtures("small_batches")
def test_lives_of_a_fleet_are_kept_exactly_in_postgres(postgres_server: PostgresServer) -> None:
    LifeInPostgres.databases = postgres_server.create_database
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LifeInPostgres, settings=settings(examples(2), stateful_step_count=10)
    )


def test_an_expected_row_is_what_the_api_page_says() -> None:
    """The model's own reading of a record, by hand."""
    record = {"id": "b", "start_timestamp": 1_623_160_513_000, "end_timestamp": 0, "size": 1}
    row = expected_row(record, "p")
    assert str(row["started_at"]) == "2021-06-08 13:55:13+00:00"
    assert (row["ended_at"], row["size"], row["duration"]) == (None, 1, None)
