"""A load into PostgreSQL that ends at one of its statements: the next leaves every table exact."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ges_backups.batches import Batch
from ges_emulator import Emulator, Fleet
from ges_history.errors import DatabaseError, HistoryError
from ges_history.loading.packages import Packages
from ges_history.loading.run import _ProjectRun
from harness import differences, fill, fleet_of, the_graph
from postgres_history import PostgresHistory
from postgres_proxy import PostgresProxy, When
from postgres_server import PostgresServer

Point = tuple[int, When]
Make = Callable[[str], PostgresHistory]

START_MS = 1_700_000_000_000


@pytest.fixture
def make(postgres_server: PostgresServer, history: PostgresHistory) -> Make:
    """Makes an empty history."""

    def make(name: str) -> PostgresHistory:
        return PostgresHistory(
            history.path.with_name(name), database=postgres_server.create_database()
        )

    return make


def _living_fleet() -> Fleet:
    """Three graphs, a running backup, and a record that does not fit."""
    fleet = fleet_of(graphs=3, backups=4)
    the_graph(fleet, "g2").add_backup(START_MS, id="running", status="backing_up")
    the_graph(fleet, "g3").add_backup(START_MS, id="unfit", encrypted="maybe")
    return fleet


def _change(fleet: Fleet) -> None:
    """Backups come and go, a graph joins, another record does not fit."""
    fill(the_graph(fleet), 2, 10)
    the_graph(fleet, "g1").delete_backup("g1-b1")
    fill(fleet.add_graph("g4"), 2)
    the_graph(fleet, "g3").add_backup(START_MS + 1000, id="unfit2", encrypted="perhaps")


def _points(statements: int, sampled: int) -> Iterator[Point]:
    """So many points from first to last; all of them where there are fewer."""
    every: list[Point] = [
        (nth, when) for nth in range(1, statements + 1) for when in ("before", "after")
    ]
    yield from every[:: max(1, len(every) // sampled) | 1]  # odd: now before one, now after


def _wrong(history: PostgresHistory, fleet: Fleet) -> list[str]:
    """What is wrong in a database after a load of a fleet that stands still."""
    wrong = [f"{table} twice: {keys}" for table, keys in history.repeated().items()]
    wrong += [
        f"{key}: {what}"
        for key, what in differences(history, fleet).items()
        if not key.startswith("unfit")
    ]
    ids = [backup.id for graph in fleet.graphs for backup in graph.backups]
    counts = {
        "graphs": len(fleet.graphs),
        "listings": len(fleet.graphs),
        "projects": 1,
        "rejected_backups": sum(one.startswith("unfit") for one in ids),
    }
    for table, count in counts.items():
        found = len(history.rows(table))
        if found != count:
            wrong.append(f"{found} of {count} {table}")
    if history.database.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'ges_staging'"):
        wrong.append("a staging dataset")
    return wrong


def _statements(history: PostgresHistory, proxy: PostgresProxy, emulator: Emulator) -> int:
    """How many statements a load takes."""
    proxy.arm()
    history.through(proxy).load(emulator)
    return len(proxy.statements)


def _kill_and_load(
    history: PostgresHistory, proxy: PostgresProxy, emulator: Emulator, point: Point
) -> list[str]:
    """Kill a load at a point, load again; what is wrong then, if anything."""
    code = history.load_killed(emulator, proxy, *point)
    at = f"{point[1]} {point[0]} ({proxy.statements[-1]})"
    if code not in (-signal.SIGKILL, 0):  # 0: that load had fewer statements
        return [f"{at}: the load ended with {code}"]
    history.load(emulator)
    return [f"{at}: {what}" for what in _wrong(history, emulator.fleet)]


def _sweep_first_load(make: Make, proxy: PostgresProxy, sampled: int) -> list[str]:
    with Emulator(_living_fleet()) as emulator:
        statements = _statements(make("counted"), proxy, emulator)
        return [
            wrong
            for point in _points(statements, sampled)
            for wrong in _kill_and_load(make(f"{point[0]}-{point[1]}"), proxy, emulator, point)
        ]


def _sweep_changes(make: Make, proxy: PostgresProxy, sampled: int) -> list[str]:
    found: list[str] = []
    statements = 0
    points: list[Point] = [(0, "before")]  # nothing is killed: counts the statements
    first = make("first")
    with Emulator(_living_fleet()) as emulator:
        first.load(emulator)
    while points:
        nth, when = points.pop(0)
        fleet = _living_fleet()
        history = first.copied(first.path.parent / f"{nth}-{when}" / "history")
        with Emulator(fleet) as emulator:
            _change(fleet)
            if statements:
                found += _kill_and_load(history, proxy, emulator, (nth, when))
            else:
                statements = _statements(history, proxy, emulator)
                points = list(_points(statements, sampled))
    return found


def test_a_first_load_killed_at_some_statements(make: Make, proxy: PostgresProxy) -> None:
    assert _sweep_first_load(make, proxy, 4) == []


def test_a_load_of_changes_killed_at_some_statements(make: Make, proxy: PostgresProxy) -> None:
    assert _sweep_changes(make, proxy, 4) == []


@pytest.mark.soak
def test_a_first_load_killed_at_every_statement(make: Make, proxy: PostgresProxy) -> None:
    assert _sweep_first_load(make, proxy, 1000) == []


@pytest.mark.soak
def test_a_load_of_changes_killed_at_every_statement(make: Make, proxy: PostgresProxy) -> None:
    assert _sweep_changes(make, proxy, 1000) == []


ENDINGS = ["the connection drops", "the server restarts", "the server crashes"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_goes_away_in_the_middle(
    make: Make, proxy: PostgresProxy, postgres_server: PostgresServer, ending: str, when: When
) -> None:
    acts: dict[str, Callable[[], None]] = {
        "the connection drops": lambda: None,
        "the server restarts": postgres_server.restart,
        "the server crashes": lambda: postgres_server.restart(signal.SIGQUIT),
    }
    with Emulator(_living_fleet()) as emulator:
        history = make("history")
        proxy.arm('INSERT INTO "ges"."backups"', when, acts[ending])
        with contextlib.suppress(HistoryError):  # it may end, or try again by itself
            history.through(proxy).load(emulator)
        assert proxy.has_cut
        history.load(emulator)
        assert _wrong(history, emulator.fleet) == []


_HOLDERS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"


def test_a_load_that_lost_its_lock_while_it_listed_writes_over_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(graphs=1, backups=3)
    history, graph = make("history"), the_graph(fleet)
    other = replace(history, path=history.path.parent / "other" / "history")
    other.path.parent.mkdir()
    with Emulator(fleet) as emulator:
        history.load(emulator)
        running = graph.add_backup(START_MS, id="running", status="backing_up")
        extract = _ProjectRun._extract

        def extract_late(run: _ProjectRun, batches: Iterator[Batch]) -> None:
            monkeypatch.undo()
            extract(run, batches)
            history.database.execute(_HOLDERS)
            running.finish(size=100)
            loading = threading.Thread(target=other.load, args=(emulator,))
            loading.start()
            loading.join()

        monkeypatch.setattr(_ProjectRun, "_extract", extract_late)
        with pytest.raises(DatabaseError, match="changed while it was listed"):
            history.load(emulator)
        graph.delete_backup("running")
        other.load(emulator)
        history.load(emulator)
        assert history.backups["running"]["size"] == 100


def test_a_load_whose_server_is_replaced_between_two_files_is_not_complete(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = make("history")
    with Emulator(_living_fleet()) as emulator:
        load = Packages.load

        def replaced(packages: Packages) -> list[str]:
            monkeypatch.undo()
            history.database.execute(_HOLDERS)
            return load(packages)

        monkeypatch.setattr(Packages, "load", replaced)
        with pytest.raises(HistoryError, match="has ended"):
            history.load(emulator)
        assert history.rows("_dlt_loads") == []
        history.load(emulator)
        assert _wrong(history, emulator.fleet) == []
