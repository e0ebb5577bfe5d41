"""The reports as views: packaged SQL files, one view each, kept up to date in the database.

A file `reports/<name>.sql` is a header comment and one SELECT; the header's first line is the
report's description. The files name tables in two parts (`ges.backups`, `reports.size_trend`).
"""

import hashlib
import re
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import TYPE_CHECKING

from ges_history.warehouses.layout import ABOUT, LAYOUT_VERSION, check_layout, database_name, quoted

if TYPE_CHECKING:
    import duckdb

HELPERS = ("graph_names",)
"""Views that the reports build on; not reports themselves."""

_TABLE = re.compile(r"\b(FROM|JOIN) (ges|reports)\.(\w+)")


@cache
def _selects() -> dict[str, str]:
    """{view: its file's text}, each after the views that it reads."""
    texts = {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").strip()
        for file in files("ges_history.reports").joinpath("sql").iterdir()
        if file.name.endswith(".sql")
    }
    reads = {
        name: {table for _, schema, table in _TABLE.findall(text) if schema == "reports"}
        for name, text in sorted(texts.items())
    }
    return {name: texts[name] for name in TopologicalSorter(reads).static_order()}


def report_names() -> list[str]:
    """The names of the reports, sorted."""
    return sorted(set(_selects()) - set(HELPERS))


def descriptions() -> dict[str, str]:
    """{report: its one-line description}, sorted by name."""
    return {name: _description(_selects()[name]) for name in report_names()}


def time_column(report: str) -> str:
    """The column that places a report's rows in time, named by `-- Time:` in its file."""
    found = re.search(r"^-- Time: (\w+)$", _selects()[report], re.MULTILINE)
    if found is None:
        raise LookupError(f"reports/{report}.sql names no time column")
    return found[1]


def view_statements(dialect: str = "duckdb") -> list[str]:
    """The statements that create the views in schema `reports`, in an order that works.

    Args:
        dialect: the destination's SQL, by its name in sqlglot; the files are DuckDB's.
    """
    statements = [f"CREATE OR REPLACE VIEW reports.{n} AS\n{sql}" for n, sql in _selects().items()]
    if dialect == "duckdb":
        return statements
    return [_transpiled(statement, dialect) for statement in statements]


def _transpiled(statement: str, dialect: str) -> str:
    """A statement in another SQL; sqlglot is imported only where there is need of it."""
    from sqlglot import exp, parse_one  # noqa: PLC0415

    tree = parse_one(statement, read="duckdb")
    if dialect in {"spark", "databricks"}:  # sqlglot writes PERCENTILE_CONT(x, q), unknown there
        tree = tree.transform(
            lambda node: (
                exp.Anonymous(this="PERCENTILE", expressions=[node.this, node.expression])
                if isinstance(node, exp.PercentileCont)
                else node
            )
        )
    return tree.sql(dialect=dialect, comments=False)


def rebuild(connection: "duckdb.DuckDBPyConnection", *, is_demo: bool = False) -> bool:
    """Create or replace the views where they differ from this version's; tell whether any did.

    Reads two catalog entries and writes nothing where all is as it should be. Works in the
    connection's current database, whatever its name, in a transaction of its own.

    Raises:
        DatabaseError: the database was written by a newer version.
    """
    check_layout(connection)
    catalog = database_name(connection)
    fingerprint = _fingerprint(catalog)
    if _stored(connection, catalog) == (fingerprint, set(_selects())):
        return False
    about = (
        f"SELECT {LAYOUT_VERSION} AS layout_version, '{fingerprint}' AS views_fingerprint,"
        f" {str(is_demo).upper()} AS is_demo"
    )
    script = [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(catalog)}.reports",
        *_statements_for(catalog),
        f"CREATE OR REPLACE VIEW {quoted(catalog)}.reports.{ABOUT} AS {about}",
    ]
    connection.execute("BEGIN")
    try:
        for statement in script:
            connection.execute(statement)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return True


def _fingerprint(catalog: str) -> str:
    selects = [f"{name}\n{_stored_select(name, catalog)}" for name in _selects()]
    return hashlib.sha256("\n".join(selects).encode()).hexdigest()


def _statements_for(catalog: str) -> list[str]:
    """DuckDB's statements for a database of this name: creating, then describing each view."""
    statements = []
    for name, text in _selects().items():
        view = f"{quoted(catalog)}.reports.{name}"
        comment = _description(text).replace("'", "''")
        statements += [
            f"CREATE OR REPLACE VIEW {view} AS\n{_stored_select(name, catalog)}",
            f"COMMENT ON VIEW {view} IS '{comment}'",
        ]
    return statements


def overlay_statements(catalog: str, tables: set[str]) -> list[str]:
    """Statements that put schemas `ges` and `reports` over those tables of an attached database."""
    selects = {name: _located(text, "ges.{}") for name, text in _selects().items()}
    source = f"{quoted(catalog)}.ges"
    return [
        "CREATE SCHEMA ges",
        "CREATE SCHEMA reports",
        *(f"CREATE VIEW ges.{quoted(t)} AS FROM {source}.{quoted(t)}" for t in sorted(tables)),
        *(f"CREATE VIEW reports.{name} AS\n{select}" for name, select in selects.items()),
    ]


def _stored_select(name: str, catalog: str) -> str:
    """A view's SELECT as it is kept in a database of this name.

    Tables keep two parts, which outlive a renamed file. A database called like the schema needs
    three, and DuckDB cuts the first off in a view, unless it is in the argument of a function.
    """
    table = f"query_table('{quoted(catalog)}.ges.{{}}')" if catalog.lower() == "ges" else "ges.{}"
    return _located(_selects()[name], table)


def _located(text: str, table: str) -> str:
    """A SELECT that takes tables as the pattern `table` says, and views from its own schema.

    DuckDB looks for a bare name in the view's own schema first, whatever the database is called.
    """
    return _TABLE.sub(
        lambda m: f"{m[1]} {table.format(m[3])}" if m[2] == "ges" else f"{m[1]} {m[3]}", text
    )


def _stored(connection: "duckdb.DuckDBPyConnection", catalog: str) -> tuple[str, set[str]] | None:
    """The fingerprint in the database and which of the views it has; None without the first."""
    rows = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = ? AND schema_name = 'reports'",
        [catalog],
    ).fetchall()
    views = {name for (name,) in rows}
    if ABOUT not in views:
        return None
    about = f"FROM {quoted(catalog)}.reports.{ABOUT} SELECT views_fingerprint"
    rows = connection.execute(about).fetchall()
    return (rows[0][0], views & set(_selects())) if rows else None


def _description(text: str) -> str:
    return text.splitlines()[0].removeprefix("--").strip()
