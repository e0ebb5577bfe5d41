"""A history in a DuckDB file: the default warehouse, nothing to install."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.errors import DatabaseError, HistoryError, LoadInProgress
from ges_history.reports.views import SharedViews
from ges_history.warehouses.duckdb_obstacles import DatabaseBusy, first_line, obstacle
from ges_history.warehouses.layout import (
    check_layout,
    database_name,
    folder_beside,
    is_demo,
    quoted,
)
from ges_history.warehouses.opening import database_files, opened, saying_what_does_not_fit
from ges_history.warehouses.rollback_journal import NEVER, RollbackJournal
from ges_history.warehouses.seam import DATASET, Read, Say, pipeline_name, quiet
from ges_history.warehouses.waiting import held_file, wait_for

if TYPE_CHECKING:
    import dlt
    import duckdb
    import pyarrow as pa

    from ges_backups.known import Ask

MEMORY_MB = 60
"""DuckDB's, which would take what is free: a file of 122,880 backups is merged in it, read again too."""
STORAGE_VERSION = "v1.2.0"
"""Of new files: any DuckDB from 1.2 on opens them."""
KEPT_STATES = 3
WRITE_LOCK = "_write.lock"
"""No project is called so: an id has letters and digits."""
STAGING = f"{DATASET}_staging"
"""The dataset into which dlt merged the first release's loads."""


class DuckDbFile:
    """A DuckDB file of any name; see `ges_history.warehouses.seam.Warehouse`.

    Args:
        path: The file; its folder of packages, ``.NAME.dlt``, stands beside it.
        is_demo: It is marked as a demo when it is made, and only a demo may load into it.
    """

    dialect = "duckdb"

    def __init__(self, path: str | Path, *, is_demo: bool = False) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.is_demo = is_demo
        self._is_checked = False
        self._own = threading.local()
        self._file = _real_path(self.path)  # one folder and one lock, whatever links lead here
        self._journal = RollbackJournal(self._file)

    @property
    def folder(self) -> Path:
        """Where dlt keeps packages, and where the locks are."""
        return folder_beside(self._file)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What DuckDB raises."""
        import duckdb  # noqa: PLC0415

        return (duckdb.Error,)

    @contextmanager
    def lock(self, project: str, wait: float = 60.0, say: Say = quiet) -> Iterator[None]:
        """Be the only load of a project into this file."""
        self._check_path()
        self._make_folder()

        def what(holder: str) -> str:
            return f"Another load (process {holder}) is working on {self.path}"

        with held_file(self.folder / f"{project}.lock", what, LoadInProgress, wait, say):
            yield

    def pipeline(self, project: str) -> "dlt.Pipeline":
        """The project's pipeline, its folder beside the file."""
        import dlt  # noqa: PLC0415 - a second to import, and readers need none

        from ges_history.warehouses.duckdb_destination import HistoryDuckDb  # noqa: PLC0415

        name = self._file.name.lstrip(".").split(".")[0]  # as DuckDB names it
        catalog = name if name.lower() in (DATASET, STAGING) else None
        return dlt.pipeline(
            pipeline_name(project),
            destination=HistoryDuckDb(str(self._file), self._journal, catalog),
            dataset_name=DATASET,
            pipelines_dir=str(self.folder),
        )

    @contextmanager
    def writing(self, wait: float = 60.0, say: Say = quiet) -> Iterator[None]:
        """Hold the file, made where there is none, with as little memory as a merge needs."""
        with (
            self._only_writer(wait, say),
            self._opened(wait, say) as connection,
            _thrifty(connection),
        ):
            self._own.held = connection
            try:
                yield
            finally:
                self._own.held = None

    @contextmanager
    def asking(self, wait: float = 60.0, say: Say = quiet) -> Iterator["Ask"]:
        """Queries over the tables as they are; the first one is opened as for writing, and checks."""
        import duckdb  # noqa: PLC0415

        if not self._file.exists():
            yield lambda _: None
            return
        with self._held(wait, say) as connection:
            dataset = f"{quoted(database_name(connection))}.{DATASET}"
            tables = {name: f"{dataset}.{quoted(name)}" for name in self._tables(connection)}

            def ask(sql: str) -> "pa.Table | None":
                try:
                    query = sql.format(**tables)
                except KeyError:
                    return None
                try:
                    return connection.sql(query).to_arrow_table()
                except duckdb.OutOfMemoryException:  # rows of a megabyte
                    connection.execute("RESET memory_limit")
                    return connection.sql(query).to_arrow_table()

            yield ask

    @contextmanager
    def _held(self, wait: float, say: Say) -> Iterator["duckdb.DuckDBPyConnection"]:
        """The file as this thread holds it for writing, or opened to ask."""
        held: duckdb.DuckDBPyConnection | None = getattr(self._own, "held", None)
        if held is not None:
            yield held
            return
        with (
            self._only_writer(wait, say),
            self._opened(wait, say, read_only=self._is_checked) as connection,
            _thrifty(connection),
        ):
            yield connection

    def touch(self, project: str, listed: "pa.Table") -> None:
        """Write time and cost of listings that brought nothing new."""
        import duckdb  # noqa: PLC0415

        with duckdb.connect(str(self._file)) as connection:
            dataset = f"{quoted(database_name(connection))}.{DATASET}"
            connection.register("touched", listed)
            connection.execute(
                f"""UPDATE {dataset}.listings AS l
                SET listed_at = u.listed_at, outcome = u.outcome, error_code = NULL,
                    error_msg = NULL, backup_count = u.backup_count, requests = u.requests,
                    restarts = 0, last_read_at = u.listed_at, last_complete_at = CASE u.outcome
                        WHEN 'complete' THEN u.listed_at ELSE l.last_complete_at END
                FROM touched u WHERE l.project_id = $1 AND l.graph_id = u.graph_id""",
                [project],
            )
            connection.execute(
                f"UPDATE {dataset}.projects SET last_listed_at = now() WHERE id = $1",
                [project],
            )

    def publish_reports(self) -> bool:
        """Bring comments and views up to this version's, and drop what earlier versions left."""
        import duckdb  # noqa: PLC0415

        from ges_history.reports.views import rebuild  # noqa: PLC0415

        with duckdb.connect(str(self._file)) as connection:
            self._prune(connection)
            self._describe(connection)
            return rebuild(connection, is_demo=self.is_demo)

    @staticmethod
    def _describe(connection: "duckdb.DuckDBPyConnection") -> None:
        """Comments on the columns of the tables, where they are not there."""
        from ges_backups.schema import COLUMNS  # noqa: PLC0415 - imports dlt

        catalog = database_name(connection)
        found = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns()"
            " WHERE database_name = ? AND schema_name = ?",
            [catalog, DATASET],
        ).fetchall()
        connection.execute("BEGIN")
        for table, column, comment in found:
            text = COLUMNS.get(table, {}).get(column, {}).get("description")
            if text and comment != text:
                name = f"{quoted(catalog)}.{DATASET}.{table}.{quoted(column)}"
                literal = text.replace("'", "''")
                connection.execute(f"COMMENT ON COLUMN {name} IS '{literal}'")
        connection.execute("COMMIT")

    @staticmethod
    def _prune(connection: "duckdb.DuckDBPyConnection") -> None:
        """Keep the newest of dlt's states only: there is one for each load that changed something."""
        from ges_backups.schema import COLUMNS  # noqa: PLC0415 - imports dlt

        dataset = f"{quoted(database_name(connection))}.{DATASET}"
        state = f"{dataset}._dlt_pipeline_state"
        newer = f"SELECT count(*) FROM {state} n WHERE n.pipeline_name = s.pipeline_name"
        old = f"FROM {state} s WHERE ({newer} AND n.version > s.version) >= {KEPT_STATES}"
        rows = connection.execute(
            """SELECT schema_name, table_name
            FROM duckdb_schemas() LEFT JOIN duckdb_tables() USING (database_name, schema_name)
            WHERE database_name = ?""",
            [database_name(connection)],
        ).fetchall()
        there = {table for schema, table in rows if schema == DATASET}
        if "_dlt_pipeline_state" in there:
            ((count,),) = connection.execute(f"SELECT count(*) {old}").fetchall()
            if count:
                connection.execute(f"DELETE {old}")
        if "listed_backups" in there:  # the evidence of the first release
            connection.execute(f"DROP TABLE {dataset}.listed_backups")
        staged = {table for schema, table in rows if schema == STAGING}
        is_ours = staged <= {None, "_dlt_version", "listed_backups", *COLUMNS}
        if staged and is_ours and database_name(connection).lower() != STAGING:
            connection.execute(f"DROP SCHEMA {STAGING} CASCADE")  # a longer name may be ambiguous

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:
        """Several reads of one state."""
        with reading_of(self.path, wait, say) as read:
            yield read

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)

    def forget(self, project: str, wait: float = 60.0, say: Say = quiet) -> dict[str, int]:
        """Remove all rows of a project, and its packages."""
        import duckdb  # noqa: PLC0415

        from ges_backups.schema import COLUMNS  # noqa: PLC0415 - imports dlt

        gone = {}
        with self.writing(wait, say), duckdb.connect(str(self._file)) as connection:
            there = self._tables(connection)
            dataset = f"{quoted(database_name(connection))}.{DATASET}"
            connection.execute("BEGIN")
            for table in sorted(there & set(COLUMNS)):
                key = "id" if table == "projects" else "project_id"
                rows = connection.execute(
                    f"DELETE FROM {dataset}.{table} WHERE {key} = $1 RETURNING 1",
                    [project],
                ).fetchall()
                gone[table] = len(rows)
            connection.execute("COMMIT")
        shutil.rmtree(self.folder / pipeline_name(project), ignore_errors=True)
        return gone

    def explain(self, error: BaseException) -> HistoryError:
        """What DuckDB says; its data errors are lasting, those of disk, memory and locks pass."""
        import duckdb  # noqa: PLC0415

        lasting = (
            duckdb.BinderException,
            duckdb.CatalogException,
            duckdb.ConstraintException,
            duckdb.ConversionException,
            duckdb.InvalidInputException,
            duckdb.OutOfRangeException,
            duckdb.ParserException,
            duckdb.SyntaxException,
            duckdb.TypeMismatchException,
        )
        return DatabaseError(first_line(error), is_lasting=isinstance(error, lasting))

    def _check_path(self) -> None:
        if self._file.is_dir():
            raise DatabaseError(f"{self.path} is a folder: give a file with --database.")
        if not self._file.parent.is_dir():
            raise DatabaseError(
                f"The folder {self.path.parent} does not exist: make it, or give another --database."
            )
        if self._file.name == ":memory:":
            raise DatabaseError("A database in memory keeps no history: give a file.")
        if bad := [sign for sign in "%\\" if sign in self._file.as_posix()]:
            raise DatabaseError(
                f"{self._file} holds the sign {bad[0]}, which dlt or DuckDB cannot have in a path: "
                "give another --database."
            )

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / WRITE_LOCK).touch(mode=0o600)
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.folder} cannot be written: {error.strerror}. A load keeps its "
                "packages there, beside the database."
            ) from error

    def _tables(self, connection: "duckdb.DuckDBPyConnection") -> set[str]:
        """The tables of the dataset; refuses what is no history, another version's, or a demo's."""
        catalog = database_name(connection)
        rows = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?", [catalog]
        ).fetchall()
        ours = {table for schema, table in rows if schema == DATASET}
        if self._is_checked:
            return ours
        check_layout(connection)
        if rows and "_dlt_version" not in ours:
            raise DatabaseError(
                f"{self.path} holds something else than a backup history ({rows[0][0]}."
                f"{rows[0][1]}): nothing was changed. Give another --database."
            )
        if "projects" in ours and is_demo(connection, catalog) != self.is_demo:
            raise DatabaseError(
                f"{self.path} holds a history, and no demo: give the demo another --database."
                if self.is_demo
                else f"{self.path} is the database of a demo: give your own history another "
                "--database."
            )
        self._is_checked = True
        return ours

    def _only_writer(self, wait: float, say: Say) -> Any:
        """The one among the loads of this file, of whatever project, that has it open."""

        def what(holder: str) -> str:
            return f"Another load (process {holder}) is writing to {self.path}"

        return held_file(self.folder / WRITE_LOCK, what, DatabaseError, wait, say)

    @contextmanager
    def _opened(
        self, wait: float, say: Say, *, read_only: bool = False
    ) -> Iterator["duckdb.DuckDBPyConnection"]:
        """The file, opened by DuckDB; another process that holds it is waited for."""
        import duckdb  # noqa: PLC0415

        if not self._file.exists():
            self._set_log_aside(say)
            self._make_file()
        held: list[duckdb.DuckDBPyConnection] = []

        def take() -> str | None:
            try:
                if not read_only:
                    self._journal.roll_back()
                held.append(self._connect(read_only=read_only))
            except BlockingIOError:
                return f"The database {self.path} is held by another process"
            except OSError as error:
                raise DatabaseError(
                    f"The database {self.path} cannot be mended after a load that was killed: {error}"
                ) from error
            except duckdb.Error as error:
                reason = obstacle(self.path, error)
                if not isinstance(reason, DatabaseBusy):
                    raise reason from error
                return str(reason)
            return None

        wait_for(take, DatabaseBusy, wait, say)
        with held[0] as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                yield connection
            finally:
                self._close(connection)

    def _close(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Close it; where DuckDB then makes a checkpoint of what its log holds, it can be undone."""
        log = self._file.with_name(f"{self._file.name}.wal")
        if not log.exists():
            return
        import duckdb  # noqa: PLC0415

        limit = None
        with suppress(duckdb.Error):  # what failed has made the connection useless
            try:
                self._journal.keep(connection)
                limit = _setting(connection, "memory_limit")
                connection.execute(f"SET memory_limit = '{MEMORY_MB} MB'")
            except OSError:  # no room: the log keeps what was committed
                connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.close()
        if limit and log.exists():  # rows of a megabyte take more, or the file is open elsewhere
            with suppress(duckdb.Error), duckdb.connect(str(self._file)) as again:
                again.execute(f"SET memory_limit = '{limit}'")
        if not log.exists():
            self._journal.drop()

    def _connect(self, *, read_only: bool) -> "duckdb.DuckDBPyConnection":
        """The file; to read it as this process has it open already, if it has."""
        import duckdb  # noqa: PLC0415

        try:
            return duckdb.connect(str(self._file), read_only=read_only)
        except duckdb.ConnectionException:
            if not read_only:
                raise
            return duckdb.connect(str(self._file))

    def _set_log_aside(self, say: Say) -> None:
        """DuckDB's log of a file that somebody deleted after a kill would be that of the new one."""
        log = self._file.with_name(f"{self._file.name}.wal")
        if log.exists():
            aside = self.folder / f"{log.name}.{time.time_ns()}"
            log.rename(aside)
            say(f"{self.path} is gone, but not its log: that is kept in {aside}.")

    def _make_file(self) -> None:
        """An empty database that old DuckDBs open, for its owner only, put in place whole."""
        import duckdb  # noqa: PLC0415

        new = self.folder / f"new-{os.getpid()}.duckdb"
        new.unlink(missing_ok=True)
        try:
            duckdb.connect(
                str(new), config={"storage_compatibility_version": STORAGE_VERSION}
            ).close()
            new.chmod(0o600)
            new.rename(self._file)
        except (duckdb.Error, OSError) as error:
            new.unlink(missing_ok=True)
            raise DatabaseError(
                f"The database {self.path} cannot be made: {first_line(error)}"
            ) from error


def _thrifty(connection: "duckdb.DuckDBPyConnection") -> AbstractContextManager[None]:
    """Little memory, and no checkpoints but those that can be undone, while a load has the file open."""
    return as_set(connection, memory_limit=f"{MEMORY_MB} MB", checkpoint_threshold=NEVER)


@contextmanager
def as_set(connection: "duckdb.DuckDBPyConnection", **settings: str) -> Iterator[None]:
    """Other settings in the block: they are those of all connections of this process to the file."""
    before = {name: _setting(connection, name) for name in settings}
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")
    try:
        yield
    finally:
        for name, value in before.items():
            connection.execute(f"SET {name} = '{value}'")


def _setting(connection: "duckdb.DuckDBPyConnection", name: str) -> Any:
    return connection.execute(f"SELECT current_setting('{name}')").fetchall()[0][0]


@contextmanager
def reading_of(files: Path | list[Path], wait: float, say: Say) -> Iterator[Read]:
    """Several reads of one state of a file, or of several as one; a load that holds one is waited for."""
    held: list[duckdb.DuckDBPyConnection] = []
    paths = database_files(files)

    def take() -> str | None:
        try:
            held.append(opened(paths, is_deferred=True))
        except DatabaseBusy as busy:
            return str(busy)
        return None

    wait_for(take, DatabaseBusy, wait, say)
    with held[0] as connection:
        shared = SharedViews(connection)

        def read(sql: str, *values: Any) -> "pa.Table":
            with saying_what_does_not_fit(paths[0]):
                shared.work_out(sql)
                return connection.sql(sql, params=list(values)).to_arrow_table()

        yield read


def _real_path(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise DatabaseError(f"The path {path} leads nowhere: {error}") from error
