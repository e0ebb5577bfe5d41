"""Other loads, other programs, other places: a load waits, says who is in the way, and loses nothing."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beginnings import Beginnings
from cli_harness import (
    Command,
    Point,
    after,
    before,
    folder_of,
    held,
    killed_load,
    pending_packages,
    release,
    working_folders,
)
from ges_backups.batches import Batch
from ges_emulator import Emulator, Fleet
from ges_emulator.faults import Fault
from ges_history import connect
from ges_history.errors import DatabaseError, LoadInProgress
from ges_history.loading.projects import load
from ges_history.loading.run import _ProjectRun
from ges_history.warehouses.duckdb_file import DuckDbFile
from harness import NOW, Warehouse, assert_exact, fill, fleet_of, settings_for, the_graph

EXTRACTED = after("dlt.extract.storage.ExtractStorage.commit_new_load_package")
MERGED = after("ges_history.warehouses.duckdb_destination._MergeJob.run", 2)
LISTING = before("ges_backups.client.GesClient.get")


@pytest.fixture
def command(emulator: Emulator, tmp_path: Path) -> Command:
    return Command(emulator, tmp_path)


@pytest.fixture
def loaded_in_pages(warehouse: Warehouse, emulator: Emulator, beginnings: Beginnings) -> Warehouse:
    """A warehouse into which the fleet was loaded once, in pages of two."""
    beginnings.load(warehouse, emulator, page_size=2)
    return warehouse


@pytest.fixture
def said() -> list[str]:
    """The lines that loads said to a person."""
    return []


def wait_until(true: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@contextmanager
def stopped_load(command: Command) -> Iterator["subprocess.Popen[str]"]:
    """A load that has begun to list, and stands still until it is told to go on."""
    assert command.emulator is not None
    command.emulator.latency_seconds = 1.0
    with command.start("load", "--database", "history.duckdb") as process:
        wait_until(lambda: command.emulator and command.emulator.requests)
        process.send_signal(signal.SIGSTOP)
        command.emulator.latency_seconds = 0.0
        try:
            yield process
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_second_load_says_who_is_loading_and_waits(command: Command) -> None:
    with stopped_load(command) as first:
        at_once = command.load("--database", "history.duckdb", "--wait", "0")
        assert at_once.code == 1
        assert f"Another load (process {first.pid}) is working on history.duckdb" in at_once.err
        assert "--wait SECONDS" in at_once.err
        with command.start("load", "--database", "history.duckdb", "--json") as second:
            assert second.stderr is not None
            assert f"(process {first.pid})" in second.stderr.readline()
            first.send_signal(signal.SIGCONT)
            out, _ = second.communicate(timeout=60)
    assert (second.returncode, json.loads(out)["outcome"]) == (0, "unchanged")


def test_second_load_through_a_link_is_seen(
    emulator: Emulator, command: Command, warehouse: Warehouse
) -> None:
    link = warehouse.path.parent / "link.duckdb"
    link.symlink_to(warehouse.path)
    with stopped_load(command) as first:
        with pytest.raises(LoadInProgress, match=f"process {first.pid}"):
            load(link, wait=0, **settings_for(emulator))
        first.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_waits_for_another_program_and_says_which(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet, said: list[str], role: str
) -> None:
    fill(the_graph(fleet), 1, first=50)
    with held(loaded.path, role) as holder:
        with pytest.raises(DatabaseError, match=rf"held by .*process {holder.pid}.*--wait"):
            loaded.load(emulator, wait=0)
        threading.Timer(1.0, release, [holder]).start()
        loaded.load(emulator, wait=30, say=said.append)
    assert [line for line in said if f"process {holder.pid}" in line and "waiting" in line]
    assert_exact(loaded, fleet)


def load_that_is_grabbed(warehouse: Warehouse, emulator: Emulator, role: str, said: str) -> None:
    """A load whose database another program opens while it lists, for longer than it waits."""
    grabbed: list[Any] = []

    def grab(_: object) -> None:
        if not grabbed:
            grabbed.append(held(warehouse.path, role))
            grabbed.append(grabbed[0].__enter__())

    emulator.before_answer = grab
    with pytest.raises(DatabaseError, match=said):
        warehouse.load(emulator, wait=0.5)
    emulator.before_answer = None
    release(grabbed[1])
    grabbed[0].__exit__(None, None, None)


def test_database_grabbed_by_a_writer_while_listing_is_said_and_loses_nothing(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    fill(the_graph(fleet), 1, first=50)
    load_that_is_grabbed(loaded, emulator, "writer", r"is held by python.*must close it first")
    assert loaded.load(emulator).backups["new"] == 1
    assert_exact(loaded, fleet)


def test_database_grabbed_by_a_reader_while_listing_keeps_what_was_listed(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet, said: list[str]
) -> None:
    fill(the_graph(fleet), 1, first=50)
    load_that_is_grabbed(loaded, emulator, "reader", "What was listed is kept")
    assert pending_packages(loaded.path)
    the_graph(fleet).delete_backup("g1-b50")
    outcome = loaded.load(emulator, say=said.append)
    assert "Finishing the load that was interrupted." in said
    assert loaded.deleted == {"g1-b50"}
    assert (outcome.backups["new"], outcome.backups["deleted"]) == (1, 1)
    assert_exact(loaded, fleet)


def test_connection_of_this_process_is_named(loaded: Warehouse, emulator: Emulator) -> None:
    with (
        duckdb.connect(str(loaded.path), read_only=True),
        pytest.raises(DatabaseError, match="open in this process"),
    ):
        loaded.load(emulator, wait=0)
    loaded.load(emulator)


def spoil(database: Path) -> None:
    """Cut the files of rows of the pending package, as a machine that lost its power would."""
    files = [path for path in folder_of(database).rglob("*.parquet") if path.stat().st_size]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:20])


def test_spoilt_package_is_given_up_and_listed_again(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet, said: list[str]
) -> None:
    fill(the_graph(fleet), 2, first=50)
    killed_load(loaded, settings_for(emulator), EXTRACTED)
    spoil(loaded.path)
    loaded.load(emulator, say=said.append)
    (told,) = [line for line in said if "cannot be finished" in line]
    aside = Path(told.split("is kept in ")[1].split("; ")[0])
    assert list(aside.rglob("*.parquet"))
    assert_exact(loaded, fleet)


@pytest.mark.parametrize("broken", ["", "{", '{"_state_version": "x"}', "[]"], ids=repr)
def test_broken_state_file_is_made_anew(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet, broken: str
) -> None:
    fill(the_graph(fleet), 1, first=50)
    (working,) = working_folders(loaded.path)
    (working / "state.json").write_text(broken)
    outcome = loaded.load(emulator)
    assert (working.with_suffix(".aside") / working.name / "state.json").read_text() == broken
    assert outcome.backups["new"] == 1
    assert_exact(loaded, fleet)


@pytest.fixture
def two_fleets() -> Iterator[tuple[Emulator, Emulator]]:
    """Two projects; their graphs and backups have names of their own."""
    other = Fleet("ffffffffffffffffffffffffffffffff", now=NOW)
    fill(other.add_graph("x1"), 4)
    with Emulator(fleet_of(graphs=2, backups=3)) as one, Emulator(other) as two:
        yield one, two


def test_two_projects_in_one_database_leave_each_other_alone(
    warehouse: Warehouse, two_fleets: tuple[Emulator, Emulator]
) -> None:
    one, two = two_fleets
    for _ in range(2):
        warehouse.load(one)
        warehouse.load(two)
    assert (len(warehouse.backups), warehouse.deleted) == (10, set())
    the_graph(one.fleet).delete_backup("g1-b0")
    the_graph(two.fleet, "x1").delete_backup("x1-b3")
    warehouse.load(two)
    assert warehouse.deleted == {"x1-b3"}
    warehouse.load(one)
    assert warehouse.deleted == {"x1-b3", "g1-b0"}
    assert {row["project_id"] for row in warehouse.rows("listings")} == {
        one.fleet.project_id,
        two.fleet.project_id,
    }


@pytest.mark.parametrize(
    "dropped",
    ["ALTER TABLE ges.backups DROP COLUMN zone", "DROP TABLE ges.listings"],
    ids=["a column", "a table"],
)
def test_what_somebody_dropped_comes_back(
    warehouse: Warehouse, emulator: Emulator, fleet: Fleet, dropped: str
) -> None:
    the_graph(fleet).add_backup(NOW, id="zoned", zone="red")
    warehouse.load(emulator)
    with duckdb.connect(str(warehouse.path)) as somebody:
        somebody.execute(dropped)
    the_graph(fleet).add_backup(NOW, id="new", zone="blue")
    warehouse.load(emulator)
    assert warehouse.backups["new"]["zone"] == "blue"
    assert_exact(warehouse, fleet)


def test_a_project_may_have_the_name_of_a_lock(warehouse: Warehouse) -> None:
    with Emulator(Fleet("write", now=NOW)) as emulator:
        assert warehouse.load(emulator, wait=1).exit_code == 0


def test_two_databases_in_one_folder(tmp_path: Path, two_fleets: tuple[Emulator, Emulator]) -> None:
    warehouses = [Warehouse(tmp_path / name) for name in ("a.duckdb", "b.duckdb")]
    for _ in range(2):
        for warehouse, emulator in zip(warehouses, two_fleets, strict=True):
            warehouse.load(emulator)
            assert_exact(warehouse, emulator.fleet)


@pytest.mark.parametrize("with_folder", [True, False], ids=["with its folder", "alone"])
def test_moved_database_goes_on(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path, with_folder: bool
) -> None:
    there = tmp_path / "elsewhere" / "ges.duckdb"
    there.parent.mkdir()
    loaded_in_pages.path.rename(there)
    if with_folder:
        folder_of(loaded_in_pages.path).rename(folder_of(there))
    the_graph(fleet).delete_backup("g1-b0")
    fill(the_graph(fleet), 1, first=50)
    moved = Warehouse(there)
    outcome = moved.load(emulator, page_size=2)
    assert (outcome.backups["new"], outcome.backups["deleted"]) == (1, 1)
    assert_exact(moved, fleet)


def test_both_copies_go_on(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    copy = Warehouse(tmp_path / "copy.duckdb")
    shutil.copy(loaded_in_pages.path, copy.path)
    for number in range(3):
        fill(the_graph(fleet), 1, first=50 + number)
        for each in (copy, loaded_in_pages) if number % 2 else (loaded_in_pages, copy):
            assert each.load(emulator, page_size=2).backups["new"] == 1
            assert_exact(each, fleet)


def test_database_restored_from_an_old_copy_catches_up(
    warehouse: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    the_graph(fleet).add_backup(NOW, id="running", status="backing_up")
    warehouse.load(emulator, page_size=2)
    shutil.copy(warehouse.path, tmp_path / "old")
    for number in range(3):
        fill(the_graph(fleet), 2, first=50 + 2 * number)
        warehouse.load(emulator, page_size=2)
    the_graph(fleet).backups[-1].finish()
    shutil.copy(tmp_path / "old", warehouse.path)
    assert warehouse.load(emulator, page_size=2).backups["new"] == 6
    assert_exact(warehouse, fleet)


def test_old_copy_restored_under_a_pending_package_keeps_what_it_saw(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path, said: list[str]
) -> None:
    shutil.copy(loaded_in_pages.path, tmp_path / "old")
    fill(the_graph(fleet), 2, first=50)
    loaded_in_pages.load(emulator, page_size=2)
    fill(the_graph(fleet), 2, first=60)
    killed_load(loaded_in_pages, settings_for(emulator, page_size=2), EXTRACTED)
    the_graph(fleet).delete_backup("g1-b60")
    shutil.copy(tmp_path / "old", loaded_in_pages.path)
    loaded_in_pages.load(emulator, page_size=2, say=said.append)
    assert any("has changed since that load" in line for line in said)
    assert loaded_in_pages.deleted == {"g1-b60"}
    assert_exact(loaded_in_pages, fleet)


def test_all_is_listed_again_until_a_load_lists_every_graph(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    shutil.copy(loaded_in_pages.path, tmp_path / "old")
    fill(the_graph(fleet), 4, first=50)
    loaded_in_pages.load(emulator, page_size=2)
    fill(the_graph(fleet), 2, first=60)
    killed_load(loaded_in_pages, settings_for(emulator, page_size=2), EXTRACTED)
    shutil.copy(tmp_path / "old", loaded_in_pages.path)
    emulator.faults.add(Fault.http(400), path="backups", graph_id="g1", times=None)
    assert loaded_in_pages.load(emulator, page_size=2).outcome == "partial"
    emulator.faults.clear()
    loaded_in_pages.load(emulator, page_size=2)
    assert_exact(loaded_in_pages, fleet)


def test_an_old_copy_that_is_put_in_place_while_a_load_lists_is_seen(
    loaded_in_pages: Warehouse,
    emulator: Emulator,
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(loaded_in_pages.path, tmp_path / "old")
    fill(the_graph(fleet), 4, first=50)
    loaded_in_pages.load(emulator, page_size=2)
    fill(the_graph(fleet), 2, first=60)
    with monkeypatch.context() as meanwhile:
        extract = _ProjectRun._extract

        def put_in_place(run: _ProjectRun, batches: Iterator[Batch]) -> None:
            extract(run, batches)
            shutil.copy(tmp_path / "old", loaded_in_pages.path)

        meanwhile.setattr(_ProjectRun, "_extract", put_in_place)
        with pytest.raises(DatabaseError, match="changed while it was listed"):
            loaded_in_pages.load(emulator, page_size=2)
    loaded_in_pages.load(emulator, page_size=2)
    assert_exact(loaded_in_pages, fleet)


def test_a_package_waits_for_its_own_project_also_under_another_database(
    warehouse: Warehouse, two_fleets: tuple[Emulator, Emulator], tmp_path: Path
) -> None:
    one, two = two_fleets
    other = Warehouse(tmp_path / "other.duckdb")
    other.load(two)
    warehouse.load(one)
    fill(the_graph(one.fleet), 1, first=50)
    killed_load(warehouse, settings_for(one), EXTRACTED)
    shutil.copy(other.path, warehouse.path)
    warehouse.load(two)
    assert_exact(warehouse, two.fleet)
    the_graph(one.fleet).delete_backup("g1-b50")
    warehouse.load(one)
    assert warehouse.deleted == {"g1-b50"}
    assert len(warehouse.listed) == 6 + 4


@pytest.mark.parametrize("pending", [False, True], ids=["at rest", "with a pending package"])
def test_deleted_folder_of_packages_is_made_anew(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, pending: bool
) -> None:
    fill(the_graph(fleet), 1, first=50)
    if pending:
        killed_load(loaded_in_pages, settings_for(emulator, page_size=2), EXTRACTED)
    shutil.rmtree(folder_of(loaded_in_pages.path))
    assert loaded_in_pages.load(emulator, page_size=2).backups["new"] == 1
    assert_exact(loaded_in_pages, fleet)


@pytest.mark.parametrize(
    "point", [None, EXTRACTED, MERGED], ids=["at rest", "with a pending package", "with a log"]
)
def test_deleted_database_is_filled_anew(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, point: Point | None
) -> None:
    fill(the_graph(fleet), 1, first=50)
    if point is not None:
        killed_load(loaded_in_pages, settings_for(emulator, page_size=2), point)
    loaded_in_pages.path.unlink()
    assert loaded_in_pages.load(emulator, page_size=2).backups["total"] == 7
    assert_exact(loaded_in_pages, fleet)


def test_killed_while_it_mends_an_old_copy(
    loaded_in_pages: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    settings = settings_for(emulator, page_size=2)
    shutil.copy(loaded_in_pages.path, tmp_path / "old")
    fill(the_graph(fleet), 3, first=50)
    loaded_in_pages.load(emulator, page_size=2)
    fill(the_graph(fleet), 1, first=60)
    killed_load(loaded_in_pages, settings, EXTRACTED)
    shutil.copy(tmp_path / "old", loaded_in_pages.path)
    killed_load(
        loaded_in_pages,
        settings,
        after("dlt.destinations.job_client_impl.SqlJobClientBase.complete_load"),
    )
    loaded_in_pages.load(emulator, page_size=2)
    assert_exact(loaded_in_pages, fleet)


NAMES = [
    "ges.duckdb",
    "GES.duckdb",
    "ges_staging.duckdb",
    "reports.duckdb",
    "temp.duckdb",
    "main.duckdb",
    ".a.b.hidden",
    "name=x/project_id=other/size=5.duckdb",
    "{0} o'brien x[1]*?\nnew line;drop table.duckdb",
]
MORE_NAMES = [
    *("a.b.c.duckdb", ".hidden", "o'brien.duckdb", "x[1]*?.duckdb", "{0}.duckdb"),
    *("new\nline;drop table.duckdb", "a b.duckdb", "noext", "ünï😀.duckdb", "-x.duckdb"),
]
"""What each holds that has to be quoted or is unusual, some of `NAMES` hold together."""


@pytest.mark.parametrize(
    "name",
    [*NAMES, *(pytest.param(name, marks=pytest.mark.soak) for name in MORE_NAMES)],
    ids=ascii,
)
def test_any_file_name(tmp_path: Path, emulator: Emulator, fleet: Fleet, name: str) -> None:
    """DuckDB takes `name=x` in the path of a file that it reads for a column of its rows."""
    warehouse = Warehouse(tmp_path / name)
    warehouse.path.parent.mkdir(parents=True, exist_ok=True)
    warehouse.load(emulator, page_size=2)
    the_graph(fleet).delete_backup("g1-b0")
    fill(the_graph(fleet), 1, first=50)
    outcome = warehouse.load(emulator, page_size=2)
    assert (outcome.backups["new"], outcome.backups["deleted"]) == (1, 1)
    assert_exact(warehouse, fleet)
    with connect(warehouse.path) as history:
        rows = history.execute("SELECT sum(backups) FROM reports.inventory").fetchall()
    assert rows == [(6,)]
    with duckdb.connect(str(warehouse.path), read_only=True) as plain:
        catalog = plain.execute("SELECT current_database()").fetchall()[0][0].replace('"', '""')
        rows = plain.execute(f'SELECT sum(backups) FROM "{catalog}".reports.inventory').fetchall()
    assert rows == [(6,)]
    assert warehouse.load(emulator, page_size=2).outcome == "unchanged"


@pytest.mark.parametrize("name", ["ges.duckdb", "o'brien.duckdb"])
def test_any_file_name_after_a_kill(
    tmp_path: Path, emulator: Emulator, fleet: Fleet, name: str
) -> None:
    warehouse = Warehouse(tmp_path / name)
    copied = after("ges_history.warehouses.duckdb_destination._MergeJob.run", 2)
    assert killed_load(warehouse, settings_for(emulator), copied) == -9
    warehouse.load(emulator)
    assert_exact(warehouse, fleet)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a%20b.duckdb", "the sign %"), ("a\\b.duckdb", "the sign"), (":memory:", "in memory")],
)
def test_names_that_cannot_be_are_refused(
    tmp_path: Path, emulator: Emulator, name: str, reason: str
) -> None:
    with pytest.raises(DatabaseError, match=reason):
        Warehouse(tmp_path / name).load(emulator)
    assert emulator.requests == []
    assert list(tmp_path.iterdir()) == []


def test_link_leads_to_one_history(
    warehouse: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "link.duckdb").symlink_to(warehouse.path)
    (tmp_path / "folder").symlink_to(tmp_path)
    Warehouse(tmp_path / "link.duckdb").load(emulator)
    assert not (tmp_path / ".link.duckdb.dlt").exists()
    fill(the_graph(fleet), 1, first=50)
    assert Warehouse(tmp_path / "folder" / "link.duckdb").load(emulator).backups["new"] == 1
    assert_exact(warehouse, fleet)


def test_read_only_folder_is_said(tmp_path: Path, emulator: Emulator) -> None:
    """Root may write anywhere, so the folder is one that nobody can write."""
    with pytest.raises(DatabaseError, match="cannot be written"):
        Warehouse(Path("/proc/history.duckdb")).load(emulator)
    assert emulator.requests == []


def test_program_that_reads_for_a_moment_never_stops_a_load(
    loaded: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    """A notebook that opens and closes the database again and again."""
    reads = (
        "import sys, time, duckdb\n"
        "end = time.monotonic() + 8\n"
        "while time.monotonic() < end:\n"
        "    try: duckdb.connect(sys.argv[1], read_only=True).close()\n"
        "    except duckdb.Error: pass\n"
        "    time.sleep(0.02)\n"
    )
    with subprocess.Popen([sys.executable, "-c", reads, str(loaded.path)]) as reader:
        for number in range(4):
            fill(the_graph(fleet), 1, first=50 + number)
            assert loaded.load(emulator, wait=20).backups["new"] == 1
        reader.kill()
    assert_exact(loaded, fleet)


def test_a_database_that_is_held_open_is_not_held_in_a_transaction(
    loaded: Warehouse, emulator: Emulator
) -> None:
    """An unread result would keep one open, and with it the memory of all that a load undoes."""
    with DuckDbFile(loaded.path).writing(wait=0):
        with duckdb.connect(str(loaded.path)) as connection:
            connection.execute("CREATE TABLE ges.other AS SELECT 1")
            connection.execute("DROP TABLE ges.other")
        with duckdb.connect(str(loaded.path)) as connection:
            assert connection.execute("CHECKPOINT").fetchall() == []
