"""DuckDB's SQL in PostgreSQL: the text by sqlglot, the types of its columns by DuckDB itself.

PostgreSQL counts and divides in `numeric` where DuckDB has bigint and double. What DuckDB would
answer is asked of a DuckDB in memory, with the same tables, empty; the answer is cast to that.
"""

import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ges_history.warehouses.layout import quoted

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp

Columns = Mapping[str, Mapping[str, str]]
"""{table: {column: PostgreSQL's type}} of the dataset `ges`."""

_MARK = "_value_of_a_mark_"  # while the text's own per cent signs are doubled
_TO_DUCKDB = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "boolean": "BOOLEAN",
    "double precision": "DOUBLE",
    "real": "FLOAT",
    "numeric": "DECIMAL(38, 9)",
    "date": "DATE",
    "timestamp with time zone": "TIMESTAMPTZ",
    "timestamp without time zone": "TIMESTAMP",
}
"""All other types are text."""
_FROM_ARROW = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}


@lru_cache(256)
def to_postgres(sql: str, *, shadowed: bool = False, marks: bool = False, width: int = 0) -> str:
    """A statement in PostgreSQL's SQL.

    Args:
        sql: DuckDB's.
        shadowed: Tables and views are taken from the session's own, see `postgres_reading`.
        marks: Values follow, so that ``?`` becomes ``%s``.
        width: How many columns the answer has, for ORDER BY ALL.
    """
    from sqlglot import exp, parse_one  # noqa: PLC0415 - a tenth of a second

    from ges_history.reports.dialects import transpiled  # noqa: PLC0415

    def fit(node: "exp.Expression") -> "exp.Expression":
        if isinstance(node, exp.Order) and [one.name.upper() for one in node.expressions] == [
            "ALL"
        ]:
            node.set("expressions", [exp.Literal.number(n + 1) for n in range(width)])
        if isinstance(node, exp.Avg | exp.StddevPop):  # of bigint it counts in slow numeric
            node.set("this", exp.cast(node.this, "DOUBLE"))
        if marks and isinstance(node, exp.Placeholder):
            return exp.column(_MARK)
        if shadowed and isinstance(node, exp.Table) and node.db in {"ges", "reports"}:
            name = f"{node.db}_{node.name}"
            node.set("this", exp.to_identifier(name))
            node.set("db", exp.to_identifier("pg_temp"))
        return node

    tree = parse_one(sql, read="duckdb").transform(fit)
    for number, query in enumerate(tree.find_all(exp.Subquery)):  # PostgreSQL 15 wants names
        if isinstance(query.parent, exp.From | exp.Join) and not query.alias:
            query.set("alias", exp.TableAlias(this=exp.to_identifier(f"query_{number}")))
    text = transpiled(tree.sql(dialect="duckdb"), "postgres")
    return text.replace("%", "%%").replace(_MARK, "%s") if marks else text


def cast_to(schema: pa.Schema, sql: str, *, alias: str = "q") -> str:
    """A query around one, whose columns have the types of DuckDB's answer; names as they were."""
    if not len(schema):
        return sql
    inner = [f"c{number}" for number in range(len(schema))]
    outer = ", ".join(
        f"CAST({column} AS {sql_type(field.type)}) AS {quoted(field.name)}"
        for column, field in zip(inner, schema, strict=True)
    )
    return f"SELECT {outer} FROM ({sql}) AS {alias} ({', '.join(inner)})"


def sql_type(arrow: pa.DataType) -> str:
    """PostgreSQL's type for an Arrow type; text sorts by its bytes."""
    if pa.types.is_decimal(arrow):
        return "numeric"
    return _FROM_ARROW.get(arrow, "text")


class DuckDbTypes:
    """What DuckDB would answer: a DuckDB in memory with empty tables, and the reports over them."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def schema_of(self, sql: str, *values: Any) -> pa.Schema:
        """The Arrow schema of a query's answer."""
        with self._lock:
            connection = self._opened()
            answer = connection.sql(sql, params=list(values)).to_arrow_table()
        return pa.schema([field.with_type(_plain(field.type)) for field in answer.schema])

    def _opened(self) -> "duckdb.DuckDBPyConnection":
        if self._connection is None:
            import duckdb  # noqa: PLC0415 - where there is need of it

            from ges_history.reports.views import view_statements  # noqa: PLC0415

            connection = duckdb.connect(":memory:")
            connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA ges; CREATE SCHEMA reports")
            for table, columns in self._columns.items():
                defined = ", ".join(
                    f"{quoted(name)} {_TO_DUCKDB.get(kind, 'VARCHAR')}"
                    for name, kind in columns.items()
                )
                connection.execute(f"CREATE TABLE ges.{quoted(table)} ({defined})")
            for statement in view_statements(is_deferred=True):
                connection.execute(statement)
            self._connection = connection
        return self._connection


def _plain(arrow: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(arrow) else arrow
