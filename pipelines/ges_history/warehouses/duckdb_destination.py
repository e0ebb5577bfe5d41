"""dlt's DuckDB destination, for a file of any name and for loads that may be killed at any moment.

Two things differ from dlt's own. Tables can be named in three parts: DuckDB takes the first from
the file's name, and finds `ges.backups` ambiguous in a `ges.duckdb`. And each file of a package is
merged by itself, straight into its table, instead of all of them copied into a staging dataset and
merged from there: the memory that it takes is that of a file, and a file that is merged twice,
because the process was killed before dlt noted it down, changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.destination.utils import get_merge_changed_cond
from dlt.common.schema import Schema
from dlt.common.schema.typing import TSchemaTables
from dlt.destinations import duckdb as dlt_duckdb
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration
from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.sql_client import SqlClientBase

from ges_backups.rows import stray_column
from ges_history.causes import is_out_of_memory
from ges_history.warehouses.duckdb_file import as_set
from ges_history.warehouses.layout import stored_in
from ges_history.warehouses.rollback_journal import NEVER, RollbackJournal
from ges_history.warehouses.sql_destination import (
    MergesInPlace,
    ResolvedOnce,
    unknown_fields,
)

T = TypeVar("T")
LARGE_BYTES = 2**20
"""A file of so many is written to the database at once: DuckDB would keep its rows in memory."""
AT_ONCE = "1 MB"
"""DuckDB's `checkpoint_threshold` for such a file: its log would hold the rows a second time."""


class HistoryDuckDb(ResolvedOnce, dlt_duckdb):
    """The destination; dlt's state and configuration know it as `duckdb`.

    Args:
        file: The database's path.
        journal: Of that file.
        catalog: What DuckDB calls the database, where names need it.
    """

    def __init__(self, file: str, journal: RollbackJournal, catalog: str | None = None) -> None:
        super().__init__(file)
        self._journal = journal
        self._catalog = catalog

    @property
    def client_class(self) -> type[DuckDbClient]:
        """What loads into it."""
        known = {
            "catalog": self._catalog,
            "journal": self._journal,
            "is_only_missing": self.is_only_missing,
        }
        return type("HistoryClient", (_Client,), known)

    @property
    def destination_type(self) -> str:
        """As dlt's own, so that a plain dlt script works on the same database."""
        return "dlt.destinations.duckdb"


class _SqlClient(DuckDbSqlClient):
    catalog: str | None = None

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self._global_config["checkpoint_threshold"] = NEVER

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:  # noqa: ARG002
        if self.catalog is None or not quote:
            return self.catalog
        return self.capabilities.escape_identifier(self.catalog)

    def warn_if_catalog_equals_dataset_name(self) -> None:
        """Say nothing: names in three parts are never ambiguous."""


class _Client(MergesInPlace, DuckDbClient):
    catalog: str | None = None
    journal: RollbackJournal

    def __init__(
        self,
        schema: Schema,
        config: DuckDbClientConfiguration,
        capabilities: DestinationCapabilitiesContext,
    ) -> None:
        super().__init__(schema, config, capabilities)
        known = self.sql_client
        self.sql_client = _SqlClient(
            known.dataset_name, known.staging_dataset_name, known.credentials, capabilities
        )
        self.sql_client.catalog = self.catalog

    def update_stored_schema(
        self,
        only_tables: Iterable[str] | None = None,  # noqa: ARG002
        expected_update: TSchemaTables | None = None,
        force: bool = False,  # noqa: ARG002
    ) -> TSchemaTables | None:
        """dlt's own, always: a table or column may be gone, whatever dlt's versions say.

        And for all tables at once: it would take a schema for applied when some of them are.
        """
        return super().update_stored_schema(None, expected_update, force=True)  # type: ignore[arg-type]

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """A merge of our own for the files of the tables that dlt would merge."""
        job = super().create_load_job(table, file_path, load_id, restore)
        is_ours = type(job) is DuckDbCopyJob and table["write_disposition"] == "merge"
        return _MergeJob(file_path, self.journal) if is_ours else job


class _MergeJob(DuckDbCopyJob):
    """Merges one Parquet file into its table: unknown keys are inserted, changed rows replaced.

    A column that the file lacks is null in its rows. Keys are distinct within a file. Values that
    the column of their name cannot hold exactly go into one for text beside it.
    """

    def __init__(self, file_path: str, journal: RollbackJournal) -> None:
        super().__init__(file_path)
        self._journal = journal

    def run(self) -> None:
        client = self._sql_client = self._job_client.sql_client
        is_large = Path(self._file_path).stat().st_size > LARGE_BYTES
        with self._journal.alone, self._unlogged(client) if is_large else nullcontext():
            with_memory(client, lambda: self._merge(client))

    @contextmanager
    def _unlogged(self, client: SqlClientBase[Any]) -> Iterator[None]:
        """Let a commit in the block be written to the file at once, and not to DuckDB's log first."""
        connection = client.native_connection
        try:
            self._journal.keep(connection)
        except OSError:  # no room for it: there is none for a large file either, but in the log
            yield
            return
        connection.execute(f"SET checkpoint_threshold = '{AT_ONCE}'")
        try:
            yield
        finally:
            connection.execute(f"SET checkpoint_threshold = '{NEVER}'")
        with suppress(duckdb.TransactionException):  # another connection writes: it is in the log
            connection.execute("CHECKPOINT")
        self._journal.drop()

    def _merge(self, client: SqlClientBase[Any]) -> None:
        table = client.make_qualified_table_name(self.load_table_name)
        present = _types(client, stored_in([self._file_path]))
        strays = self._find_strays(client, table, present)
        for column in strays.values():
            added = f"ADD COLUMN IF NOT EXISTS {client.escape_column_name(column)} VARCHAR"
            client.execute_sql(f"ALTER TABLE {table} {added}")
        rows = self._rows(client, table, present, strays)
        keys = " AND ".join(f"d.{key} = s.{key}" for key in self._keys(client))
        matched = f"{table} d WHERE EXISTS (SELECT 1 FROM {rows} s WHERE {keys})"
        is_filled = bool(client.execute_sql(f"SELECT 1 FROM {table} LIMIT 1"))
        known = _count_rows(client, matched) if is_filled else 0  # nobody else writes meanwhile
        # Several threads would make row groups of their own, and copy them together.
        with as_set(client.native_connection, threads="1"), client.begin_transaction():
            if known:
                self._update(client, table, rows, keys, strays)
            unknown = f"NOT EXISTS (SELECT 1 FROM {table} d WHERE {keys})" if known else "true"
            select = f"SELECT * FROM {rows} s WHERE {unknown}"
            client.execute_sql(f"INSERT INTO {table} BY NAME {select}")

    def _keys(self, client: SqlClientBase[Any]) -> list[str]:
        columns = self._load_table["columns"].items()
        return [client.escape_column_name(name) for name, it in columns if it.get("primary_key")]

    def _find_strays(
        self, client: SqlClientBase[Any], table: str, present: dict[str, str]
    ) -> dict[str, str]:
        """{column: the one that takes its values as text}, where they do not come back from a cast."""
        unknown = unknown_fields(self.load_table_name, present)
        if not unknown:
            return {}
        file = stored_in([self._file_path])
        types = _types(client, table)
        strays = {}
        for name in unknown:
            if types[name] in (present[name], "VARCHAR"):
                continue
            column = client.escape_column_name(name)
            cast = f"CAST(TRY_CAST({column} AS {types[name]}) AS VARCHAR)"
            if _count_rows(client, f"{file} WHERE {_as_text(column)} IS DISTINCT FROM {cast}"):
                strays[name] = stray_column(name)
        return strays

    def _rows(
        self,
        client: SqlClientBase[Any],
        table: str,
        present: dict[str, str],
        strays: dict[str, str],
    ) -> str:
        """The file's rows as a query in the columns and types of the table."""
        file = stored_in([self._file_path])
        types = _types(client, table)
        origins = {stray: name for name, stray in strays.items()}
        columns = []
        for name in self._columns(strays):
            column = client.escape_column_name(name)
            value = column if name in present and name not in strays else "NULL"
            if name in origins:
                value = f"COALESCE({_as_text(client.escape_column_name(origins[name]))}, {value})"
            columns.append(f"CAST({value} AS {types[name]}) AS {column}")
        return f"(SELECT {', '.join(columns)} FROM {file})"

    def _columns(self, strays: dict[str, str]) -> list[str]:
        return list(dict.fromkeys([*self._load_table["columns"], *strays.values()]))

    def _update(
        self,
        client: SqlClientBase[Any],
        table: str,
        rows: str,
        keys: str,
        strays: dict[str, str],
    ) -> None:
        of: Any = self._load_table
        changed = get_merge_changed_cond(of, "s", "d", client.escape_column_name)
        if self._load_table.get("x-merge-strategy") == "insert-only" or not changed:
            return
        for stray in map(client.escape_column_name, strays.values()):
            changed += f" OR s.{stray} IS DISTINCT FROM d.{stray}"
        columns = map(client.escape_column_name, self._columns(strays))
        values = ", ".join(f"{column} = s.{column}" for column in columns)
        client.execute_sql(
            f"UPDATE {table} AS d SET {values} FROM {rows} AS s WHERE {keys} AND ({changed})"
        )


def _as_text(column: str) -> str:
    return f"CAST({column} AS VARCHAR)"


def _count_rows(client: SqlClientBase[Any], of: str) -> int:
    """How many rows a FROM clause gives."""
    rows = client.execute_sql(f"SELECT COUNT(*) FROM {of}")
    return int(rows[0][0]) if rows else 0


def _types(client: SqlClientBase[Any], of: str) -> dict[str, str]:
    """{column: DuckDB's type} of a table or a file."""
    rows = client.execute_sql(f"DESCRIBE SELECT * FROM {of}")
    return {row[0]: row[1] for row in rows or ()}


def with_memory(client: SqlClientBase[Any], work: Callable[[], T]) -> T:
    """Do it in little memory; where that is not enough, for rows of a megabyte say, in what there is."""
    try:
        return work()
    except (DatabaseTransientException, duckdb.OutOfMemoryException) as failed:
        if not is_out_of_memory(failed):
            raise
    client.execute_sql("RESET memory_limit")
    return work()
