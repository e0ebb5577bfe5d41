"""dlt's DuckDB destination, for a file of any name and for loads that may be killed at any moment.

Two things differ from dlt's own. Tables can be named in three parts: DuckDB takes the first from
the file's name, and finds `ges.backups` ambiguous in a `ges.duckdb`. And a file of rows can be
copied into staging twice: dlt repeats a copy that was committed but not yet noted down when the
process was killed, and its merge does not expect an id twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.destinations import duckdb as dlt_duckdb
from dlt.destinations.impl.duckdb.configuration import DuckDbClientConfiguration
from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.sql_client import SqlClientBase

from ges_history.settle import is_duckdb


class HistoryDuckDb(dlt_duckdb):
    """The destination; dlt's state and configuration know it as `duckdb`.

    Args:
        file: The database's path.
        catalog: What DuckDB calls the database, where names need it.
    """

    def __init__(self, file: str, catalog: str | None = None) -> None:
        super().__init__(file)
        self._catalog = catalog

    @property
    def client_class(self) -> type[DuckDbClient]:
        """What loads into it."""
        return type("HistoryClient", (_Client,), {"catalog": self._catalog})

    @property
    def destination_type(self) -> str:
        """As dlt's own, so that a plain dlt script works on the same database."""
        return "dlt.destinations.duckdb"


class _SqlClient(DuckDbSqlClient):
    catalog: str | None = None

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:  # noqa: ARG002
        if self.catalog is None or not quote:
            return self.catalog
        return self.capabilities.escape_identifier(self.catalog)

    def warn_if_catalog_equals_dataset_name(self) -> None:
        """Say nothing: names in three parts are never ambiguous."""


class _Client(DuckDbClient):
    catalog: str | None = None

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

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        job = super().create_load_job(table, file_path, load_id, restore)
        return _CopyJob(file_path) if type(job) is DuckDbCopyJob else job


class _CopyJob(DuckDbCopyJob):
    """Copies a file of rows; rows of the same key make room, so a second copy changes nothing."""

    def run(self) -> None:
        client = self._sql_client = self._job_client.sql_client
        table = client.make_qualified_table_name(self.load_table_name)
        file = self._file_path.replace("'", "''")
        rows = f"read_parquet('{file}', union_by_name = true)"
        keys = [
            client.escape_column_name(name)
            for name, column in self._load_table["columns"].items()
            if column.get("primary_key")
        ]
        with client.begin_transaction():
            if keys:
                names = ", ".join(keys)
                client.execute_sql(
                    f"DELETE FROM {table} WHERE ({names}) IN (SELECT ({names}) FROM {rows})"  # noqa: S608
                )
            client.execute_sql(f"INSERT INTO {table} BY NAME SELECT * FROM {rows}")  # noqa: S608


@contextmanager
def bounded_memory(pipeline: dlt.Pipeline, client: SqlClientBase[Any], rows: int) -> Iterator[None]:
    """Keep DuckDB to the memory that merging so many rows needs; it would take what is free.

    Measured: 100,000 backups merge in 110 MB and fail in 95; 1,000,000 in 175, and fail in 150.
    """
    if not is_duckdb(pipeline) or not rows:
        yield
        return
    client.execute_sql(f"SET memory_limit = '{110 + 75 * rows // 1_000_000} MB'")
    try:
        yield
    finally:
        client.execute_sql("RESET memory_limit")
