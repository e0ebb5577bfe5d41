"""Read a lake in a DuckDB of this process: no server, no extension, no copy.

Each table's own list of files is laid out as a view when a query first names it; the reports of
this version are views over them. A reader opens all tables at once, keeps their states, and is never
waited for.
"""

import base64
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ges_history.errors import NoHistory
from ges_history.reports.views import SharedViews, overlay_statements
from ges_history.warehouses.lake_storage import (
    COLUMNS,
    LOADS,
    VERSIONS,
    LakeStorage,
    arrow_schema,
    whole_schema,
)
from ges_history.warehouses.seam import DATASET, REPORTS

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

_ATTACHED = "history"
_NAMED = re.compile(rf"\b{DATASET}\.(\w+)")
_UTC = pa.timestamp("us", tz="UTC")


class LakeReader:
    """Several reads of one state.

    Args:
        storage: The lake.
        connection: A DuckDB in memory that reads its files.
        is_lazy: A table is opened when it is first named: for who holds the project meanwhile.

    Raises:
        NoHistory: The lake holds none.
    """

    def __init__(
        self,
        storage: LakeStorage,
        connection: "duckdb.DuckDBPyConnection",
        *,
        is_lazy: bool = False,
    ) -> None:
        self._storage = storage
        self._connection = connection
        self._there: set[str] = set()
        self._shared: SharedViews | None = None
        connection.execute(f"ATTACH ':memory:' AS {_ATTACHED}")
        connection.execute(f"CREATE SCHEMA {_ATTACHED}.{DATASET}")
        connection.execute(f"CREATE SCHEMA {_ATTACHED}.empty")
        connection.execute(f"USE {_ATTACHED}")
        self._opened: dict[str, DeltaTable | None] = {}
        if not is_lazy:
            self._lay_out(LOADS)
            self._opened = storage.open_all()
        if not self._lay_out("backups"):
            raise NoHistory(
                f"There is no history in {storage.bucket}; run `ges-backups load --destination"
                f" {storage.destination}` to make it."
            )

    def read(self, sql: str, *values: Any) -> pa.Table:
        """The rows of a query; see the seam."""
        if f"{REPORTS}." in sql:
            self._lay_out_reports()
        for table in _NAMED.findall(sql):
            self._lay_out(table)
        if self._shared is not None:
            self._shared.work_out(sql)
        return self._connection.sql(sql, params=list(values)).to_arrow_table()

    def _lay_out_reports(self) -> None:
        if self._shared is not None:
            return
        tables = {*COLUMNS, LOADS}
        for table in tables:
            self._lay_out(table)
        self._connection.execute("USE memory")
        overlay = overlay_statements({_ATTACHED: tables}, is_deferred=True)
        self._connection.execute(";\n".join(overlay))
        self._shared = SharedViews(self._connection)

    def _lay_out(self, table: str) -> bool:
        """Make a table readable in the state that it has now; whether it is there."""
        if table in self._there:
            return True
        if table in COLUMNS:
            found = self._lay_out_delta(table)
        elif table in (LOADS, VERSIONS):
            rows = loads(self._storage) if table == LOADS else versions(self._storage)
            self._store(f"{DATASET}.{table}", rows)
            found = True
        else:
            return False
        self._there.add(table)
        return found

    def _lay_out_delta(self, name: str) -> bool:
        table = self._opened[name] if name in self._opened else self._storage.open(name)
        schema = whole_schema(table, name) if table is not None else arrow_schema(name)
        self._store(f"empty.{name}", schema.empty_table())
        empty = f"{_ATTACHED}.empty.{name}"
        rows = self._storage.rows(table, empty) if table is not None else f"FROM {empty}"
        self._connection.execute(f"CREATE VIEW {_ATTACHED}.{DATASET}.{name} AS {rows}")
        return table is not None

    def _store(self, name: str, rows: pa.Table) -> None:
        self._connection.register("arrow_rows", rows)
        self._connection.execute(f"CREATE TABLE {_ATTACHED}.{name} AS FROM arrow_rows")
        self._connection.unregister("arrow_rows")


def loads(storage: LakeStorage) -> pa.Table:
    """The loads that are complete: one small file each, whose name says all that is needed."""
    names = [PurePosixPath(path).stem for path in storage.small_files(LOADS)]
    ids = [name.rpartition("__")[2] for name in names]
    return pa.table(
        {
            "load_id": pa.array(ids, pa.string()),
            "schema_name": pa.array([name.rpartition("__")[0] for name in names], pa.string()),
            "status": pa.array([0] * len(names), pa.int64()),
            "inserted_at": pa.array([_micros(load) for load in ids], _UTC),
        }
    )


def versions(storage: LakeStorage) -> pa.Table:
    """dlt's schemas, the newest one with its text: one small file each, named for time and hash."""
    paths = sorted(storage.small_files(VERSIONS), key=_version_time)
    newest = None
    while paths and (newest := storage.small_file(paths[-1])) is None:
        paths.pop()
    parts = [PurePosixPath(path).stem.rsplit("__", 2) for path in paths]
    texts = [None] * len(paths)
    if newest:
        texts[-1] = newest.get("schema")
    hashes = [base64.b64encode(bytes.fromhex(digest)).decode() for *_, digest in parts]
    return pa.table(
        {
            "version_hash": pa.array(hashes, pa.string()),
            "schema_name": pa.array([name for name, *_ in parts], pa.string()),
            "inserted_at": pa.array([_micros(at) for _, at, _ in parts], _UTC),
            "schema": pa.array(texts, pa.string()),
        }
    )


def _version_time(path: str) -> float:
    return float(PurePosixPath(path).stem.rsplit("__", 2)[1])


def _micros(seconds: str) -> int:
    return int(float(seconds) * 1_000_000)
