"""dlt's PostgreSQL destination, for loads that may be killed at any moment, and beside each other.

What differs from dlt's own: each file of a package is merged by itself, straight into its table, in
one transaction that changes nothing when it is repeated; there is no staging dataset. The keys are
unique in the database, so that nothing can come twice. Text sorts by its bytes, as in DuckDB, and
JSON keeps its text. Two pipelines that change tables wait for each other.
"""

import io
from collections.abc import Callable, Iterable, Iterator

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import HasFollowupJobs, LoadJob
from dlt.common.destination.client import RunnableLoadJob as Job
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema, TColumnSchema
from dlt.common.schema.typing import TSchemaTables, TTableSchemaColumns
from dlt.destinations import postgres as dlt_postgres
from dlt.destinations.impl.postgres.configuration import (
    PostgresClientConfiguration,
    PostgresCredentials,
)
from dlt.destinations.impl.postgres.factory import PostgresTypeMapper
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from dlt.destinations.insert_job_client import InsertValuesLoadJob
from dlt.destinations.sql_client import raise_database_error

from ges_backups.rows import stray_column
from ges_history.warehouses.postgres_keys import INSERT_ONLY, KEYS, ensure_keys
from ges_history.warehouses.sql_destination import (
    MergesInPlace,
    ResolvedOnce,
    unknown_fields,
)

ROWS_IN_A_COPY = 20_000
KEPT_STATES = 3
LOCK_OF_TABLES = "ges-backup-history: tables"
"""Names the advisory lock under which tables are made and changed."""
TEXT = ("character varying", "text")
HOLDS_EXACTLY = {
    "bigint": ("bigint", "numeric", *TEXT),
    "double": ("double precision", *TEXT),
    "bool": ("boolean", *TEXT),
    "json": ("json", "jsonb", *TEXT),
    "text": TEXT,
}
"""{dlt's data type: PostgreSQL's that take its values as they are}."""
_TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
ANALYZE_FROM_ROWS = 1000


class HistoryPostgres(ResolvedOnce, dlt_postgres):
    """The destination; dlt's state and configuration know it as `postgres`.

    Args:
        is_held: Whether the lock of the project is still held; True where none was taken.
        credentials: Of the database.
    """

    def __init__(self, is_held: Callable[[], bool], credentials: PostgresCredentials) -> None:
        super().__init__(credentials)
        self._is_held = is_held

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        """Arrow tables stay Parquet until they are copied, without a driver of their own for it."""
        caps = super()._raw_capabilities()
        caps.supported_loader_file_formats = ["insert_values", "parquet"]
        caps.loader_file_format_selector = None  # type: ignore[assignment]  # None is its default
        caps.type_mapper = _TypeMapper
        return caps

    @property
    def client_class(self) -> type[PostgresClient]:
        """What loads into it."""
        known = {
            "is_held": staticmethod(self._is_held),
            "is_only_missing": self.is_only_missing,
        }
        return type("HistoryClient", (_Client,), known)

    @property
    def destination_type(self) -> str:
        """As dlt's own, so that a plain dlt script works on the same database."""
        return "dlt.destinations.postgres"


class _TypeMapper(PostgresTypeMapper):
    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        match column["data_type"]:
            case "text":
                return 'varchar COLLATE "C"'
            case "json":  # jsonb would lose digits, keys that come twice, and "\u0000"
                return "json"
        return super().to_destination_type(column, table)


class _SqlClient(Psycopg2SqlClient):
    @raise_database_error
    def copy_rows(self, table: str, rows: pa.Table) -> None:
        """Copy rows into a table, by the names of their columns."""
        columns = ", ".join(map(self.escape_column_name, rows.column_names))
        with self.native_connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)", _csv(rows))

    @raise_database_error
    def change(self, sql: str) -> int:
        """Run a statement; how many rows it changed."""
        with self.native_connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.rowcount)


def _with_strays(rows: pa.Table, strays: dict[str, str]) -> pa.Table:
    """Rows with the values of some columns as text in others."""
    for name, stray in strays.items():
        texts = rows.column(name).cast(pa.string())
        rows = rows.drop_columns([name])
        if stray in rows.column_names:
            texts = pc.coalesce(texts, rows.column(stray))
            rows = rows.drop_columns([stray])
        rows = rows.append_column(stray, texts)
    return rows


def _csv(rows: pa.Table) -> io.BytesIO:
    """Null is nothing, an empty text is quoted: COPY tells them apart."""
    text = io.BytesIO()
    options = pa.csv.WriteOptions(include_header=False, batch_size=ROWS_IN_A_COPY)
    pa.csv.write_csv(rows, text, options)
    text.seek(0)
    return text


class _Client(MergesInPlace, PostgresClient):
    is_held: Callable[[], bool]

    def __init__(
        self,
        schema: Schema,
        config: PostgresClientConfiguration,
        capabilities: DestinationCapabilitiesContext,
    ) -> None:
        super().__init__(schema, config, capabilities)
        known = self.sql_client
        self.sql_client: _SqlClient = _SqlClient(
            known.dataset_name, known.staging_dataset_name, known.credentials, capabilities
        )

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """One pipeline at a time."""
        with self.sql_client.begin_transaction():
            self.lock_tables()
            super().initialize_storage(truncate_tables)

    def update_stored_schema(
        self,
        only_tables: Iterable[str] | None = None,
        expected_update: TSchemaTables | None = None,
        force: bool = False,  # noqa: ARG002
    ) -> TSchemaTables | None:
        """dlt's own, always: a table may be gone, whatever dlt's versions say. Then the keys."""
        return super().update_stored_schema(only_tables, expected_update, force=True)  # type: ignore[arg-type]

    def get_storage_tables(
        self, table_names: Iterable[str]
    ) -> Iterable[tuple[str, TTableSchemaColumns]]:
        """dlt's own, without columns of somebody that differ from one of ours in their case only."""
        for table, columns in super().get_storage_tables(table_names):
            yield table, {name: it for name, it in columns.items() if name == name.lower()}

    def _execute_schema_update_sql(
        self, only_tables: Iterable[str], store_schema: bool = True
    ) -> TSchemaTables:
        """In the transaction of dlt's own: others are waited for before tables are looked at."""
        self.lock_tables()
        applied = super()._execute_schema_update_sql(only_tables, store_schema)
        ensure_keys(self.sql_client.native_connection, self.sql_client.dataset_name)
        return applied

    def lock_tables(self) -> None:
        """Be the only one to change tables, for the rest of the transaction."""
        self.sql_client.execute_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", LOCK_OF_TABLES
        )

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """A merge for the tables that dlt would merge; an insert that can be repeated for dlt's own."""
        job = super().create_load_job(table, file_path, load_id, restore)
        if type(job) is InsertValuesLoadJob:
            return _InsertOnceJob(file_path)
        return _MergeJob(file_path)

    def complete_load(self, load_id: str) -> None:
        """Note a load down once, though it may be told twice; of dlt's states the newest are kept.

        Where the server is no longer the one that the first file went to, nothing is noted down.
        """
        if not self.is_held():
            raise psycopg2.OperationalError("The session that held the project has ended.")
        client = self.sql_client
        loads = client.make_qualified_table_name(self.schema.loads_table_name)
        state = client.make_qualified_table_name(self.schema.state_table_name)
        with client.begin_transaction():
            if not client.execute_sql(f"SELECT 1 FROM {loads} WHERE load_id = %s", load_id):
                super().complete_load(load_id)
            client.execute_sql(
                f"DELETE FROM {state} s WHERE (SELECT count(*) FROM {state} n"
                f" WHERE n.pipeline_name = s.pipeline_name AND n.version > s.version) >= {KEPT_STATES}"
            )


class _InsertOnceJob(InsertValuesLoadJob):
    """Inserts rows whose keys are not there yet: those of dlt's own tables have one each."""

    def _insert(self, qualified_table_name: str, file_path: str) -> Iterator[list[str]]:
        for fragments in super()._insert(qualified_table_name, file_path):
            *others, last = fragments
            yield [*others, last.rstrip().removesuffix(";"), "\nON CONFLICT DO NOTHING"]


class _MergeJob(Job, HasFollowupJobs):
    """Merges one Parquet file into its table: unknown keys are inserted, changed rows replaced.

    A column that the file lacks is null in its rows. Keys are distinct within a file. A column
    whose type is not that of the file gets null, and one for text beside it the values.
    """

    _job_client: _Client

    def run(self) -> None:
        client = self._job_client.sql_client
        table = client.make_qualified_table_name(self.load_table_name)
        with pq.ParquetFile(self._file_path) as file:
            strays = self._find_strays(client, table, file.schema_arrow.names)
            columns = list(dict.fromkeys([*self._load_table["columns"], *strays.values()]))
            with client.begin_transaction():
                every = ", ".join(map(client.escape_column_name, columns))
                client.execute_sql(
                    "CREATE TEMP TABLE arrived ON COMMIT DROP"
                    f" AS SELECT {every} FROM {table} WITH NO DATA"
                )
                for batch in file.iter_batches(ROWS_IN_A_COPY):
                    rows = _with_strays(pa.Table.from_batches([batch]), strays)
                    client.copy_rows("arrived", rows)
                merged = client.change(self._merge_sql(client, table, columns, strays))
        if merged >= ANALYZE_FROM_ROWS:
            self._analyze_if_grown(client, table, merged)

    def _find_strays(
        self, client: _SqlClient, table: str, present: Iterable[str]
    ) -> dict[str, str]:
        """{column: the one that takes its values as text}, which is there afterwards."""
        unknown = unknown_fields(self.load_table_name, present)
        if not unknown:
            return {}
        types = {row[0]: row[1] for row in client.execute_sql(_TYPES, table) or ()}
        strays = {}
        for name in unknown:
            exact = HOLDS_EXACTLY.get(str(self._load_table["columns"][name].get("data_type")))
            if exact and types[name] not in exact:
                strays[name] = stray_column(name)
        missing = [column for column in strays.values() if column not in types]
        if missing:
            with client.begin_transaction():
                self._job_client.lock_tables()
                for column in map(client.escape_column_name, missing):
                    added = f'ADD COLUMN IF NOT EXISTS {column} varchar COLLATE "C"'
                    client.execute_sql(f"ALTER TABLE {table} {added}")
        return strays

    def _merge_sql(
        self, client: _SqlClient, table: str, columns: list[str], strays: dict[str, str]
    ) -> str:
        """Rows that are as they were are not touched at all; ON CONFLICT is for what came meanwhile.

        The keys are the database's: those of a package that an earlier version left may be others.
        """
        hints = self._load_table["columns"]
        name = client.escape_column_name
        keys = [name(column) for column in KEYS[self.load_table_name]]
        others = [column for column in columns if name(column) not in keys]
        compared = [
            (f"s.{name(c)}::text", f"d.{name(c)}::text")
            if c in strays or hints.get(c, {}).get("data_type") == "json"
            else (f"s.{name(c)}", f"d.{name(c)}")
            for c in others
            if c != "_dlt_load_id"
        ]
        changed = " OR ".join(f"{new} IS DISTINCT FROM {old}" for new, old in compared)
        is_insert_only = self._load_table.get("x-merge-strategy") == INSERT_ONLY or not changed
        every = ", ".join(map(name, columns))
        values = ", ".join(f"{name(c)} = excluded.{name(c)}" for c in others)
        return (
            f"INSERT INTO {table} AS d ({every}) SELECT {', '.join(f's.{name(c)}' for c in columns)}"
            f" FROM arrived s LEFT JOIN {table} d ON {' AND '.join(f'd.{k} = s.{k}' for k in keys)}"
            f" WHERE d.{keys[0]} IS NULL"
            + ("" if is_insert_only else f" OR {changed}")
            + f" ON CONFLICT ({', '.join(keys)}) DO "
            + ("NOTHING" if is_insert_only else f"UPDATE SET {values}")
        )

    def _analyze_if_grown(self, client: _SqlClient, table: str, merged: int) -> None:
        """Let the reports be planned by what is there now; PostgreSQL's own turn comes a minute later."""
        rows = client.execute_sql("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", table)
        if rows and merged > rows[0][0] / 2:
            client.execute_sql(f"ANALYZE {table}")
