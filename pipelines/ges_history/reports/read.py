"""Read a report, from wherever the history is."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.errors import HistoryError
from ges_history.instants import Instant
from ges_history.reports.catalogue import LISTS, report_names, time_column, why_empty
from ges_history.reports.overview import UnknownGraphError, scope_of
from ges_history.reports.selection import Keys, Selection, query_of, selection_of
from ges_history.warehouses.duckdb_files import history_of
from ges_history.warehouses.opening import DEFAULT_DATABASE, Databases
from ges_history.warehouses.seam import Read, Warehouse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class UnknownReportError(HistoryError, ValueError):
    """There is no report of this name."""


@dataclass(frozen=True)
class Answer:
    """A report's rows; where there are none, `reason` says why, as far as that is known."""

    table: "pa.Table"
    reason: str | None


def read_report(
    name: str,
    database: Databases | Warehouse = DEFAULT_DATABASE,
    *,
    graph: str | Iterable[str] | None = None,
    project: str | Iterable[str] | None = None,
    region: str | Iterable[str] | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: int | None = None,
    status: str | None = None,
    wait: float = 0.0,
) -> "pd.DataFrame":
    """Read a report as a DataFrame; nothing is held after.

    Rows are ordered by graph and time; those of a report about now the worst first, those of
    `backups` the newest first.

    Args:
        name: one of `report_names()`, or `backups`.
        database: the DuckDB file; several, or a glob, are one history; or a warehouse.
        graph: ids or names of graphs; default: all.
        project: ids or names of projects; default: all.
        region: their regions, as `ges.projects` has them; default: all.
        since: first instant, a date or datetime or its ISO text (UTC where it has no zone),
            `yesterday`, or so long ago: `7d`; not for a report about now. Days, weeks and months
            that overlap the window are there whole.
        until: the instant before which the window ends, likewise.
        limit: at most this many rows: the newest; of a report about now the worst.
        status: only backups of this status; for `backups`.
        wait: seconds to wait for a load that holds the database.

    Returns:
        The view's columns. Instants are UTC-aware, days, weeks and months are plain midnights;
        whole numbers, booleans and text are pandas' nullable types.

    Raises:
        UnknownReportError: no such report; the message names close ones, or all.
        UnknownGraphError: no such graph, project or region; the message names close ones.
        SelectionError: a window that is empty, or that the report has not.
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
    table = read_table(
        name,
        database,
        graph=graph,
        project=project,
        region=region,
        since=since,
        until=until,
        limit=limit,
        status=status,
        wait=wait,
    )
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, date_as_object=False)
    return frame


def read_table(
    name: str,
    database: Databases | Warehouse = DEFAULT_DATABASE,
    *,
    wait: float = 0.0,
    **selected: Any,
) -> "pa.Table":
    """Read a report as an Arrow table; arguments and errors as for `read_report`."""
    check_name(name)
    with _warehouse(database).reading(wait) as read:
        return read_answer(read, name, **selected).table


def read_answer(
    read: Read,
    name: str,
    *,
    graph: str | Iterable[str] | None = None,
    project: str | Iterable[str] | None = None,
    region: str | Iterable[str] | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: int | None = None,
    status: str | None = None,
) -> Answer:
    """A report from a warehouse that is being read; arguments and errors as for `read_report`."""
    check_name(name)
    selection = selection_of(name, since, until, limit, status, with_graphs=graph is not None)
    if graph is not None:
        selection = replace(selection, keys=graph_keys(read, _each(graph)))
    scope = scope_of(read, _each(project), _each(region))
    selection = replace(selection, project_ids=scope.project_ids)
    sql, values = query_of(selection)
    table = read(sql, *values)
    return Answer(table, None if table.num_rows else _reason(read, selection))


def check_name(name: str) -> None:
    """Refuse a name that no report has.

    Raises:
        UnknownReportError: it names close ones, or all.
    """
    names = [*report_names(), *LISTS]
    if name in names:
        return
    close = get_close_matches(name, names, n=2, cutoff=0.5)
    there = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}."
    raise UnknownReportError(f"There is no report {name!r}; {there}")


def graph_keys(read: Read, wanted: Iterable[str]) -> Keys:
    """The (project_id, graph_id) of graphs given by id or name; a name can stand for several.

    Raises:
        UnknownGraphError: one of them is neither.
    """
    rows = read(
        "SELECT project_id, graph_id, graph_name FROM reports.graph_names ORDER BY 1, 2, 3"
    ).to_pylist()
    named: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for text in {row["graph_id"], row["graph_name"]}:
            named.setdefault(text, []).append((row["project_id"], row["graph_id"]))
    keys = dict[tuple[str, str], None]()
    for text in wanted:
        if text not in named:
            close = get_close_matches(text, sorted(named), n=3, cutoff=0.6)
            there = (
                f"did you mean {' or '.join(close)}?"
                if close
                else "`ges-backups report load_health` lists them."
            )
            raise UnknownGraphError(f"The history knows no graph {text!r}; {there}")
        keys.update(dict.fromkeys(named[text]))
    return list(keys)


def _reason(read: Read, selection: Selection) -> str | None:
    """Why there are no rows: what the report has outside of the window, or what it means."""
    if selection.is_window:
        column = time_column(selection.name)
        sql, values = query_of(selection.of_all_time())
        (span,) = read(
            f"SELECT MIN({column}) AS first, MAX({column}) AS last FROM ({sql}) AS whole",
            *values,
        ).to_pylist()
        if span["first"] is not None:
            first, last = (f"{span[end]:%Y-%m-%d}" for end in ("first", "last"))
            return f"the window has none; there are some from {first} to {last}"
    if selection.status is not None:
        return f"no backup has the status {selection.status!r}"
    return why_empty(selection.name)


def _each(texts: str | Iterable[str] | None) -> Iterable[str]:
    if texts is None:
        return ()
    return [texts] if isinstance(texts, str) else texts


def _warehouse(database: Databases | Warehouse) -> Warehouse:
    if isinstance(database, str | Path | Iterable):
        return history_of(database)
    return database
