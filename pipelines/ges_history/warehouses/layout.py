"""The version of the database's layout, kept in the database as a view of constants.

The view `reports.about` needs no table, survives a copied or renamed file, and can be read by
anyone: `SELECT layout_version FROM reports.about`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ges_history.errors import DatabaseError

if TYPE_CHECKING:
    import duckdb

LAYOUT_VERSION = 2
"""Raised when tables change so that an older version would read or write them wrongly."""

ABOUT = "about"


def check_layout(connection: "duckdb.DuckDBPyConnection", catalog: str | None = None) -> None:
    """Refuse a database that a newer version wrote; one without a layout passes.

    Args:
        catalog: the attached database to check; default: the connection's current one.

    Raises:
        DatabaseError: the layout is newer than `LAYOUT_VERSION`.
    """
    found = read_layout(connection, catalog)
    if found is not None and found > LAYOUT_VERSION:
        raise DatabaseError(
            f"The database was written by a newer version of ges-backup-history (layout {found},"
            f" this version knows {LAYOUT_VERSION}); upgrade with"
            " `pip install --upgrade ges-backup-history`."
        )


def read_layout(connection: "duckdb.DuckDBPyConnection", catalog: str | None = None) -> int | None:
    """The layout version stored in the database, None where there is none."""
    name = catalog or database_name(connection)
    stored = connection.execute(
        "SELECT 1 FROM duckdb_views()"
        " WHERE database_name = ? AND schema_name = 'reports' AND view_name = ?",
        [name, ABOUT],
    ).fetchall()
    if not stored:
        return None
    about = f"FROM {quoted(name)}.reports.{ABOUT} SELECT layout_version"
    rows = connection.execute(
        about
    ).fetchall()  # a result that is not read to its end holds a transaction
    return int(rows[0][0]) if rows else None


def is_demo(connection: "duckdb.DuckDBPyConnection", catalog: str | None = None) -> bool:
    """Whether ``ges-backups demo`` made the database.

    Args:
        catalog: the attached database to look at; default: the connection's current one.
    """
    name = catalog or database_name(connection)
    stored = connection.execute(
        "SELECT 1 FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'reports'"
        " AND table_name = ? AND column_name = 'is_demo'",
        [name, ABOUT],
    ).fetchall()
    if not stored:
        return False
    rows = connection.execute(f"FROM {quoted(name)}.reports.{ABOUT} SELECT is_demo").fetchall()
    return bool(rows and rows[0][0])


def database_name(connection: "duckdb.DuckDBPyConnection") -> str:
    """The name of the connection's current database, which DuckDB takes from the file's name."""
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    return str(name)


def folder_beside(file: Path) -> Path:
    """The folder of a database, for what is no table: dlt's packages, locks, the rollback journal."""
    return file.parent / f".{file.name}.dlt"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def stored_in(files: Iterable[str]) -> str:
    """The rows of Parquet files, for FROM: DuckDB takes `name=x` in a path for a column, unless told."""
    listed = list(map(text, files))
    by_name = ", union_by_name = true" if len(listed) > 1 else ""
    return f"read_parquet([{', '.join(listed)}]{by_name}, hive_partitioning = false)"
