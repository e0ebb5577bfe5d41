"""Open a history to look at it: read-only, under any file name, with this version's reports.

The file is attached to a database in memory, whose schemas `ges` and `reports` are views over it.
So the names are the same whatever the file is called (DuckDB finds `ges.backups` ambiguous in a
`ges.duckdb`), and a file that was renamed, copied or written by an older version answers with the
reports of this one.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ges_history.errors import DatabaseError
from ges_history.reports.views import overlay_statements
from ges_history.warehouses.duckdb_obstacles import obstacle
from ges_history.warehouses.layout import check_layout

if TYPE_CHECKING:
    import duckdb

DEFAULT_DATABASE = "ges_backups.duckdb"
REQUIRED_TABLES = {"backups", "graphs", "listings"}

_ATTACHED = "history"


def connect(database: str | Path = DEFAULT_DATABASE) -> "duckdb.DuckDBPyConnection":
    """Open a history read-only, for SQL over the schemas `ges` and `reports`; times show in UTC.

    The file is held until the connection is closed, and a load waits for no one: close it soon,
    or use it in a `with` block.

    Raises:
        DatabaseError: the file is missing, locked, no DuckDB database, holds no history, or was
            written by a newer version.
    """
    import duckdb  # noqa: PLC0415 - importing ges_history stays cheap

    path = Path(database)
    if not path.exists():
        raise DatabaseError(f"There is no database {path}; run `ges-backups load` to make it.")
    connection = duckdb.connect(":memory:")
    try:
        _attach(connection, path)
        check_layout(connection, _ATTACHED)
        tables = _tables(connection, path)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(";\n".join(overlay_statements(_ATTACHED, tables)))
    except BaseException:
        connection.close()
        raise
    return connection


def keep_only(connection: "duckdb.DuckDBPyConnection", keys: list[tuple[str, str]]) -> None:
    """Let the reports of a connection see the backups of these (project_id, graph_id) only.

    Every report is per graph, so its rows stay the same; it just does not compute the others.
    """
    pairs = ", ".join(f"({_text(project)}, {_text(graph)})" for project, graph in keys)
    connection.execute(
        f"CREATE OR REPLACE VIEW ges.backups AS FROM {_ATTACHED}.ges.backups"
        f" WHERE (project_id, graph_id) IN ({pairs})"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _attach(connection: "duckdb.DuckDBPyConnection", path: Path) -> None:
    import duckdb  # noqa: PLC0415

    try:
        connection.execute(f"ATTACH {_text(str(path))} AS {_ATTACHED} (READ_ONLY, TYPE duckdb)")
    except duckdb.Error as error:
        raise obstacle(path, error) from error


def _tables(connection: "duckdb.DuckDBPyConnection", path: Path) -> set[str]:
    """The names of the history's tables."""
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'ges'",
        [_ATTACHED],
    ).fetchall()
    tables = {name for (name,) in rows}
    if not tables >= REQUIRED_TABLES:
        raise DatabaseError(
            f"The database {path} holds no backup history; run `ges-backups load` to fill it."
        )
    return tables
