"""The views' SQL in other dialects, by sqlglot, with what it leaves different mended.

DuckDB divides to DOUBLE, and so must the others: a literal with a point is a DECIMAL there, and
PostgreSQL's seconds since 1970 are NUMERIC. Spark counts whole seconds, knows no PERCENTILE_CONT of
two arguments and no materialized CTE; Sail's DATE_TRUNC ends with the year 2262.
"""

from sqlglot import Dialect, exp, parse_one

from ges_history.errors import HistoryError

_SPARK = {"spark", "spark2", "databricks"}


class UnknownDialectError(HistoryError, ValueError):
    """sqlglot does not write this SQL."""


def transpiled(statement: str, dialect: str) -> str:
    """A statement of DuckDB's SQL in another, by sqlglot's name of it.

    Raises:
        UnknownDialectError: There is none of that name; the message lists them.
    """
    if not Dialect.get(dialect):
        names = ", ".join(sorted(name for name in Dialect.classes if name))
        raise UnknownDialectError(f"There is no SQL {dialect!r}; there are {names}.")
    tree = parse_one(statement, read="duckdb")
    is_spark = dialect in _SPARK

    def mended(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.TimeToUnix):
            return _seconds(node, is_spark)
        if isinstance(node, exp.DateTrunc | exp.TimestampTrunc) and is_spark:
            return _first_day(node)
        if isinstance(node, exp.CTE) and dialect != "postgres":
            node.set("materialized", None)
        if isinstance(node, exp.PercentileCont | exp.Quantile) and is_spark:
            arguments = [node.this, node.args.get("quantile") or node.expression]
            return exp.Anonymous(this="PERCENTILE", expressions=arguments)
        is_share = isinstance(node.parent, exp.PercentileCont | exp.Quantile)
        if (
            isinstance(node, exp.Literal)
            and not node.is_string
            and "." in node.name
            and not is_share
        ):
            return exp.cast(node.copy(), "DOUBLE")
        return node

    return tree.transform(mended).sql(dialect=dialect, comments=False)


def _seconds(node: exp.TimeToUnix, is_spark: bool) -> exp.Expression:
    """Seconds since 1970 as a DOUBLE, with their fraction."""
    if is_spark:
        micros = exp.Anonymous(this="UNIX_MICROS", expressions=[node.this.copy()])
        return exp.Paren(
            this=exp.Div(this=exp.cast(micros, "DOUBLE"), expression=exp.Literal.number(1_000_000))
        )
    return exp.cast(node.copy(), "DOUBLE")


def _first_day(node: exp.DateTrunc | exp.TimestampTrunc) -> exp.Expression:
    """Monday of the week, or first of the month, by Spark's arithmetic on dates."""
    day = exp.cast(node.this.copy(), "DATE").sql(dialect="spark")
    after = {"WEEK": f"(WEEKDAY({day}) + 7) % 7", "MONTH": f"DAY({day}) - 1"}[
        node.args["unit"].name.upper()
    ]
    return exp.maybe_parse(f"DATE_SUB({day}, {after})", dialect="spark")
