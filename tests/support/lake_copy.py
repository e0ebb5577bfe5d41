"""Lakes that no load has written: of a DuckDB file, or as an earlier release left one."""

from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_storage import partition_of
from ges_history.warehouses.lake_upsert import Staged, upsert

KEYS = {
    "backups": ["project_id", "id"],
    "graphs": ["project_id", "id"],
    "listings": ["project_id", "graph_id"],
    "projects": ["id"],
    "rejected_backups": ["project_id", "record_hash"],
}


def copy_history(database: Path, lake: LakeWarehouse, folder: Path) -> LakeWarehouse:
    """Bring all rows of a DuckDB file into a lake.

    Args:
        database: The file.
        lake: Where to.
        folder: For files between.
    """
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        tables = connection.sql(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'ges'"
        ).fetchall()
        for table in sorted(KEYS.keys() & {name for (name,) in tables}):
            path = folder / f"{table}.parquet"
            connection.execute(f"COPY ges.{table} TO '{path}' (FORMAT parquet)")
            column = partition_of(table)
            projects = connection.sql(f"SELECT DISTINCT {column} FROM ges.{table}").fetchall()
            if projects:
                upsert(
                    lake.storage, Staged(table, [str(path)], KEYS[table], []), Fence("copy"), folder
                )
    lake.publish_reports()
    return lake


def write_without(table: Path, column: str) -> None:
    """Leave a table of a lake as an earlier release made it."""
    rows = pa.table(DeltaTable(table).to_pyarrow_table()).drop_columns([column])
    write_deltalake(
        table, rows, mode="overwrite", schema_mode="overwrite", partition_by=["project_id"]
    )
