"""Reads of one state of a PostgreSQL database, in DuckDB's SQL and with DuckDB's types.

Where tables or views are not those of this version (an older one made them, a load was killed), the
session gets temporary views in their place, so that what is there can be read as it would be after
the next load; nothing is changed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

from ges_history.errors import NoHistory
from ges_history.reports.catalogue import selects
from ges_history.warehouses.layout import quoted
from ges_history.warehouses.postgres_reports import State, read_state
from ges_history.warehouses.postgres_sql import DuckDbTypes, cast_to, to_postgres
from ges_history.warehouses.postgres_tables import REQUIRED, TABLES, Known, wanted_columns

if TYPE_CHECKING:
    import psycopg2.extensions

_OF_OID = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
    1700: pa.float64(),
}
"""PostgreSQL's built-in types by their number; all others are text."""
SETTINGS = {
    "work_mem": "'128MB'",
    "enable_nestloop": "off",  # of steps upon steps PostgreSQL expects one row, and loops over 10,000
    "jit": "off",  # takes longer than what it compiles
}
"""What the reports are planned with."""
SMALLEST_BLOCK = 1 << 23
LARGEST_BLOCK = 1 << 30


class PostgresReader:
    """Reads through a connection, in one transaction that sees one state and changes nothing.

    Args:
        connection: In autocommit; not used by others meanwhile.
        name: Of the database, for people.
        types: Those that other readers made, by the columns of the tables.
    """

    def __init__(
        self,
        connection: "psycopg2.extensions.connection",
        name: str,
        types: dict[str, DuckDbTypes],
    ) -> None:
        state = read_state(connection)
        if not set(state.tables) >= REQUIRED:
            raise NoHistory(f"{name} holds no backup history; run `ges-backups load` to fill it.")
        self._connection = connection
        self._shadowed = not state.is_current
        columns = _columns(state)
        self._types = types.setdefault(repr(columns), DuckDbTypes(columns))
        if self._shadowed:
            _shadow(connection, state, self._types)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One state for all reads in it."""
        with self._connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(
                "; ".join(f"SET LOCAL {name} = {value}" for name, value in SETTINGS.items())
            )
            try:
                yield
            finally:
                if not self._connection.closed:
                    cursor.execute("ROLLBACK")

    def read(self, sql: str, *values: Any) -> pa.Table:
        """The rows of a query."""
        schema = self._types.schema_of(sql, *values)
        marks = bool(values)
        query = to_postgres(sql, shadowed=self._shadowed, marks=marks, width=len(schema))
        with self._connection.cursor() as cursor:
            text = cursor.mogrify(query, values or None).decode()
        return copied(self._connection, text, schema)


def answered(connection: "psycopg2.extensions.connection", sql: str) -> pa.Table:
    """The rows of a query in PostgreSQL's own SQL, in the types that it has there."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM ({sql}) AS q LIMIT 0")
        columns = cursor.description or ()
        schema = pa.schema([(c.name, _OF_OID.get(c.type_code, pa.string())) for c in columns])
    return copied(connection, sql, schema)


def copied(connection: "psycopg2.extensions.connection", sql: str, schema: pa.Schema) -> pa.Table:
    """The rows of a query, cast to the types of a schema."""
    answer = io.BytesIO()
    with connection.cursor() as cursor:
        copy = f"COPY ({cast_to(schema, sql)}) TO STDOUT (FORMAT csv)"
        cursor.copy_expert(copy, answer, size=1 << 20)
    return _table(answer.getbuffer(), schema)


def _table(answer: memoryview, schema: pa.Schema) -> pa.Table:
    """The CSV that COPY writes as Arrow: nothing is null, quoted nothing is an empty text."""
    if not len(answer):
        return schema.empty_table()
    names = [f"c{number}" for number in range(len(schema))]
    block = min(max(SMALLEST_BLOCK, len(answer)), LARGEST_BLOCK)  # no row may be longer
    table = pa.csv.read_csv(
        pa.BufferReader(pa.py_buffer(answer)),
        read_options=pa.csv.ReadOptions(column_names=names, block_size=block),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict(zip(names, map(_read_as, schema.types), strict=True)),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return table.rename_columns(schema.names).cast(schema)


def _read_as(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _columns(state: State) -> Known:
    """The columns of a history's tables: those that are there, and those of this version.

    Whatever else is in the schema may have any name; DuckDB takes `Backups` for `backups`.
    """
    known = {
        table: dict(columns)
        for table, columns in state.tables.items()
        if table.removesuffix("_duplicates") in TABLES or table.startswith("_dlt_")
    }
    for table in TABLES:
        known[table] = known.get(table, {}) | {
            name: kind
            for name, kind in wanted_columns(table).items()
            if name not in known.get(table, {})
        }
    return known


def _shadow(connection: "psycopg2.extensions.connection", state: State, types: DuckDbTypes) -> None:
    """Temporary views with all columns of this version, and the reports over them."""
    with connection.cursor() as cursor:
        for table, columns in _columns(state).items():
            there = state.tables.get(table, {})
            selected = ", ".join(
                quoted(name) if name in there else f"NULL::{kind} AS {quoted(name)}"
                for name, kind in columns.items()
            )
            source = f"FROM ges.{quoted(table)}" if there else "WHERE false"
            cursor.execute(f"CREATE TEMP VIEW ges_{table} AS SELECT {selected} {source}")
        for name, select in selects().items():
            schema = types.schema_of(f"FROM reports.{name}")
            query = cast_to(schema, to_postgres(select, shadowed=True))
            cursor.execute(f"CREATE TEMP VIEW reports_{name} AS {query}")
