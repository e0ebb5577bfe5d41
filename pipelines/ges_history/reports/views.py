"""The reports as views in a database: created where they differ from this version's, and over others."""

import hashlib
import re
from typing import TYPE_CHECKING

from ges_history.reports.catalogue import (
    HELPERS,
    TABLE,
    column_texts,
    description_of,
    descriptions,
    report_names,
    selects,
    shared_views,
    time_column,
    view_names,
    views_needed,
    views_read,
    without_header,
)
from ges_history.warehouses.layout import ABOUT, LAYOUT_VERSION, check_layout, database_name, quoted

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "HELPERS",
    "descriptions",
    "rebuild",
    "report_names",
    "time_column",
    "view_names",
    "view_statements",
]

TABLES = ("backups", "graphs", "listings", "projects", "rejected_backups")
"""The tables that the views read."""

LATER_COLUMNS = {"listings": {"last_read_at": "TIMESTAMPTZ"}}
"""{table: {column: its type}} of what a table of an earlier release lacks."""
LOAD_ID = "_dlt_load_id VARCHAR"
"""The column that dlt adds to each table, by which a load counts."""
_BY_GRAPH = {"graphs", "listings", "projects"}
"""Tables that have a row or less for each graph."""
_TYPES = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "bool": "BOOLEAN",
    "json": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
}


def view_statements(dialect: str = "duckdb", *, is_deferred: bool = False) -> list[str]:
    """The statements that create the views in schema `reports`, in an order that works.

    Args:
        dialect: the destination's SQL, by its name in sqlglot; the files are DuckDB's.
        is_deferred: as in `overlay_statements`.
    """
    option = _deferral() if is_deferred else ""
    statements = [
        f"CREATE OR REPLACE VIEW reports.{name}{option} AS\n{sql}"
        for name, sql in selects().items()
    ]
    if dialect == "duckdb":
        return statements
    from ges_history.reports.dialects import transpiled  # noqa: PLC0415 - sqlglot takes long

    return [transpiled(statement, dialect) for statement in statements]


def _deferral() -> str:
    """The option of CREATE VIEW that leaves it unbound until it is read, where this DuckDB has it."""
    import duckdb  # noqa: PLC0415

    return " WITH (DEFER_BINDING)" if int(duckdb.__version__.split(".")[0]) >= 2 else ""


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
    if _stored(connection, catalog) == (fingerprint, set(selects())):
        return False
    about = (
        f"SELECT {LAYOUT_VERSION} AS layout_version, '{fingerprint}' AS views_fingerprint,"
        f" {str(is_demo).upper()} AS is_demo"
    )
    script = [
        f"CREATE SCHEMA IF NOT EXISTS {quoted(catalog)}.reports",
        *(
            f"CREATE TABLE {quoted(catalog)}.ges.{table} ({columns})"
            for table, columns in missing_tables(_tables(connection, catalog)).items()
        ),
        *(
            f"ALTER TABLE {quoted(catalog)}.ges.{table} ADD COLUMN IF NOT EXISTS {column} {type_}"
            for table, columns in LATER_COLUMNS.items()
            for column, type_ in columns.items()
        ),
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
    texts = [f"{name}\n{_stored_select(name, catalog)}" for name in selects()]
    comments = [f"{name}\n{column_texts(name)}" for name in selects()]
    return hashlib.sha256("\n".join([*texts, *comments]).encode()).hexdigest()


def _statements_for(catalog: str) -> list[str]:
    """DuckDB's statements for a database of this name: creating, then describing each view."""
    statements = []
    for name in selects():
        view = f"{quoted(catalog)}.reports.{name}"
        comment = description_of(name).replace("'", "''")
        statements += [
            f"CREATE OR REPLACE VIEW {view} AS\n{_stored_select(name, catalog)}",
            f"COMMENT ON VIEW {view} IS '{comment}'",
            *(
                f"COMMENT ON COLUMN {view}.{column} IS '{_comment(*it)}'"
                for column, it in column_texts(name).items()
            ),
        ]
    return statements


def known_columns() -> dict[str, dict[str, dict[str, str]]]:
    """{table: {column: {"type": DuckDB's, "description": what it is}}} of the tables of `ges`."""
    from ges_backups import rows, schema  # noqa: PLC0415 - imports dlt

    known = {
        "backups": rows.BACKUP_COLUMNS,
        "graphs": schema.GRAPH_COLUMNS,
        "listings": schema.LISTING_COLUMNS,
        "projects": schema.PROJECT_COLUMNS,
        "rejected_backups": schema.REJECTED_COLUMNS,
    }
    return {
        table: {
            name: {"type": _TYPES[it["data_type"]], "description": it.get("description", "")}
            for name, it in columns.items()
        }
        for table, columns in known.items()
    }


def missing_tables(present: set[str]) -> dict[str, str]:
    """{table: its columns and types in DuckDB's SQL} for what the reports read and is not there.

    An older release, or a project without a backup, leaves tables out.
    """
    if present >= set(TABLES):
        return {}
    return {
        table: ", ".join(
            [*(f"{quoted(name)} {it['type']}" for name, it in columns.items()), LOAD_ID]
        )
        for table, columns in known_columns().items()
        if table not in present
    }


def overlay_statements(tables: dict[str, set[str]], *, is_deferred: bool = False) -> list[str]:
    """Statements that put schemas `ges` and `reports` over attached databases, as one history.

    A table that the reports read and no database has is an empty one.

    Args:
        tables: {catalog: its tables in schema `ges`}.
        is_deferred: views are bound when they are read, and only then fail: to bind all of them
            takes DuckDB 80 ms, and a reader reads few.
    """
    option = _deferral() if is_deferred else ""
    names = set[str]().union(*tables.values())
    small = _BY_GRAPH if len(tables) > 1 else set()  # many files are slow to plan, not to read
    located = {name: _located(text, "ges.{}") for name, text in selects().items()}
    return [
        "CREATE SCHEMA ges",
        "CREATE SCHEMA reports",
        *(
            f"CREATE {'TABLE' if name in small else 'VIEW'} ges.{quoted(name)} AS"
            f" {_united(name, tables)}"
            for name in sorted(names)
        ),
        *(f"CREATE TABLE ges.{t} ({columns})" for t, columns in missing_tables(names).items()),
        *(f"CREATE VIEW reports.{name}{option} AS\n{select}" for name, select in located.items()),
    ]


def _united(table: str, tables: dict[str, set[str]]) -> str:
    parts = [
        f"FROM {quoted(catalog)}.ges.{quoted(table)}"
        for catalog, present in tables.items()
        if table in present
    ]
    if later := LATER_COLUMNS.get(table):
        columns = (f"CAST(NULL AS {type_}) AS {column}" for column, type_ in later.items())
        parts.append(f"SELECT {', '.join(columns)} WHERE FALSE")
    return " UNION ALL BY NAME ".join(parts)


def _stored_select(name: str, catalog: str) -> str:
    """A view's SELECT as it is kept in a database of this name.

    Tables keep two parts, which outlive a renamed file. A database called like the schema needs
    three, and DuckDB cuts the first off in a view, unless it is in the argument of a function.
    """
    table = f"query_table('{quoted(catalog)}.ges.{{}}')" if catalog.lower() == "ges" else "ges.{}"
    return _located(selects()[name], table)


def _located(text: str, table: str) -> str:
    """A SELECT that takes tables as the pattern `table` says, and views from its own schema.

    DuckDB looks for a bare name in the view's own schema first, whatever the database is called.
    """
    return TABLE.sub(
        lambda m: f"{m[1]} {table.format(m[3])}" if m[2] == "ges" else f"{m[1]} {m[3]}", text
    )


def _tables(connection: "duckdb.DuckDBPyConnection", catalog: str) -> set[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'ges'",
        [catalog],
    ).fetchall()
    return {name for (name,) in rows}


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
    return (rows[0][0], views & set(selects())) if rows else None


class SharedViews:
    """Views that others read, worked out once for a connection that looks at one state.

    What they need of memory is little: a row or some for each graph, and its newest successes.

    Args:
        connection: With the overlay of `overlay_statements` as its current database.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection
        self._rest = shared_views()

    def work_out(self, sql: str) -> None:
        """Those that a query reads, itself or through others."""
        if not self._rest:
            return
        for name in views_needed(views_read(sql) & set(selects())):
            if name in self._rest:
                self._rest = self._rest - {name}
                self._connection.execute(f"CREATE TABLE reports.kept_{name} AS FROM reports.{name}")
                self._connection.execute(
                    f"CREATE OR REPLACE VIEW reports.{name} AS FROM reports.kept_{name}"
                )


def narrowed(report: str, condition: str) -> str:
    """A report over the backups that meet a condition, as a table in parentheses.

    Every report is per graph, so its rows are those of the view; it just does not compute others.
    """
    parts = [f"only_backups AS (SELECT * FROM ges.backups WHERE {condition})"]
    for name in views_needed({report}):
        body = TABLE.sub(_narrowed_table, without_header(selects()[name]))
        parts.append(f"reports_{name} AS (\n{body}\n)")
    return f"(WITH {', '.join(parts)} SELECT * FROM reports_{report}) AS narrowed"


def _narrowed_table(found: re.Match[str]) -> str:
    keyword, schema, table = found.groups()
    if schema == "reports":
        return f"{keyword} reports_{table}"
    return f"{keyword} only_backups" if table == "backups" else found[0]


def _comment(unit: str | None, text: str) -> str:
    return (text if unit is None else f"{text.removesuffix('.')}, in {unit}.").replace("'", "''")
