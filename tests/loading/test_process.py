"""A process that loads often, and in several threads, is left as it was and stays as good as new."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from ges_backups.errors import CredentialsError
from ges_emulator import Emulator, Fleet
from ges_history.warehouses.rollback_journal import RollbackJournal, metadata_blocks
from harness import DAY_MS, FIRST_MS, TOKEN, Warehouse, assert_exact, fill, fleet_of, the_graph


def state_of_the_process() -> dict[str, Any]:
    """What a library must not leave changed."""
    mask = os.umask(0o022)
    os.umask(mask)
    providers = Container()[PluggableRunContext].providers.providers
    return {
        "umask": mask,
        "providers": [provider.name for provider in providers],
        "folder": Path.cwd(),
        "threads": {thread.name for thread in threading.enumerate() if "ges" in thread.name},
        "environment": dict(os.environ),
    }


def test_loads_in_threads_leave_the_process_as_it_was(tmp_path: Path) -> None:
    before = state_of_the_process()
    fleets = [fleet_of(graphs=2, backups=3 + number) for number in range(3)]

    def load(number: int) -> None:
        with Emulator(fleets[number]) as emulator:
            warehouse = Warehouse(tmp_path / f"{number}.duckdb")
            for _ in range(2):
                warehouse.load(emulator)
                fill(the_graph(fleets[number]), 1, first=50 + len(fleets[number].graphs[0].backups))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(load, range(3)))
    assert state_of_the_process() == before
    for number, fleet in enumerate(fleets):
        rows = Warehouse(tmp_path / f"{number}.duckdb").backups
        assert len(rows) == sum(len(graph.backups) for graph in fleet.graphs) - 1


def test_a_load_that_failed_while_listing_leaves_the_next_as_good_as_new(
    warehouse: Warehouse, fleet: Fleet
) -> None:
    with Emulator(fleet) as emulator:
        for _ in range(2):
            emulator.revoke_tokens()
            with pytest.raises(CredentialsError):
                warehouse.load(emulator)
            emulator.tokens.add(TOKEN, fleet.project_id)
            warehouse.load(emulator)
            fill(the_graph(fleet), 1, first=60 + len(the_graph(fleet).backups))
        warehouse.load(emulator)
    assert_exact(warehouse, fleet)
    assert not [one for one in threading.enumerate() if one.name.startswith("ges-graphs")]


def test_an_open_connection_keeps_its_lock_through_a_load(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    fill(the_graph(fleet), 1, first=50)
    with duckdb.connect(str(loaded.path)):
        loaded.load(emulator)
        other = [sys.executable, "-c", f"import duckdb; duckdb.connect({str(loaded.path)!r})"]
        refused = subprocess.run(other, check=False, capture_output=True, text=True)
    assert "Could not set lock" in refused.stderr
    loaded.load(emulator)
    assert_exact(loaded, fleet)
    assert not RollbackJournal(loaded.path).is_needed


def test_a_journal_stays_after_a_checkpoint_that_failed(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    journal = RollbackJournal(loaded.path)
    with duckdb.connect(str(loaded.path)) as connection:
        journal.keep(connection)
        ((offset, size), *_) = metadata_blocks(connection)
        with loaded.path.open("r+b") as file:
            file.seek(offset + size // 2)
            file.write(bytes(size // 2))
        journal.keep(connection)
    assert journal.roll_back()
    assert_exact(loaded, fleet)


def test_without_names_of_open_files_there_is_no_journal(
    warehouse: Warehouse,
    emulator: Emulator,
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows; whether Windows itself is so cannot be seen here."""
    monkeypatch.setattr("ges_history.warehouses.rollback_journal._DESCRIPTORS", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    warehouse.load(emulator)
    fill(the_graph(fleet), 1, first=50)
    warehouse.load(emulator)
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("memory_limit", "777.0 MiB"), ("checkpoint_threshold", "33.0 MiB"), ("threads", 3)],
)
def test_a_setting_of_an_open_connection_is_its_own_again(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet, setting: str, value: str | int
) -> None:
    fill(the_graph(fleet), 1, first=50)
    with duckdb.connect(str(loaded.path)) as connection:
        connection.execute(f"SET {setting} = '{value}'")
        loaded.load(emulator)
        after = connection.execute(f"SELECT current_setting('{setting}')").fetchone()
    assert after == (value,)
    assert_exact(loaded, fleet)


def test_rows_of_megabytes_are_marked_in_what_memory_there_is(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ges_history.warehouses.duckdb_file.MEMORY_MB", 8)
    fleet = fleet_of(graphs=1, backups=3)
    graph = the_graph(fleet)
    for n in range(3, 12):  # of what does not shrink when it is stored
        graph.add_backup(FIRST_MS + n * DAY_MS, id=f"g1-b{n}", note=os.urandom(10**6).hex())
    with Emulator(fleet) as emulator:
        warehouse.load(emulator)
        graph.delete_backup("g1-b11")
        warehouse.load(emulator)
    assert_exact(warehouse, fleet)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux and glibc")
def test_a_load_has_no_huge_pages() -> None:
    script = (
        "from ges_history.commands.little_memory import use_little_memory\n"
        "use_little_memory()\n"
        "print(open('/proc/self/status').read())"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert "THP_enabled:\t0" in told


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.soak)])
def test_two_projects_side_by_side_in_one_file_from_two_threads(
    warehouse: Warehouse, times: int
) -> None:
    fleets = [fleet_of(graphs=3, backups=4), Fleet("ffffffffffffffffffffffffffffffff")]
    fill(fleets[1].add_graph("other"), 5)
    with Emulator(fleets[0]) as one, Emulator(fleets[1]) as two:

        def load(emulator: Emulator) -> None:
            for number in range(times):
                warehouse.load(emulator)
                fill(emulator.fleet.graphs[0], 1, first=100 + number)
            warehouse.load(emulator)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(load, (one, two)))
    rows = warehouse.backups
    assert len(rows) == 3 * 4 + 5 + 2 * times
    assert {row["deleted_at"] for row in rows.values()} == {None}


def test_a_column_that_somebody_added_by_hand_keeps_its_values(
    warehouse: Warehouse, emulator: Emulator
) -> None:
    warehouse.load(emulator)
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("ALTER TABLE ges.backups ADD COLUMN remark VARCHAR")
        connection.execute("UPDATE ges.backups SET remark = 'mine'")
    graph = emulator.fleet.graphs[0]
    graph.rename("renamed")
    graph.delete_backup(graph.backups[0])
    backups = warehouse.load(emulator, full=True).backups
    assert (backups["changed"], backups["deleted"]) == (len(graph.backups), 1)
    assert {row["remark"] for row in warehouse.rows("backups")} == {"mine"}
