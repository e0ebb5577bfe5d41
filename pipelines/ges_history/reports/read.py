"""Read a report into pandas."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.errors import DatabaseError, HistoryError
from ges_history.reports.views import report_names, time_column
from ges_history.warehouses.opening import DEFAULT_DATABASE, connect, keep_only

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa


class UnknownReportError(HistoryError, ValueError):
    """There is no report of this name."""


class UnknownGraphError(HistoryError, ValueError):
    """The history knows no graph of this id or name."""


def read_report(
    name: str,
    database: str | Path = DEFAULT_DATABASE,
    *,
    graph: str | Iterable[str] | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    limit: int | None = None,
) -> "pd.DataFrame":
    """Read a report as a DataFrame, ordered by graph and time; the file is given back at once.

    Args:
        name: one of `report_names()`.
        database: the DuckDB file.
        graph: ids or names of graphs; default: all.
        since: first instant of the report's time column, a date or datetime or its ISO text;
            UTC where it has no zone.
        until: the instant before which the report's time column ends, likewise.
        limit: at most this many rows, the newest by the time column.

    Returns:
        The view's columns. Instants are UTC-aware, days, weeks and months are plain midnights;
        whole numbers, booleans and text are pandas' nullable types.

    Raises:
        UnknownReportError: no such report; the message lists them.
        UnknownGraphError: no such graph; the message names close ones.
        DatabaseError: the database cannot be read.
    """
    import pandas as pd  # noqa: PLC0415 - importing ges_history stays cheap
    import pyarrow as pa  # noqa: PLC0415

    nullable = {
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }
    table = read_table(name, database, graph=graph, since=since, until=until, limit=limit)
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, date_as_object=False)
    return frame


def read_table(
    name: str,
    database: str | Path = DEFAULT_DATABASE,
    *,
    graph: str | Iterable[str] | None = None,
    since: str | date | None = None,
    until: str | date | None = None,
    limit: int | None = None,
) -> "pa.Table":
    """Read a report as an Arrow table; arguments and errors as for `read_report`."""
    import duckdb  # noqa: PLC0415

    if name not in report_names():
        raise UnknownReportError(
            f"There is no report {name!r}; there are {', '.join(report_names())}."
        )
    connection = connect(database)
    try:
        sql, values = _query(connection, name, graph=graph, since=since, until=until, limit=limit)
        return connection.sql(sql, params=values).to_arrow_table()
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise DatabaseError(f"The report {name} cannot be read: {reason}") from error
    finally:
        connection.close()


def parse_instant(value: str | date) -> datetime:
    """A date, a datetime or its ISO text as an aware datetime; UTC where it has no zone.

    Raises:
        ValueError: the text is neither.
    """
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        found = datetime.combine(found, time())
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _query(
    connection: "duckdb.DuckDBPyConnection",
    name: str,
    *,
    graph: str | Iterable[str] | None,
    since: str | date | None,
    until: str | date | None,
    limit: int | None,
) -> tuple[str, list[Any]]:
    """The SELECT over one view, and the values for its marks; columns 4 and 6 settle ties."""
    when = f"CAST({time_column(name)} AS TIMESTAMPTZ)"
    conditions, values = ["true"], list[Any]()
    if graph is not None:
        keys = graph_keys(connection, [graph] if isinstance(graph, str) else graph)
        if keys:
            keep_only(connection, keys)
        pairs = ", ".join("(?, ?)" for _ in keys) or "(NULL, NULL)"
        conditions.append(f"(project_id, graph_id) IN ({pairs})")
        values += [part for key in keys for part in key]
    for bound, comparison in ((since, ">="), (until, "<")):
        if bound is not None:
            conditions.append(f"{when} {comparison} ?")
            values.append(parse_instant(bound))
    rows, when = f"FROM reports.{name} WHERE {' AND '.join(conditions)}", time_column(name)
    if limit is not None:
        rows = f"FROM ({rows} ORDER BY {when} DESC NULLS LAST, 1, 2, 4, 6 LIMIT {limit:d})"
    return f"{rows} ORDER BY graph_name, 1, 2, {when}, 4, 6", values


def graph_keys(
    connection: "duckdb.DuckDBPyConnection", wanted: Iterable[str]
) -> list[tuple[str, str]]:
    """The (project_id, graph_id) of graphs given by id or name; a name can stand for several.

    Raises:
        UnknownGraphError: one of them is neither.
    """
    known = connection.execute(
        "SELECT project_id, graph_id, graph_name FROM reports.graph_names ORDER BY ALL"
    ).fetchall()
    keys = dict[tuple[str, str], None]()
    for graph in wanted:
        found = [(project, id_) for project, id_, name in known if graph in (id_, name)]
        if not found:
            raise UnknownGraphError(
                _no_such_graph(graph, {text for row in known for text in row[1:]})
            )
        keys.update(dict.fromkeys(found))
    return list(keys)


def _no_such_graph(graph: str, known: set[str]) -> str:
    close = get_close_matches(graph, sorted(known), n=3, cutoff=0.6)
    if close:
        return f"The history knows no graph {graph!r}; did you mean {' or '.join(close)}?"
    return f"The history knows no graph {graph!r}; `ges-backups report load_health` lists them."
