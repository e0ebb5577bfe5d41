"""Open a history to look at it: read-only, under any file name, with this version's reports.

The files are attached to a database in memory, whose schemas `ges` and `reports` are views over
them. So the names are the same whatever a file is called (DuckDB finds `ges.backups` ambiguous in a
`ges.duckdb`), a file that was renamed, copied or written by an older version answers with the
reports of this one, and several files, each with projects of its own, are one history.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ges_history.errors import DatabaseError, NoHistory
from ges_history.reports.views import overlay_statements
from ges_history.warehouses.duckdb_obstacles import first_line, obstacle
from ges_history.warehouses.layout import check_layout, quoted

if TYPE_CHECKING:
    import duckdb

DEFAULT_DATABASE = "ges_backups.duckdb"
Databases = str | Path | Iterable[str | Path]
"""A DuckDB file, a glob of them, or several of these: one history."""

_TRACES = {"backups", "graphs", "listings", "projects"}
"""A history has at least one of these tables."""


def database_files(databases: Databases) -> list[Path]:
    """The files that are meant, each once; a file whose name looks like a glob is that file.

    Raises:
        NoHistory: No file is given, or a glob finds none.
    """
    given = [databases] if isinstance(databases, str | Path) else databases
    files = dict[Path, None]()
    for one in given:
        path = Path(one)
        if path.exists() or not any(sign in str(one) for sign in "*?["):
            files[path] = None
            continue
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise NoHistory(f"No database is like {one}; run `ges-backups load` to make one.")
        files.update(dict.fromkeys(found))
    if not files:
        raise NoHistory("No database is given.")
    return list(files)


def connect(database: Databases = DEFAULT_DATABASE) -> "duckdb.DuckDBPyConnection":
    """Open a history read-only, for SQL over the schemas `ges` and `reports`; times show in UTC.

    The files are held until the connection is closed, and a load waits for no one: close it soon,
    or use it in a `with` block.

    Args:
        database: The DuckDB file; several, or a glob, are read as one history.

    Raises:
        DatabaseError: A file is missing, locked, no DuckDB database, holds no history, was
            written by a newer version, or holds a project that another one holds, too.
    """
    return opened(database_files(database))


def opened(files: list[Path], *, is_deferred: bool = False) -> "duckdb.DuckDBPyConnection":
    """Files as one history; `is_deferred`: what does not fit into its reports fails when it is read."""
    import duckdb  # noqa: PLC0415 - importing ges_history stays cheap

    connection = duckdb.connect(":memory:")
    try:
        with saying_what_does_not_fit(files[0]):
            _lay_out(connection, files, is_deferred=is_deferred)
    except BaseException:
        connection.close()
        raise
    return connection


def _lay_out(
    connection: "duckdb.DuckDBPyConnection", files: list[Path], *, is_deferred: bool
) -> None:
    tables = {}
    for number, path in enumerate(files):
        catalog = f"history{number or ''}"
        _attach(connection, path, catalog)
        check_layout(connection, catalog)
        tables[catalog] = _tables(connection, path, catalog)
    connection.execute("SET TimeZone = 'UTC'")
    if len(files) > 1:
        _refuse_shared_projects(connection, files, tables)
    connection.execute(";\n".join(overlay_statements(tables, is_deferred=is_deferred)))


@contextmanager
def saying_what_does_not_fit(name: str | Path) -> Iterator[None]:
    """Say of a table without a column that the reports need, or the like, that it is no history."""
    import duckdb  # noqa: PLC0415

    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise DatabaseError(
            f"The database {name} cannot be read as a backup history: {first_line(error)}"
        ) from error


def _attach(connection: "duckdb.DuckDBPyConnection", path: Path, catalog: str) -> None:
    import duckdb  # noqa: PLC0415

    if not path.exists():
        raise NoHistory(f"There is no database {path}; run `ges-backups load` to make it.")
    literal = str(path.absolute()).replace("'", "''")  # DuckDB takes ~ for the user's folder
    try:
        connection.execute(f"ATTACH '{literal}' AS {catalog} (READ_ONLY, TYPE duckdb)")
    except duckdb.Error as error:
        raise obstacle(path, error) from error


def _tables(connection: "duckdb.DuckDBPyConnection", path: Path, catalog: str) -> set[str]:
    """The names of the history's tables."""
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'ges'",
        [catalog],
    ).fetchall()
    tables = {name for (name,) in rows}
    if not tables & _TRACES:
        raise NoHistory(
            f"The database {path} holds no backup history; run `ges-backups load` to fill it."
        )
    return tables


def _refuse_shared_projects(
    connection: "duckdb.DuckDBPyConnection", files: list[Path], tables: dict[str, set[str]]
) -> None:
    """Backups of a project that stands in two files would be there twice."""
    selects = [
        f"SELECT DISTINCT {number} AS file, "
        f"{'id' if table == 'projects' else 'project_id'} AS project_id"
        f" FROM {quoted(catalog)}.ges.{table}"
        for number, (catalog, present) in enumerate(tables.items())
        for table in sorted(present & {"projects", "listings"})
    ]
    if not selects:
        return
    rows = set(connection.execute(" UNION ALL ".join(selects)).fetchall())
    shared = [project for project, n in Counter(project for _, project in rows).items() if n > 1]
    if shared:
        project = min(shared)
        where = " and ".join(str(files[number]) for number, one in sorted(rows) if one == project)
        raise DatabaseError(f"The project {project} is in {where}: give one of them.")
