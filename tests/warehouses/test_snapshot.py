"""A snapshot is a history to read; who holds it keeps no load waiting."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from cli_harness import Command
from ges_emulator import Emulator, Fleet
from ges_history import connect, read_report
from ges_history.errors import DatabaseError
from ges_history.loading.projects import load
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.warehouses.snapshot import publish
from harness import Warehouse, fill, settings_for, the_graph
from small_disk import only_root, small_disk

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "True")
print("held", flush=True)
for _ in sys.stdin:
    print(connection.execute("SELECT count(*) FROM ges.backups").fetchone()[0], flush=True)
"""


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshot.duckdb"


def rows_of(file: Path, table: str) -> list[str]:
    with connect(file) as history:
        return sorted(map(repr, history.execute(f"SELECT * FROM ges.{table}").fetchall()))


def test_a_snapshot_holds_all_tables_and_reports(
    warehouse: Warehouse, emulator: Emulator, snapshot: Path
) -> None:
    the_graph(emulator.fleet).add_record({"id": "broken", "graph_id": "g1"}, index=0)
    warehouse.load(emulator)
    assert publish(DuckDbFile(warehouse.path), snapshot)
    for table in ("backups", "graphs", "listings", "projects", "rejected_backups"):
        assert rows_of(snapshot, table) == rows_of(warehouse.path, table)
    ours = read_report("inventory", warehouse.path)
    assert read_report("inventory", snapshot).equals(ours)
    with duckdb.connect(str(snapshot), read_only=True) as plain:
        assert plain.execute("SELECT sum(backups) FROM reports.inventory").fetchall() == [(6,)]


def test_it_is_written_only_when_something_has_changed(
    loaded: Warehouse, emulator: Emulator, snapshot: Path
) -> None:
    file = DuckDbFile(loaded.path)
    assert publish(file, snapshot)
    inode = snapshot.stat().st_ino
    assert not publish(file, snapshot)
    loaded.load(emulator)
    assert not publish(file, snapshot)
    assert snapshot.stat().st_ino == inode
    fill(the_graph(emulator.fleet), 1, first=50)
    loaded.load(emulator)
    assert publish(file, snapshot)
    assert snapshot.stat().st_ino != inode


def test_after_an_hour_without_news_it_is_written_so_that_it_does_not_look_stale(
    loaded: Warehouse, emulator: Emulator, snapshot: Path
) -> None:
    with duckdb.connect(str(loaded.path)) as connection:
        then = datetime.now(UTC) - timedelta(hours=2)
        connection.execute("UPDATE ges.projects SET last_listed_at = ?", [then])
    publish(DuckDbFile(loaded.path), snapshot)
    loaded.load(emulator)
    assert publish(DuckDbFile(loaded.path), snapshot)


@pytest.mark.parametrize("read_only", [True, False], ids=["as a reader", "as a writer"])
def test_a_reader_keeps_its_snapshot_through_three_loads_that_wait_for_nobody(
    warehouse: Warehouse,
    emulator: Emulator,
    fleet: Fleet,
    snapshot: Path,
    tmp_path: Path,
    read_only: bool,
) -> None:
    command = Command(emulator, tmp_path)
    words = ["--database", str(warehouse.path), "--publish", str(snapshot), "--wait", "0"]
    assert command.load(*words).code == 0
    pipe = subprocess.PIPE
    reader = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(snapshot), str(read_only)],
        stdin=pipe,
        stdout=pipe,
        text=True,
    )
    with reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "held\n"
        for number in range(3):
            fill(the_graph(fleet), 1, first=50 + number)
            done = command.load(*words)
            assert done.code == 0, done.err
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "6\n"
        reader.stdin.close()
    assert len(rows_of(snapshot, "backups")) == 9


def test_no_other_file_is_written_over(loaded: Warehouse, tmp_path: Path) -> None:
    file = DuckDbFile(loaded.path)
    for own in (loaded.path, loaded.path.with_name(f"{loaded.path.name}.wal")):
        with pytest.raises(DatabaseError, match="is the database itself"):
            publish(file, own)
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS x")
    with pytest.raises(DatabaseError, match="is no snapshot"):
        publish(file, other)
    with pytest.raises(DatabaseError, match="does not exist"):
        publish(file, tmp_path / "nowhere" / "x.duckdb")
    with duckdb.connect(str(other)) as connection:
        assert connection.execute("SELECT x FROM mine").fetchall() == [(1,)]


@pytest.mark.parametrize("kind", ["duckdb", "filesystem"])
def test_a_folder_that_takes_no_snapshot_is_named(
    kind: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / "lake"))
    database = tmp_path / "history.duckdb"
    load(database, destination=kind, **settings_for(emulator))
    with pytest.raises(DatabaseError, match=r"^/proc/snapshot.duckdb cannot be written: "):
        publish(warehouse_for(database, kind), Path("/proc/snapshot.duckdb"))


@only_root
@pytest.mark.parametrize("kilobytes", [64, 800], ids=["in its middle", "at its end"])
def test_a_full_disk_is_a_sentence_and_nothing_stays_on_it(
    loaded: Warehouse, tmp_path: Path, kilobytes: int
) -> None:
    with small_disk(tmp_path, kilobytes) as disk:
        with pytest.raises(DatabaseError, match=r"copy\.duckdb cannot be written: .*No space left"):
            publish(DuckDbFile(loaded.path), disk / "copy.duckdb")
        assert list(disk.iterdir()) == []


@only_root
def test_a_disk_that_lets_nothing_be_removed_hides_no_sentence(
    loaded: Warehouse, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 4000) as disk:
        killed = disk / f".copy.duckdb.new-{process_that_has_ended()}"
        killed.touch()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(DatabaseError, match=r"copy\.duckdb cannot be written: "):
            publish(DuckDbFile(loaded.path), disk / "copy.duckdb")


@pytest.mark.parametrize("name", ["n" * 251, "历" * 83], ids=["Latin", "Chinese"])
def test_a_name_may_be_as_long_as_duckdb_lets_it(
    loaded: Warehouse, tmp_path: Path, name: str
) -> None:
    assert publish(DuckDbFile(loaded.path), tmp_path / name)
    assert len(rows_of(tmp_path / name, "backups")) == 6


@pytest.mark.parametrize("length", [252, 256])
def test_a_name_that_duckdb_cannot_open_is_a_sentence(
    loaded: Warehouse, tmp_path: Path, length: int
) -> None:
    with pytest.raises(DatabaseError, match=r"cannot be written: .*name too long"):
        publish(DuckDbFile(loaded.path), tmp_path / ("n" * length))


def process_that_has_ended() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_what_a_killed_one_has_left_goes_with_the_next(loaded: Warehouse, tmp_path: Path) -> None:
    snapshot = tmp_path / "copy.duckdb"
    dead = process_that_has_ended()
    processes = [dead, os.getpid(), *(process_that_has_ended() for _ in range(4))]
    databases = [f".copy.duckdb.new-{process}" for process in processes]
    left = [name for database in databases for name in (database, f"{database}.wal")]
    of_others = {f".copy.duckdb.new-{os.getppid()}", f".other.duckdb.new-{dead}", "mine.wal"}
    for name in [*left, *of_others]:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    being_written = f".copy.duckdb.new-{dead}0"  # by a process of another host, say
    (tmp_path / being_written).write_bytes(b"half")
    of_others.add(being_written)
    assert publish(DuckDbFile(loaded.path), snapshot)
    names = {path.name for path in tmp_path.iterdir()}
    assert {name for name in names if "new-" in name or "mine" in name} == of_others


def test_one_that_a_process_of_the_same_id_has_left_is_in_nobodys_way(
    loaded: Warehouse, snapshot: Path
) -> None:
    with duckdb.connect(str(snapshot.with_name(f".{snapshot.name}.new-{os.getpid()}"))) as left:
        left.execute("CREATE TABLE half AS SELECT 1 AS x")
    assert publish(DuckDbFile(loaded.path), snapshot)
    assert len(rows_of(snapshot, "backups")) == 6


def test_behind_a_link_the_target_is_replaced_and_who_may_read_it_may_go_on(
    loaded: Warehouse, emulator: Emulator, snapshot: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(snapshot)
    publish(DuckDbFile(loaded.path), snapshot)
    snapshot.chmod(0o644)
    fill(the_graph(emulator.fleet), 1, first=50)
    loaded.load(emulator)
    assert publish(DuckDbFile(loaded.path), link)
    assert link.is_symlink()
    assert len(rows_of(snapshot, "backups")) == 7
    assert snapshot.stat().st_mode & 0o777 == 0o644


def test_a_name_that_begins_like_a_home_folder_is_that_of_a_file_here(
    loaded: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = Path("~copy.duckdb")
    assert [publish(DuckDbFile(loaded.path), snapshot) for _ in range(2)] == [True, False]


def test_a_load_into_a_snapshot_is_refused(
    loaded: Warehouse, emulator: Emulator, snapshot: Path
) -> None:
    publish(DuckDbFile(loaded.path), snapshot)
    with pytest.raises(DatabaseError, match=r"something else than a backup history|snapshot"):
        Warehouse(snapshot).load(emulator)
