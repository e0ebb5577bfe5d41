"""A snapshot: the history as a DuckDB file of its own, which readers may hold as long as they like.

It is written beside the file and put in place by renaming: who has the old one open keeps it, who
opens anew sees the new, and no load ever waits for a reader of it.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from ges_backups.schema import COLUMNS
from ges_history.errors import DatabaseError
from ges_history.reports.views import rebuild
from ges_history.warehouses.duckdb_file import STORAGE_VERSION
from ges_history.warehouses.duckdb_obstacles import DatabaseBusy, first_line, obstacle
from ges_history.warehouses.opening import opened, saying_what_does_not_fit
from ges_history.warehouses.own_files import is_own_file
from ges_history.warehouses.seam import DATASET, Read, Say, Warehouse, quiet
from ges_history.whole_file import LONGEST_BEGIN

ROWS_AT_ONCE = 200_000
AT_REST_SECONDS = 600.0
"""A new snapshot to which nobody has written for so long is nobody's."""
REFRESH_SECONDS = 3600.0
"""Where only times have moved, a snapshot is written anew after so long: it must not look stale."""

_STATE = """
SELECT string_agg(id || ' ' || CAST(_dlt_load_id AS VARCHAR), ' ' ORDER BY id) AS loads,
    max(last_listed_at) AS listed_at
FROM ges.projects
"""


def publish(warehouse: Warehouse, file: Path, wait: float = 60.0, say: Say = quiet) -> bool:
    """Write a snapshot of a history, where it differs from the one that is there.

    Args:
        warehouse: Any.
        file: The snapshot, a DuckDB file; its folder must exist.
        wait: Seconds to wait for a load that holds the warehouse.
        say: Is told at once what is waited for.

    Returns:
        Whether it was written.

    Raises:
        DatabaseError: There is no history, or the file cannot be written.
    """
    try:
        _check_target(warehouse, file)
        return _replace(warehouse, Path(os.path.realpath(file)), wait, say)
    except (OSError, duckdb.Error) as error:
        raise DatabaseError(f"{file} cannot be written: {first_line(error)}") from error


def _replace(warehouse: Warehouse, file: Path, wait: float, say: Say) -> bool:
    """Put a new snapshot in the place of one that differs; whether it does."""
    _remove_what_a_kill_left(file)
    new = file.with_name(f"{_begin(file)}{os.getpid()}")
    _remove(new)  # in a container a killed one had the same id
    try:
        with warehouse.reading(wait, say) as read:
            if not _differs(read, file):
                return False
            with _made(new) as connection:
                _copy(read, connection)
                with saying_what_does_not_fit(warehouse.name):
                    rebuild(connection)
        if file.exists():
            shutil.copymode(file, new)
        new.replace(file)
    finally:
        _remove(new)
    return True


def _begin(file: Path) -> str:
    """The name of a new snapshot before it is in its place, up to the id of its process."""
    return f".{file.name[:LONGEST_BEGIN]}.new-"


def _remove_what_a_kill_left(file: Path) -> None:
    """New snapshots of this name whose process no longer lives, and which nobody writes, elsewhere."""
    new_name = re.compile(rf"{re.escape(_begin(file))}([0-9]{{1,9}})(\.wal)?")
    with suppress(OSError):
        names = [path.name for path in file.parent.iterdir()]
        processes = {name: int(found[1]) for name in names if (found := new_name.fullmatch(name))}
        for name, process in processes.items():
            path = file.with_name(name)
            if _is_at_rest(path) and not _is_another_living(process):
                _remove(path)


def _is_at_rest(path: Path) -> bool:
    """Whether a file is there, and nobody has written it for some time."""
    try:
        return time.time() - path.stat().st_mtime > AT_REST_SECONDS
    except FileNotFoundError:
        return False


def _is_another_living(process: int) -> bool:
    """Whether a process lives that is not this one, which in a container often has an old one's id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


def _remove(new: Path) -> None:
    """Remove a database and its log, as far as the disk lets it."""
    for path in (new, _log_of(new)):
        with suppress(OSError):
            path.unlink()


def _check_target(warehouse: Warehouse, file: Path) -> None:
    if not file.parent.is_dir():
        raise DatabaseError(f"The folder {file.parent} does not exist: make it first.")
    with suppress(FileNotFoundError):
        _log_of(file).stat()  # an OSError where DuckDB finds that name too long
    if is_own_file(warehouse, file):
        raise DatabaseError(f"{file} is the database itself: give the snapshot another name.")
    if file.exists() and not is_snapshot(file):
        raise DatabaseError(f"{file} is there and is no snapshot: give another name.")


def is_snapshot(file: Path) -> bool:
    """Whether a file is a snapshot: the tables and reports of a history, and nothing of dlt's."""
    try:
        with (
            _readable(file) as readable,
            duckdb.connect(str(readable), read_only=True) as connection,
        ):
            rows = connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
            ).fetchall()
    except duckdb.Error:
        return False
    return {name for (name,) in rows} == set(COLUMNS)


@contextmanager
def _readable(file: Path) -> Iterator[Path]:
    """A file, or a copy of one that its reader has open for writing, as DuckDB does unless told."""
    try:
        duckdb.connect(str(file.absolute()), read_only=True).close()
    except duckdb.IOException as error:
        if not isinstance(obstacle(file, error), DatabaseBusy):
            raise
        with tempfile.TemporaryDirectory() as folder:
            yield Path(shutil.copy(file, folder))
    else:
        yield file.absolute()


def _differs(read: Read, file: Path) -> bool:
    """Whether the snapshot lacks a package, or is of an earlier hour."""
    if not file.exists():
        return True
    (now,) = read(_STATE).to_pylist()
    with _readable(file) as readable, opened([readable], is_deferred=True) as connection:
        (then,) = connection.sql(_STATE).to_arrow_table().to_pylist()
    return now["loads"] != then["loads"] or _is_older(then["listed_at"], now["listed_at"])


def _is_older(then: datetime | None, now: datetime | None) -> bool:
    if then is None or now is None:
        return then is not now
    return (now - then).total_seconds() >= REFRESH_SECONDS


@contextmanager
def _made(new: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A new database that old DuckDBs open, as a connection's current one."""
    path = str(new).replace("'", "''")
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{path}' AS snapshot (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE snapshot")
        yield connection
        connection.execute("CHECKPOINT snapshot")  # DETACH does not tell why it fails
        connection.execute("USE memory")
        connection.execute("DETACH snapshot")


def _copy(read: Read, connection: "duckdb.DuckDBPyConnection") -> None:
    """All tables, in parts that fit into memory."""
    connection.execute(f"CREATE SCHEMA {DATASET}")
    for table in COLUMNS:
        made = False
        for part in parts_of(read, table):
            connection.register("part", part)
            if not made:
                connection.execute(f"CREATE TABLE {DATASET}.{table} AS FROM part LIMIT 0")
                made = True
            connection.execute(f"INSERT INTO {DATASET}.{table} BY NAME FROM part")
            connection.unregister("part")


def parts_of(read: Read, table: str, project: str | None = None) -> Iterator[pa.Table]:
    """The rows of a table, of one project or all; those of backups by some graphs at a time."""
    key = "id" if table == "projects" else "project_id"
    of_project = "true" if project is None else f"{key} = ?"
    values = [] if project is None else [project]
    if table != "backups":
        yield read(f"SELECT * FROM {DATASET}.{table} WHERE {of_project}", *values)
        return
    yield read(f"SELECT * FROM {DATASET}.{table} WHERE false")
    counts = read(
        "SELECT project_id, graph_id, count(*) AS backups FROM ges.backups"
        f" WHERE {of_project} GROUP BY project_id, graph_id ORDER BY project_id, graph_id",
        *values,
    ).to_pylist()
    waiting: list[tuple[str, str]] = []
    rows = 0
    for count in counts:
        waiting.append((count["project_id"], count["graph_id"]))
        rows += count["backups"]
        if rows >= ROWS_AT_ONCE:
            yield _of_graphs(read, waiting)
            waiting, rows = [], 0
    if waiting:
        yield _of_graphs(read, waiting)


def _of_graphs(read: Read, keys: list[tuple[str, str]]) -> pa.Table:
    pairs = ", ".join("(?, ?)" for _ in keys)
    values = [part for key in keys for part in key]
    return read(f"SELECT * FROM ges.backups WHERE (project_id, graph_id) IN ({pairs})", *values)
