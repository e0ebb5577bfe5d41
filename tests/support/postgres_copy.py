"""A history in a DuckDB file, written into PostgreSQL as a load would have left it."""

import io
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.csv

from ges_history.warehouses import warehouse_for
from postgres_history import environment_of
from postgres_server import PostgresDatabase

TYPES = {
    "VARCHAR": 'varchar COLLATE "C"',
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "DOUBLE": "double precision",
    "JSON": "json",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}


def copy_history(file: Path, database: PostgresDatabase) -> Any:
    """All tables of a DuckDB file, then the views; the warehouse that reads them."""
    connection = psycopg2.connect(database.url)
    with duckdb.connect(str(file), read_only=True) as source, connection, connection.cursor() as to:
        source.execute("SET TimeZone = 'UTC'")
        to.execute("CREATE SCHEMA ges")
        names = source.sql("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'ges'")
        for (table,) in names.fetchall():
            rows = source.sql(
                f'FROM "{source.sql("SELECT current_database()").fetchall()[0][0]}".ges.{table}'
            )
            columns = ", ".join(
                f'"{name}" {TYPES[str(kind)]}'
                for name, kind in zip(rows.columns, rows.types, strict=True)
            )
            to.execute(f"CREATE TABLE ges.{table} ({columns})")
            for batch in rows.to_arrow_reader(100_000):
                text = io.BytesIO()
                options = pa.csv.WriteOptions(include_header=False)
                pa.csv.write_csv(pa.Table.from_batches([batch]), text, options)
                text.seek(0)
                to.copy_expert(f"COPY ges.{table} FROM STDIN (FORMAT csv)", text)
    connection.close()
    database.execute("ANALYZE")
    with environment_of(database):
        warehouse = warehouse_for(file, "postgres")
    warehouse.publish_reports()
    return warehouse
