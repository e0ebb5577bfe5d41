"""A history in a PostgreSQL database, where many hosts load and read it."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors

from ges_history.errors import DatabaseError, LoadInProgress
from ges_history.warehouses.duckdb_obstacles import first_line
from ges_history.warehouses.layout import quoted
from ges_history.warehouses.postgres_connection import PostgresServer
from ges_history.warehouses.postgres_reading import PostgresReader, answered
from ges_history.warehouses.postgres_reports import publish, read_state, refuse_others
from ges_history.warehouses.postgres_sql import DuckDbTypes
from ges_history.warehouses.postgres_tables import TABLES
from ges_history.warehouses.seam import DATASET, Read, Say, pipeline_name, quiet
from ges_history.warehouses.waiting import wait_for

if TYPE_CHECKING:
    import dlt
    import pyarrow as pa

    from ges_backups.known import Ask

_HOLDER = """
SELECT a.pid, CASE WHEN a.client_addr IS NOT NULL THEN ', from ' || host(a.client_addr)
    WHEN a.backend_start IS NOT NULL THEN ', from the same host' ELSE '' END
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)
"""  # of another role's session only the superuser and monitors see from where it is
_NEVER_IDLE = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'
"""  # from PostgreSQL 14 on
_TOUCH = f"""
UPDATE "{DATASET}".listings l
SET listed_at = u.listed_at, outcome = u.outcome, error_code = NULL, error_msg = NULL,
    backup_count = u.backup_count, requests = u.requests, restarts = 0, last_read_at = u.listed_at,
    last_complete_at = CASE u.outcome WHEN 'complete' THEN u.listed_at ELSE l.last_complete_at END
FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[])
    AS u (graph_id, listed_at, outcome, backup_count, requests)
WHERE l.project_id = %s AND l.graph_id = u.graph_id
"""
_LISTED = ("graph_id", "listed_at", "outcome", "backup_count", "requests")


class PostgresDatabase:
    """A PostgreSQL database; see `ges_history.warehouses.seam.Warehouse`.

    Args:
        beside: The folder of packages stands beside this file, as it does for a DuckDB file.
        destination: Its name in dlt's configuration.

    Raises:
        PostgresError: There are no credentials in dlt's configuration, or no driver.
    """

    dialect = "postgres"

    def __init__(self, beside: str | Path, destination: str = "postgres") -> None:
        self._server = PostgresServer(destination)
        self.name = self._server.name
        place = hashlib.blake2b(self._server.place.encode(), digest_size=4).hexdigest()
        self.folder = Path(beside).resolve().parent / f".ges_backups.postgres-{place}.dlt"
        self._types: dict[str, DuckDbTypes] = {}
        self._own = threading.local()

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What psycopg2 raises."""
        return (psycopg2.Error,)

    @contextmanager
    def lock(self, project: str, wait: float = 60.0, say: Say = quiet) -> Iterator[None]:
        """Be the only load of a project into this database, on any host."""
        self._make_folder()
        held = _HeldLock(self._server, project)
        held.take(wait, say)
        self._own.lock = held
        try:
            yield
        finally:
            self._own.lock = None
            held.release()

    def pipeline(self, project: str) -> "dlt.Pipeline":
        """The project's pipeline."""
        import dlt  # noqa: PLC0415 - a second to import, and readers need none

        from ges_history.warehouses.postgres_destination import HistoryPostgres  # noqa: PLC0415

        return dlt.pipeline(
            pipeline_name(project),
            destination=HistoryPostgres(self._is_held, self._server.credentials),
            dataset_name=DATASET,
            pipelines_dir=str(self.folder),
        )

    def _is_held(self) -> bool:
        """Whether this thread's lock is still ours, if it has taken one."""
        held: _HeldLock | None = getattr(self._own, "lock", None)
        return held is None or held.is_alive()

    @contextmanager
    def writing(self, wait: float = 60.0, say: Say = quiet) -> Iterator[None]:
        """Make sure that the lock is still ours: a server that was started anew has forgotten it."""
        held: _HeldLock | None = getattr(self._own, "lock", None)
        if held is not None and not held.is_alive():
            held.take(wait, say)
        yield

    @contextmanager
    def asking(self, wait: float = 60.0, say: Say = quiet) -> Iterator["Ask"]:
        """Queries over the tables as they are."""
        with self._connected(wait, say) as connection:
            there = read_state(connection).tables
            tables = {name: f"{quoted(DATASET)}.{quoted(name)}" for name in there}

            def ask(sql: str) -> "pa.Table | None":
                try:
                    return answered(connection, sql.format(**tables))
                except (KeyError, psycopg2.errors.UndefinedColumn):
                    return None

            yield ask

    def touch(self, project: str, listed: "pa.Table") -> None:
        """Write time and cost of listings that brought nothing new."""
        columns = [listed.column(name).to_pylist() for name in _LISTED]
        with self._connected() as connection, connection, connection.cursor() as cursor:
            cursor.execute(_TOUCH, (*columns, project))
            cursor.execute(
                f'UPDATE "{DATASET}".projects SET last_listed_at = now() WHERE id = %s',
                (project,),
            )

    def publish_reports(self) -> bool:
        """Bring tables, keys, comments and views up to this version's."""
        with self._connected() as connection:
            return publish(connection)

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:
        """Several reads of one state."""
        with self._connected(wait, say) as connection:
            reader = PostgresReader(connection, self.name, self._types)
            with reader.transaction():
                yield reader.read

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)

    def forget(self, project: str, wait: float = 60.0, say: Say = quiet) -> dict[str, int]:
        """Remove all rows of a project, its packages and its state."""
        gone: dict[str, int] = {}
        with self._connected(wait, say) as connection, connection, connection.cursor() as cursor:
            tables = read_state(connection).tables
            for table in TABLES:
                key = "id" if table == "projects" else "project_id"
                for place in {table, f"{table}_duplicates"} & set(tables):
                    cursor.execute(f'DELETE FROM "{DATASET}".{place} WHERE {key} = %s', (project,))
                    gone[table] = gone.get(table, 0) + cursor.rowcount
            if "_dlt_pipeline_state" in tables:
                cursor.execute(
                    f'DELETE FROM "{DATASET}"._dlt_pipeline_state WHERE pipeline_name = %s',
                    (pipeline_name(project),),
                )
        shutil.rmtree(self.folder / pipeline_name(project), ignore_errors=True)
        return gone

    def explain(self, error: BaseException) -> DatabaseError:
        """What PostgreSQL says; lasting by its SQLSTATE."""
        if isinstance(error, psycopg2.Error):
            return self._server.explain(error)
        return DatabaseError(first_line(error))

    @contextmanager
    def _connected(
        self, wait: float = 0.0, say: Say = quiet
    ) -> Iterator["psycopg2.extensions.connection"]:
        connection = self._server.connect(wait, say)
        try:
            yield connection
        except psycopg2.Error as error:
            raise self._server.explain(error) from error
        finally:
            connection.close()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.folder} cannot be written: {error.strerror}. A load keeps its "
                "packages there."
            ) from error


class _HeldLock:
    """The advisory lock of a project on a connection of its own, which its holder's death ends."""

    def __init__(self, server: PostgresServer, project: str) -> None:
        self._server = server
        self._key = f"ges-backup-history: {DATASET} {project}"
        self._connection: psycopg2.extensions.connection | None = None

    def take(self, wait: float, say: Say) -> None:
        """Wait for it.

        Raises:
            LoadInProgress: Another load held it for longer.
            DatabaseError: The server does not let us in, or a newer version wrote the database.
        """
        self.release()
        connection = self._connection = self._server.connect(wait, say)
        try:
            refuse_others(read_state(connection), self._server.name)
            self._check_encoding(connection)
            with connection.cursor() as cursor:
                cursor.execute(_NEVER_IDLE)
                wait_for(lambda: self._obstacle(cursor), LoadInProgress, wait, say)
        except psycopg2.Error as error:
            self.release()
            raise self._server.explain(error) from error
        except BaseException:
            self.release()
            raise

    def _check_encoding(self, connection: "psycopg2.extensions.connection") -> None:
        encoding = connection.get_parameter_status("server_encoding")
        if encoding != "UTF8":
            raise DatabaseError(
                f"{self._server.name} keeps text as {encoding}, which cannot hold every name:"
                " make a database with ENCODING 'UTF8'."
            )

    def _obstacle(self, cursor: Any) -> str | None:
        """Try to take it; who has it, or None."""
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (self._key,))
        if cursor.fetchall()[0][0]:
            return None
        cursor.execute(_HOLDER, (self._key,))
        found = cursor.fetchall()
        who = "session {}{}".format(*found[0]) if found else "it has just ended"
        return f"Another load ({who}) of this project is working on {self._server.name}"

    def is_alive(self) -> bool:
        """Whether the server still knows of it."""
        if self._connection is None:
            return False
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            return False
        return True

    def release(self) -> None:
        """Give it back; the server does when the connection ends."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
