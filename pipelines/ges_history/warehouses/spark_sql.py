"""DuckDB's SQL for a Spark session of our own: names, values, and parts that are worked out once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlglot import exp, parse_one

from ges_history.reports.catalogue import selects
from ges_history.reports.dialects import transpiled
from ges_history.warehouses.seam import DATASET, REPORTS

SPARK = "spark"


@dataclass(frozen=True)
class Part:
    """A part of a report that several others read.

    Attributes:
        name: Of the temporary view that stands for it.
        sql: Spark's SQL.
        is_kept: Whether it is to be worked out once, since Spark works it out at each mention.
    """

    name: str
    sql: str
    is_kept: bool


def query(sql: str, values: Sequence[Any]) -> str:
    """A query in Spark's SQL, with the values in it and views of a session as tables."""
    tree = _renamed(parse_one(sql, read="duckdb"))
    rest = iter(values)
    tree = tree.transform(
        lambda node: _literal(next(rest)) if isinstance(node, exp.Placeholder) else node
    )
    tree = tree.transform(lambda node: _each(node) if _is_of_tuples(node) else node)
    return transpiled(tree.sql(dialect="duckdb"), SPARK)


def named(sql: str, schema: str) -> set[str]:
    """The tables of a schema that a query names."""
    return {
        table.name
        for table in parse_one(sql, read="duckdb").find_all(exp.Table)
        if table.db == schema
    }


def parts_of(report: str) -> Iterator[Part]:
    """A report as views of a session: its materialized parts, then the report itself."""
    tree = _flat(_renamed(parse_one(selects()[report], read="duckdb")))
    with_ = tree.args.get("with_") or tree.args.get("with")
    before: list[exp.CTE] = []
    for cte in list(with_.expressions) if with_ is not None else []:
        if not cte.args.get("materialized"):
            before.append(cte)
            continue
        name = f"{REPORTS}_{report}_{cte.alias}"
        yield Part(name, _sql(cte.this, before), is_kept=True)
        replacing = exp.CTE(
            this=parse_one(f"SELECT * FROM {name}", read="duckdb"),
            alias=exp.TableAlias(this=exp.to_identifier(cte.alias)),
        )
        before.append(replacing)
    last = tree.copy()
    last.set("with_", None)
    yield Part(f"{REPORTS}_{report}", _sql(last, before), is_kept=False)


def _flat(tree: "exp.Expr") -> "exp.Expr":
    """A SELECT over another one with parts, with these parts as its own."""
    inner = tree.args["from_"].this if tree.args.get("from_") else None
    if isinstance(inner, exp.Subquery) and inner.this.args.get("with_"):
        with_ = inner.this.args["with_"].copy()
        inner.this.set("with_", None)
        tree.set("with_", with_)
    return tree


def _sql(select: "exp.Expr", before: Sequence[exp.CTE]) -> str:
    """A SELECT in Spark's SQL, after the parts that it may read."""
    whole = select.copy()
    if before:
        whole.set("with_", exp.With(expressions=[cte.copy() for cte in before]))
    return transpiled(whole.sql(dialect="duckdb"), SPARK)


def _renamed(tree: "exp.Expr") -> "exp.Expr":
    """Tables in two parts as views of a session, which have one."""

    def one_part(node: "exp.Expr") -> "exp.Expr":
        if isinstance(node, exp.Table) and node.db in (DATASET, REPORTS):
            alias = node.args.get("alias")
            renamed = exp.to_table(f"{node.db}_{node.name}")
            renamed.set("alias", alias.copy() if alias else exp.TableAlias(this=node.this.copy()))
            return renamed
        return node

    return tree.transform(one_part)


def _is_of_tuples(node: "exp.Expr") -> bool:
    return isinstance(node, exp.In) and isinstance(node.this, exp.Tuple)


def _each(node: "exp.Expr") -> "exp.Expr":
    """`(a, b) IN ((1, 2), (3, 4))` in comparisons that every server knows."""
    columns = node.this.expressions
    rows = (
        exp.and_(
            *(
                exp.EQ(this=c.copy(), expression=v.copy())
                for c, v in zip(columns, row.expressions, strict=True)
            )
        )
        for row in node.expressions
    )
    return exp.paren(exp.or_(*rows))


def _literal(value: Any) -> "exp.Expr":
    """A value as SQL."""
    kinds: dict[type, Callable[[Any], exp.Expr]] = {
        str: exp.Literal.string,
        datetime: lambda it: exp.cast(
            exp.Literal.string(it.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")),
            "TIMESTAMPTZ",
        ),
        date: lambda it: exp.cast(exp.Literal.string(it.isoformat()), "DATE"),
    }
    make = kinds.get(type(value))
    return make(value) if make is not None else exp.convert(value)
