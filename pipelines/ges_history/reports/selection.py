"""What is asked of a report, checked, as one SELECT that any warehouse can run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ges_history.errors import HistoryError
from ges_history.instants import Instant, parse_instant
from ges_history.reports.catalogue import (
    LISTS,
    column_texts,
    grain_columns,
    order_of,
    report_names,
    time_column,
    worst_first,
)
from ges_history.reports.views import narrowed

MOST_ROWS = 2**31 - 1
"""What each warehouse takes for a limit."""

Keys = Sequence[tuple[str, str]]
"""Graphs: (project_id, graph_id)."""


class SelectionError(HistoryError, ValueError):
    """What was asked of a report makes no sense for it."""


@dataclass(frozen=True)
class Selection:
    """Rows of a report; None and empty stand for all."""

    name: str
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    status: str | None = None
    keys: Keys | None = None
    """Only these graphs."""
    project_ids: Sequence[str] | None = None
    """Only these projects."""

    @property
    def is_window(self) -> bool:
        """Whether it is bounded in time."""
        return self.since is not None or self.until is not None

    def of_all_time(self) -> "Selection":
        """The same without bounds."""
        return replace(self, since=None, until=None, limit=None)


def selection_of(
    name: str,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: int | None = None,
    status: str | None = None,
    with_graphs: bool = False,
) -> Selection:
    """A selection whose parts fit the report and one another.

    Args:
        with_graphs: Whether it will be narrowed to some graphs.

    Raises:
        SelectionError: The message says what does not.
    """
    try:
        since, until = (None if bound is None else parse_instant(bound) for bound in (since, until))
    except ValueError as error:
        raise SelectionError(str(error)) from None
    if since and until and since >= until:
        raise SelectionError(
            f"since ({since:%Y-%m-%d %H:%M}) must be before until ({until:%Y-%m-%d %H:%M})."
        )
    if (since or until) and worst_first(name):
        windowed = ", ".join(report for report in report_names() if not worst_first(report))
        raise SelectionError(
            f"The report {name} is about now and has no window: leave out since and until, or take"
            f" a report over time ({windowed})."
        )
    if with_graphs and "graph_id" not in column_texts(name):
        raise SelectionError(f"The report {name} has no graphs: leave them out, or give projects.")
    if limit is not None and not 0 <= limit <= MOST_ROWS:
        raise SelectionError(f"A limit is a number of rows up to {MOST_ROWS:,}.")
    if status is not None and name not in LISTS:
        raise SelectionError(f"The report {name} has no status; `backups` has.")
    return Selection(name, since, until, limit, status)


def query_of(selection: Selection) -> tuple[str, list[Any]]:
    """The SELECT of a selection, in DuckDB's SQL, and the values for its marks."""
    name = selection.name
    source, values = f"reports.{name}", list[Any]()
    conditions = list[str]()
    if selection.keys is not None:
        keys, marks = _among("(project_id, graph_id)", selection.keys)
        source = narrowed(name, keys)
        conditions.append(keys)
        values += [*marks, *marks]
    if selection.project_ids is not None:
        projects, marks = _among("project_id", [(one,) for one in selection.project_ids])
        conditions.append(projects)
        values += marks
    if selection.status is not None:
        conditions.append("status = ?")
        values.append(selection.status)
    for condition, bound in _window(selection):
        conditions.append(condition)
        values.append(bound)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = f"SELECT * FROM {source}{where}"
    order = order_of(name)
    if selection.limit is not None:
        newest = worst_first(name) or f"{time_column(name)} DESC NULLS LAST"
        ties = ", ".join(grain_columns(name))
        best = f"{rows} ORDER BY {newest}, {ties} LIMIT {selection.limit:d}"
        rows = f"SELECT * FROM ({best}) AS best"
    return f"{rows} ORDER BY {order}", values


def most_wanted(rows: pa.Table, name: str, limit: int) -> pa.Table:
    """So many of a report's rows, the worst or the newest, in the order in which they are shown."""
    if worst_first(name):
        return rows.slice(0, limit)
    newest = pc.sort_indices(rows, [(time_column(name), "descending")])
    return rows.take(newest.slice(0, limit).sort())


def _among(columns: str, rows: Iterable[tuple[str, ...]]) -> tuple[str, list[str]]:
    """A condition that holds for these values of columns, and for none where there are none."""
    rows = list(rows)
    if not rows:
        return "1 = 0", []
    one = "?" if len(rows[0]) == 1 else f"({', '.join('?' for _ in rows[0])})"
    return f"{columns} IN ({', '.join(one for _ in rows)})", [text for row in rows for text in row]


def _window(selection: Selection) -> Iterable[tuple[str, date]]:
    """Conditions that keep what overlaps the window: a period is kept whole."""
    column = time_column(selection.name)
    since, until = selection.since, selection.until
    if column not in ("day", "week", "month"):
        if since is not None:
            yield f"{column} >= ?", since
        if until is not None:
            yield f"{column} < ?", until
        return
    if since is not None:
        yield f"{column} >= ?", _begin(column, since.astimezone(UTC).date())
    if until is not None:
        end = until.astimezone(UTC)
        is_begun = "<" if end.time() == time() else "<="
        yield f"{column} {is_begun} ?", end.date()


def _begin(period: str, day: date) -> date:
    """The first day of the period that a day is in."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day
