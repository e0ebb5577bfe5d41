"""Loads beside each other: of one project they wait for each other, of two they are both exact."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ges_emulator import Emulator, Fault, Fleet
from ges_history.errors import LoadInProgress
from harness import NOW, Asked, assert_exact, fill, the_graph
from postgres_history import PostgresHistory
from postgres_server import PostgresDatabase

GRAPHS = 5
BACKUPS = 20


def _fleet(name: str) -> Fleet:
    fleet = Fleet(project_id=f"project{name}", now=NOW)
    for number in range(GRAPHS):
        fill(fleet.add_graph(f"{name}g{number}"), BACKUPS)
    return fleet


@pytest.fixture
def emulators() -> Iterator[tuple[Emulator, Emulator]]:
    """Two projects."""
    with Emulator(_fleet("a")) as first, Emulator(_fleet("b")) as second:
        yield first, second


def _of(postgres: PostgresDatabase, folder: Path, emulator: Emulator) -> PostgresHistory:
    folder.mkdir(exist_ok=True)
    project = emulator.fleet.project_id
    return PostgresHistory(folder / "history", database=postgres, project=project)


def _live(fleet: Fleet, number: int) -> None:
    """Backups come, go and come back; a graph joins; a field is new."""
    graph = the_graph(fleet, f"{fleet.project_id[-1]}g{number % GRAPHS}")
    fill(graph, 3, 100 + 10 * number)
    graph.delete_backup(f"{graph.id}-b{number}")
    graph.add_backup(1_700_000_000_000 + number, id=f"{graph.id}-x{number}", note=f"n{number}")
    fill(fleet.add_graph(f"{graph.id}-late{number}"), 2)


@pytest.mark.parametrize("rounds", [3, pytest.param(8, marks=pytest.mark.soak)])
def test_two_projects_from_two_folders(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator], rounds: int
) -> None:
    histories = [_of(postgres, tmp_path / e.fleet.project_id, e) for e in emulators]
    for number in range(rounds):
        loads = [h.start_load(e) for h, e in zip(histories, emulators, strict=True)]
        for process in loads:
            process.join(120)
        assert [process.exitcode for process in loads] == [0, 0]
        for history, emulator in zip(histories, emulators, strict=True):
            assert history.repeated() == {}
            assert_exact(history, emulator.fleet)
            _live(emulator.fleet, number)


def test_one_project_from_two_folders(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator]
) -> None:
    emulator = emulators[0]
    histories = [_of(postgres, tmp_path / name, emulator) for name in ("here", "there")]
    for number in range(3):
        loads = [history.start_load(emulator) for history in histories]
        for process in loads:
            process.join(120)
        assert [process.exitcode for process in loads] == [0, 0]
        assert histories[0].repeated() == {}
        assert_exact(histories[0], emulator.fleet)
        _live(emulator.fleet, number)


def test_another_load_is_waited_for_and_told_of(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator]
) -> None:
    here, there = (_of(postgres, tmp_path / name, emulators[0]) for name in ("here", "there"))
    with ExitStack() as stack:
        stack.enter_context(here.held(emulators[0].fleet.project_id))
        said: list[str] = []
        with pytest.raises(LoadInProgress):
            there.load(emulators[0], wait=0.5, say=said.append)
        assert len(said) == 1
        threading.Timer(1.0, stack.pop_all().close).start()
        assert there.load(emulators[0], wait=30).outcome == "complete"


def test_where_a_load_of_another_role_is_nobody_guesses(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator]
) -> None:
    project = emulators[0].fleet.project_id
    postgres.execute(f"CREATE ROLE of_{postgres.name} LOGIN PASSWORD 'of-this-test'")
    other = _of(postgres.seen_by(f"of_{postgres.name}", "of-this-test"), tmp_path, emulators[0])
    here = _of(postgres, tmp_path / "here", emulators[0])
    with here.held(project):
        with pytest.raises(LoadInProgress, match=r"\(session \d+\)"):
            other.load(emulators[0], wait=0)
        with pytest.raises(LoadInProgress, match=r"\(session \d+, from 127\.0\.0\.1\)"):
            here.load(emulators[0], wait=0)


def test_other_projects_do_not_wait(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator]
) -> None:
    first, second = emulators
    with _of(postgres, tmp_path / "here", first).held(first.fleet.project_id):
        other = _of(postgres, tmp_path / "there", second)
        assert other.load(second, wait=0).outcome == "complete"


def test_a_killed_load_lets_go_at_once(
    postgres: PostgresDatabase, tmp_path: Path, emulators: tuple[Emulator, Emulator]
) -> None:
    emulator = emulators[0]
    here, there = (_of(postgres, tmp_path / name, emulator) for name in ("here", "there"))
    emulator.faults.add(Fault.hang(), path="backups")
    process = here.start_load(emulator)
    deadline = time.monotonic() + 60
    while not Asked.of(emulator).count():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert postgres.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted")
    with pytest.raises(LoadInProgress):
        there.load(emulator, wait=0)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    there.load(emulator, wait=5)
    assert_exact(there, emulator.fleet)
