"""Random lives of a fleet: it starts, ends, deletes, imports, turns and shrinks while loads run.

A model of a few lines knows what must be in the warehouse. Most lives go to a ledger (reading over
HTTP, no database), some through dlt into DuckDB. `GES_SOAK=20` makes twenty times as many; a life
that fails is printed with a blob that repeats it.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

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

from ges_emulator import Backup, Emulator, Graph, Request
from harness import DAY_MS, FIRST_MS, Row, Warehouse, examples, expected_row, fleet_of, served
from ledger import Ledger
from postgres_history import PostgresHistory
from postgres_server import PostgresDatabase, PostgresServer

ORDERS = st.sampled_from(["old_to_new", "new_to_old", "shuffled"])
CAPS = st.none() | st.integers(1, 9)
PLACES = st.integers(0, 99)
DRIFTS = ("append", "append", "start", "finish", "delete", "delete oldest", "import", "cap", "turn")
#: Moves after which counts may add up by coincidence until the next complete listing.
MUDDLING = ("import", "turn")


class Life(RuleBasedStateMachine):
    """A fleet, its server, and a store that loads go to."""

    store: Any

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.fleet = fleet_of(graphs=2, backups=5)
        self.emulator = Emulator(self.fleet)
        self.emulator.start()
        self.store = self.make_store()
        self.clock = FIRST_MS + 1000 * DAY_MS
        self.made = 0
        self.muddled: set[str] = set()
        self.left: dict[str, list[Backup]] = {}
        self.ever: set[str] = set()
        self.marks: dict[str, Any] = {}

    def make_store(self) -> Any:
        """Where loads go."""
        return Ledger(self.folder)

    def teardown(self) -> None:
        """Stop the server, remove the files."""
        self.emulator.before_answer = None
        self.emulator.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self.emulator.errors == []

    # What happens at the source

    @initialize(order=ORDERS, cap=CAPS)
    def begin(self, order: str, cap: int | None) -> None:
        self.emulator.order, self.emulator.page_cap = order, cap

    @rule(order=ORDERS, cap=CAPS)
    def serve_otherwise(self, order: str, cap: int | None) -> None:
        self.emulator.order, self.emulator.page_cap = order, cap

    @rule(kind=st.sampled_from(DRIFTS[:-2]), graph=PLACES, place=PLACES, times=st.integers(1, 8))
    def live(self, kind: str, graph: int, place: int, times: int) -> None:
        for _ in range(times):
            self.move(kind, graph, place)

    @rule(backups=st.integers(0, 12))
    def add_graph(self, backups: int) -> None:
        self.made += 1
        graph = self.fleet.add_graph(f"late{self.made}")
        for _ in range(backups):
            self.append(graph)

    @precondition(lambda self: len(self.fleet.graphs) > 1)
    @rule(graph=PLACES)
    def remove_graph(self, graph: int) -> None:
        gone = self.pick(graph)
        self.left[gone.id] = gone.backups
        self.fleet.forget_graph(gone.id)

    @precondition(lambda self: self.left)
    @rule(kept=st.integers(0, 5))
    def bring_graph_back(self, kept: int) -> None:
        graph_id, backups = self.left.popitem()
        graph = self.fleet.add_graph(graph_id)
        self.muddled.add(graph_id)
        for backup in backups[kept:]:
            graph.add_record(backup.record, start_ms=backup.start_ms)

    @rule(graph=PLACES)
    def rename(self, graph: int) -> None:
        self.made += 1
        self.pick(graph).rename(f"name {self.made}")
        self.muddled.add(self.pick(graph).id)

    def move(self, kind: str, graph_number: int, place: int) -> None:  # noqa: C901, one line a move
        """One move of one graph."""
        graph = self.pick(graph_number)
        rows = graph.backups
        if kind in MUDDLING:
            self.muddled.add(graph.id)
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
                self.made += 1
                graph.add_backup(FIRST_MS + place * DAY_MS + self.made, method="import")
            case "cap":
                self.emulator.page_cap = place % 9 + 1
            case "turn":
                self.muddled.update(graph.id for graph in self.fleet.graphs)
                self.emulator.order = ("old_to_new", "new_to_old", "shuffled")[place % 3]

    def pick(self, number: int) -> Graph:
        graphs = self.fleet.graphs
        return graphs[number % len(graphs)]

    def append(self, graph: Graph, **fields: Any) -> None:
        self.clock += 1000
        graph.add_backup(self.clock, **fields)

    # What a load must do

    @rule(
        page_size=st.sampled_from([1, 2, 3, 5, 10, 100]),
        full=st.sampled_from([False, False, False, True]),
        concurrency=st.integers(1, 4),
    )
    def load(self, page_size: int, full: bool, concurrency: int) -> None:
        """A load of a fleet that stands still is exact."""
        self.store.load(self.emulator, page_size=page_size, full=full, concurrency=concurrency)
        self.check_history(served(self.fleet))
        rows, now = self.store.backups, served(self.fleet)
        for graph in self.exact_graphs():
            listed = {key for key, row in rows.items() if row["graph_id"] == graph.id}
            expected = {key for key, row in now.items() if row["graph_id"] == graph.id}
            marked = {key for key in listed if rows[key]["deleted_at"] is not None}
            assert listed - marked == expected
            for key in expected:
                assert {name: rows[key][name] for name in now[key]} == now[key]

    @rule(page_size=st.sampled_from([2, 5, 100]))
    def load_twice(self, page_size: int) -> None:
        """The second of two loads changes nothing."""
        self.load(page_size, full=False, concurrency=2)
        before = self.store.backups
        self.store.load(self.emulator, page_size=page_size)
        assert self.store.backups == before

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
        before = served(self.fleet)
        asked = [0]
        muddled = bool(self.muddled)

        def drift(request: Request) -> None:
            asked[0] += 1
            for at, kind, graph, place in script:
                if at == asked[0]:
                    self.move(kind, graph, place)

        self.emulator.before_answer = drift
        try:
            self.store.load(self.emulator, page_size=page_size, full=full, concurrency=concurrency)
        finally:
            self.emulator.before_answer = None
        after = served(self.fleet)
        throughout = {key: row for key, row in after.items() if before.get(key) == row}
        self.check_history(throughout)
        if not muddled and not any(kind in MUDDLING for _, kind, _, _ in script):
            self.check_fresh(throughout)

    def exact_graphs(self) -> list[Graph]:
        """Graphs of which the last load must know everything."""
        outcomes = self.store.last_outcomes
        self.muddled -= {key for key, outcome in outcomes.items() if outcome == "complete"}
        assert all(outcomes[graph.id] in ("complete", "incremental") for graph in self.fleet.graphs)
        return [graph for graph in self.fleet.graphs if graph.id not in self.muddled]

    def check_history(self, throughout: dict[str, Row]) -> None:
        """Nothing is ever lost, nothing listed is marked, a mark is set once."""
        rows = self.store.backups
        assert self.ever <= rows.keys()
        self.ever = set(rows)
        for key in throughout.keys() & rows.keys():
            if rows[key]["graph_id"] not in self.muddled:
                assert rows[key]["deleted_at"] is None
        marks = {key: row["deleted_at"] for key, row in rows.items() if row["deleted_at"]}
        for key in marks.keys() & self.marks.keys():
            assert marks[key] == self.marks[key]
        self.marks = marks

    def check_fresh(self, throughout: dict[str, Row]) -> None:
        """What was listed throughout is there with its values; a failed listing promises nothing."""
        rows, outcomes = self.store.backups, self.store.last_outcomes
        for key, row in throughout.items():
            if outcomes.get(row["graph_id"]) in ("complete", "incremental"):
                assert key in rows
                assert {name: rows[key][name] for name in row} == row


class LifeInDuckDB(Life):
    """The same through dlt into a database."""

    def make_store(self) -> Warehouse:
        return Warehouse(self.folder / "history.duckdb")


class LifeInPostgres(Life):
    """The same into PostgreSQL, each life in a database of its own."""

    databases: ClassVar[Callable[[], PostgresDatabase]]

    def make_store(self) -> Warehouse:
        return PostgresHistory(self.folder / "history", database=type(self).databases())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads cross batches after a few rows, as large ones do after twenty thousand."""
    monkeypatch.setattr("ges_backups.batches.BATCH_ROWS", 7)


def test_lives_of_a_fleet_are_kept_exactly() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life, settings=settings(examples(60), stateful_step_count=25)
    )


@pytest.mark.usefixtures("small_batches")
def test_lives_of_a_fleet_are_kept_exactly_in_duckdb() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LifeInDuckDB, settings=settings(examples(5), stateful_step_count=10)
    )


@pytest.mark.usefixtures("small_batches")
def test_lives_of_a_fleet_are_kept_exactly_in_postgres(postgres_server: PostgresServer) -> None:
    LifeInPostgres.databases = postgres_server.create_database
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LifeInPostgres, settings=settings(examples(3), stateful_step_count=10)
    )


def test_an_expected_row_is_what_the_api_page_says() -> None:
    """The model's own reading of a record, by hand."""
    record = {"id": "b", "start_timestamp": 1_623_160_513_000, "end_timestamp": 0, "size": 1}
    row = expected_row(record, "p")
    assert str(row["started_at"]) == "2021-06-08 13:55:13+00:00"
    assert (row["ended_at"], row["size"], row["duration"]) == (None, 1, None)
