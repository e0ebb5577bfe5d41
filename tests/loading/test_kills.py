"""Killed at any moment, the next single load brings everything right; stopped by a person, it ends soon."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beginnings import Beginnings
from cli_harness import (
    PROGRAM,
    SETTING,
    Point,
    after,
    before,
    environment,
    folder_of,
    killed_load,
    load_killed_after,
    pending_packages,
    unfinished,
)
from forked import exit_unless_imported, started
from ges_backups.batches import BATCH_ROWS
from ges_backups.errors import CredentialsError
from ges_emulator import Emulator, Fleet
from ges_history import connect
from ges_history.causes import is_out_of_memory
from ges_history.errors import DatabaseError
from ges_history.loading.dlt_settings import SETTINGS
from ges_history.loading.packages import HALF_SAVED
from ges_history.loading.projects import load
from ges_history.warehouses.rollback_journal import HEADER_BYTES, RollbackJournal
from harness import (
    FIRST_MS,
    NOW,
    TOKEN,
    Warehouse,
    assert_exact,
    expected_row,
    fill,
    fleet_of,
    settings_for,
    the_graph,
)
from small_disk import only_root, small_disk
from torn_writes import torn

PAGE_SIZE = 4
REJECTS = 3
"""The exit code of a load that rejected a row."""
FLEETING, BROKEN = "fleeting", "broken"

LISTING = "ges_backups.client.GesClient.get"
EXTRACT = "dlt.extract.storage.ExtractStorage"
PACKAGE = "dlt.common.storages.load_package.PackageStorage"
LOADING = "dlt.common.storages.load_storage.LoadStorage"
PIPELINE = "dlt.pipeline.pipeline.Pipeline"
LOAD = "dlt.load.load.Load"
MERGE = "ges_history.warehouses.duckdb_destination._MergeJob.run"
IN_MERGE = "ges_history.warehouses.duckdb_destination._MergeJob._update"
WAREHOUSE = "ges_history.warehouses.duckdb_file.DuckDbFile"

COMPLETE = "dlt.destinations.job_client_impl.SqlJobClientBase.complete_load"

POINTS = [
    after(LISTING, 5),
    before(f"{EXTRACT}.commit_new_load_package"),
    after(f"{EXTRACT}.commit_new_load_package"),
    after(f"{LOADING}.commit_new_load_package"),
    before(f"{LOADING}.commit_schema_update"),
    before(IN_MERGE),
    after(IN_MERGE),
    after(MERGE),
    after(f"{PACKAGE}.save_pending_transition"),
    after(f"{LOAD}.create_followup_jobs"),
    after(f"{PACKAGE}.complete_job", 2),
    before(COMPLETE),
    after(COMPLETE),
    after(f"{LOADING}.complete_load_package"),
    before(f"{WAREHOUSE}.touch"),
    after(f"{WAREHOUSE}.touch"),
]
MORE_POINTS = [
    before(LISTING),
    after(f"{PIPELINE}.extract"),
    before("dlt.normalize.normalize.Normalize.run"),
    before(f"{LOADING}.commit_new_load_package"),
    after(f"{LOADING}.commit_schema_update"),
    before(MERGE),
    after(MERGE, 2),
    after(MERGE, 3),
    after(IN_MERGE, 2),
    after(f"{LOAD}.create_followup_jobs", 3),
    before(f"{LOADING}.complete_load_package"),
    after(f"{WAREHOUSE}._prune"),
    after("ges_history.reports.views.rebuild"),
]
POINTS_OF_A_FIRST_LOAD = [
    after(LISTING, 5),
    after(f"{EXTRACT}.commit_new_load_package"),
    after(f"{LOADING}.commit_new_load_package"),
    before(f"{LOADING}.commit_schema_update"),
    after(MERGE),
    after(MERGE, 2),
    after(COMPLETE),
    after(f"{WAREHOUSE}._make_file"),
    before("ges_history.reports.views._fingerprint"),
]


@dataclass
class Life:
    """A warehouse, the fleet that it follows, and the emulator between them."""

    warehouse: Warehouse
    fleet: Fleet
    emulator: Emulator

    @property
    def settings(self) -> dict[str, Any]:
        return settings_for(self.emulator, page_size=PAGE_SIZE)

    def load(self) -> Any:
        return self.warehouse.load(self.emulator, page_size=PAGE_SIZE)

    def move_on(self) -> None:
        """Let everything happen that a load must notice."""
        graph = the_graph(self.fleet)
        graph.backups[-1].finish(size=77)
        graph.delete_backup(graph.backups[1])
        fill(graph, 2, first=50)
        graph.add_backup(FIRST_MS + 60 * 86_400_000, id=FLEETING)
        graph.add_record({"id": BROKEN, "graph_id": "g1"}, index=0)
        fill(self.fleet.add_graph("g9"), 6)

    def forget_the_fleeting(self) -> None:
        """What only the killed load saw vanishes."""
        the_graph(self.fleet).delete_backup(FLEETING)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    fleet = fleet_of(graphs=3, backups=9)
    the_graph(fleet).add_backup(NOW, id="running", status="backing_up")
    with Emulator(fleet) as emulator:
        yield Life(Warehouse(tmp_path / "history.duckdb"), fleet, emulator)


@pytest.fixture
def begun(life: Life, beginnings: Beginnings) -> Life:
    """A life whose first load is over."""
    beginnings.load(life.warehouse, life.emulator, page_size=PAGE_SIZE)
    return life


@pytest.fixture
def moved_on(begun: Life) -> Life:
    """A life in which much has happened since its first load, and nothing that is gone again."""
    begun.move_on()
    begun.forget_the_fleeting()
    return begun


def assert_whole(life: Life, *, fleeting: bool) -> None:
    """Everything in the database is as if no load had ever been killed."""
    warehouse, fleet = life.warehouse, life.fleet
    rows = warehouse.backups
    expected = {
        backup.id: expected_row(backup.record, fleet.project_id)
        for graph in fleet.graphs
        for backup in graph.backups
        if backup.id != BROKEN
    }
    assert {
        key: {name: rows[key][name] for name in row} for key, row in expected.items()
    } == expected
    marked = {key for key, row in rows.items() if row["deleted_at"] is not None}
    assert rows.keys() - marked == set(expected)
    assert (FLEETING in marked) == fleeting
    for table, key in (("listings", "graph_id"), ("graphs", "id")):
        keys = [row[key] for row in warehouse.rows(table)]
        assert sorted(keys) == sorted(graph.id for graph in fleet.graphs), table
    is_broken = any(backup.id == BROKEN for graph in fleet.graphs for backup in graph.backups)
    assert [row["backup_id"] for row in warehouse.rejected] == [BROKEN] * is_broken
    assert pending_packages(warehouse.path) == []
    assert unfinished(warehouse.path) == []
    with duckdb.connect(str(warehouse.path), read_only=True) as history:
        inventory = "SELECT sum(backups + deleted) FROM history.reports.inventory"
        counts = history.execute(inventory).fetchall()
    assert counts == [(len(rows),)]


def was_committed(warehouse: Warehouse) -> bool:
    """Whether the killed load left what it saw: in a package, or in the database."""
    return bool(pending_packages(warehouse.path)) or FLEETING in warehouse.backups


def test_a_process_that_is_killed_was_forked_with_all_imported() -> None:
    process = started(exit_unless_imported, "pandas", "psycopg2", "ges_history.loading.projects")
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "point",
    [*POINTS, *(pytest.param(point, marks=pytest.mark.soak) for point in MORE_POINTS)],
    ids=str,
)
def test_next_load_is_exact_after_a_kill(begun: Life, point: Point) -> None:
    assert_mended_after_a_kill(begun, point)
    assert begun.load().outcome == "unchanged"


def assert_mended_after_a_kill(life: Life, point: Point) -> None:
    """Much happens, a load is killed at a point, and the next one brings everything right."""
    life.move_on()
    assert killed_load(life.warehouse, life.settings, point) == -signal.SIGKILL
    committed = was_committed(life.warehouse)
    life.forget_the_fleeting()
    life.load()
    assert_whole(life, fleeting=committed)


@pytest.mark.parametrize("point", POINTS_OF_A_FIRST_LOAD, ids=str)
def test_next_load_is_exact_after_a_kill_of_the_first(life: Life, point: Point) -> None:
    assert_mended_after_a_kill(life, point)


def test_killed_again_and_again_while_it_mends(begun: Life) -> None:
    begun.move_on()
    for point in (after(IN_MERGE), after(MERGE), after(MERGE, 2), after(f"{WAREHOUSE}.touch")):
        assert killed_load(begun.warehouse, begun.settings, point) == -signal.SIGKILL
    begun.load()
    assert FLEETING in begun.warehouse.listed
    begun.forget_the_fleeting()
    begun.load()
    assert_whole(begun, fleeting=True)


def kill_at_random_times(life: Life, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    graph = the_graph(life.fleet)
    started = time.monotonic()
    load_killed_after(life.warehouse, life.settings, 60)
    usual_seconds = time.monotonic() - started
    for number in range(kills):
        graph.add_backup(NOW + timedelta(days=2 + number))
        if chance.random() < 0.3:
            graph.delete_backup(chance.choice(graph.backups))
        load_killed_after(life.warehouse, life.settings, chance.uniform(0.0, usual_seconds))
    life.load()
    assert_whole(life, fleeting=False)


def test_killed_at_random_times(life: Life) -> None:
    kill_at_random_times(life, kills=8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_times_often(life: Life, seed: int) -> None:
    kill_at_random_times(life, kills=60, seed=seed)


def test_kills_and_failures_leave_no_garbage(begun: Life) -> None:
    sizes = []
    for point in [after(LISTING, 5), before(f"{EXTRACT}.commit_new_load_package")] * 3:
        killed_load(begun.warehouse, begun.settings, point)
        begun.emulator.revoke_tokens()
        with pytest.raises(CredentialsError):
            begun.load()
        begun.emulator.tokens.add(TOKEN, begun.fleet.project_id)
        begun.load()
        files = [path for path in folder_of(begun.warehouse.path).rglob("*") if path.is_file()]
        sizes.append((len(files), unfinished(begun.warehouse.path)))
    assert sizes[2:] == [sizes[2]] * 4
    assert sizes[-1][1] == []


@pytest.mark.parametrize("nth", [3, 12, 13, 15, 23])
def test_killed_while_it_saves_a_file_leaves_no_half(life: Life, nth: int) -> None:
    assert killed_load(life.warehouse, life.settings, before("os.replace", nth)) == -signal.SIGKILL
    folder = folder_of(life.warehouse.path)
    halves = [path for path in folder.rglob("*") if HALF_SAVED.fullmatch(path.name)]
    assert halves

    life.load()

    assert not any(path.exists() for path in halves)
    assert_whole(life, fleeting=False)


@only_root
@pytest.mark.parametrize(("megabytes", "backups"), [(3, 6000), (3, 20_000), (4, 20_000)])
def test_full_disk_loses_nothing(
    tmp_path: Path, beginnings: Beginnings, megabytes: int, backups: int
) -> None:
    fleet = fleet_of(graphs=3, backups=9)
    with small_disk(tmp_path, megabytes * 1024) as disk, Emulator(fleet) as emulator:
        life = Life(Warehouse(disk / "history.duckdb"), fleet, emulator)
        beginnings.load(life.warehouse, emulator, page_size=PAGE_SIZE)
        life.move_on()
        fill(the_graph(fleet), backups, first=200)
        settings = {**life.settings, "page_size": 1000}
        with pytest.raises(DatabaseError, match=r"No space left"):
            load(life.warehouse.path, **settings)
        committed = was_committed(life.warehouse)
        life.forget_the_fleeting()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        load(life.warehouse.path, full=not committed, **settings)  # a long list is read in part
        assert_whole(life, fleeting=committed)


@only_root
def test_many_rows_need_no_room_for_a_log_beside_the_file(tmp_path: Path) -> None:
    fleet = fleet_of(graphs=1, backups=0)
    fill(the_graph(fleet), 20_000)
    with small_disk(tmp_path, 5 * 1024) as disk, Emulator(fleet) as emulator:
        warehouse = Warehouse(disk / "history.duckdb")
        load(warehouse.path, **settings_for(emulator, page_size=1000))
        assert_exact(warehouse, fleet)


def test_merge_that_needs_more_memory_gets_it(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory = []

    def is_short(error: BaseException) -> bool:
        short_of_memory.append(is_out_of_memory(error))
        return short_of_memory[-1]

    monkeypatch.setattr("ges_history.warehouses.duckdb_file.MEMORY_MB", 8)
    monkeypatch.setattr("ges_history.warehouses.duckdb_destination.is_out_of_memory", is_short)
    fleet = fleet_of(graphs=1, backups=0)
    fill(the_graph(fleet), 3000)
    with Emulator(fleet) as emulator:
        for _ in range(2):
            load(warehouse.path, full=True, **settings_for(emulator, page_size=1000))

    assert True in short_of_memory
    assert_exact(warehouse, fleet)


def test_a_full_file_is_merged_twice_without_more_memory(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second try in all memory is for rows that nobody foresaw: it costs the load twice."""
    monkeypatch.setattr(
        "ges_history.warehouses.duckdb_destination.is_out_of_memory", lambda _: False
    )
    fleet = fleet_of(graphs=8, backups=0)
    rows = SETTINGS["sources"]["data_writer"]["file_max_items"] + BATCH_ROWS
    for place in range(rows):
        graph = fleet.graphs[place % len(fleet.graphs)]
        graph.add_backup(FIRST_MS + place * 60_000, id=f"{place:08x}-0000-4000-a000-{place:012x}")
    with Emulator(fleet) as emulator:
        for _ in range(2):
            load(warehouse.path, full=True, **settings_for(emulator, page_size=1000))

    with connect(warehouse.path) as history:
        found = history.sql("SELECT COUNT(DISTINCT id) FROM ges.backups").fetchall()
    assert found == [(rows,)]


def run_load(life: Life, page_size: int = PAGE_SIZE, **variables: str) -> int:
    """The exit code of a load in a process of its own, which nothing has warmed."""
    folder = life.warehouse.path.parent
    variables[f"{SETTING}PAGE_SIZE"] = str(page_size)
    command = [PROGRAM, "load", "--database", str(life.warehouse.path)]
    return subprocess.run(
        command,
        env=environment(life.emulator, folder, **variables),
        cwd=folder,
        check=False,
        capture_output=True,
    ).returncode


def test_a_torn_write_is_mended(moved_on: Life, torn_write: Path) -> None:
    path = moved_on.warehouse.path
    assert run_load(moved_on, **torn(torn_write, 1, 2, HEADER_BYTES)) == -signal.SIGKILL
    with pytest.raises(DatabaseError, match=r"is half written.*run `ges-backups load`"):
        connect(path)

    assert run_load(moved_on, **torn(torn_write, 1, 50, HEADER_BYTES)) == -signal.SIGKILL
    assert run_load(moved_on) in (0, REJECTS)

    assert_whole(moved_on, fleeting=False)
    assert not RollbackJournal(path).is_needed


def test_a_large_file_torn_while_it_is_written_at_once_is_mended(
    moved_on: Life, torn_write: Path
) -> None:
    fill(the_graph(moved_on.fleet), 60_000, first=200)
    assert run_load(moved_on, 1000, **torn(torn_write, 1, 2, HEADER_BYTES)) == -signal.SIGKILL
    assert run_load(moved_on, 1000) in (0, REJECTS)
    assert_whole(moved_on, fleeting=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("backups", "percent"), [(0, 2), (0, 50), (0, 98), (60_000, 2)])
def test_any_torn_write_is_mended(
    moved_on: Life, torn_write: Path, tmp_path: Path, backups: int, percent: int
) -> None:
    fill(the_graph(moved_on.fleet), backups, first=200)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path, kept)
    for nth in range(1, 1000):
        folder = tmp_path / str(nth)
        shutil.copytree(kept, folder)
        each = Life(Warehouse(folder / "history.duckdb"), moved_on.fleet, moved_on.emulator)
        code = run_load(each, 1000, **torn(torn_write, nth, percent))
        if code != -signal.SIGKILL:
            break
        assert run_load(each, 1000) in (0, REJECTS)
        assert_whole(each, fleeting=False)
        shutil.rmtree(folder)
    assert nth > 15  # so many writes there are at least, and each was cut
