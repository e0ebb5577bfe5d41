"""What the page shows, read from the views in one go; the database is then given back.

Everything is read in one transaction, so that all figures are of the same moment.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.reports.overview import HEADLINE
from ges_history.warehouses.opening import connect

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
Key = tuple[str, str]
"""A graph: (project_id, graph_id)."""

POINT_BUDGET = 180_000
"""Days times graphs that the page carries, which keeps its size to a few MB."""
FEWEST_WEEKS, MOST_WEEKS = 13, 104


@dataclass(frozen=True)
class Contents:
    """The rows of the views, with the moment at which they were read.

    `sizes`, `durations` and `outcomes` are one row a graph, with a list for each column; they
    begin with the Monday `first_day`. The other lists are the views' rows, ordered.
    """

    as_of: datetime
    first_day: date
    weeks: int
    fleet: Row
    """The figures of the whole fleet, as `ges-backups report` shows them."""
    recovery: list[Row]
    growth: list[Row]
    inventory: list[Row]
    reliability: list[Row]
    running: list[Row]
    health: list[Row]
    anomalies: list[Row]
    sizes: dict[Key, Row]
    durations: dict[Key, Row]
    outcomes: dict[Key, Row]


def read_contents(database: Path) -> Contents:
    """Read all that the page shows.

    Raises:
        DatabaseError: the database cannot be read.
    """
    connection = connect(database)
    try:
        connection.execute("BEGIN")
        return _read(connection)
    finally:
        connection.close()


def window_weeks(graphs: int) -> int:
    """How many weeks of days the page carries: fewer where there are many graphs."""
    return min(max(POINT_BUDGET // (7 * max(graphs, 1)), FEWEST_WEEKS), MOST_WEEKS)


def _read(connection: "duckdb.DuckDBPyConnection") -> Contents:
    as_of: datetime = _rows(connection, "SELECT CURRENT_TIMESTAMP AS now")[0]["now"]
    recovery = _rows(connection, f"{_VIEW.format('recovery_point')}")
    weeks = window_weeks(len(recovery))
    today = as_of.date()
    first_day = today - timedelta(days=today.weekday(), weeks=weeks - 1)
    since = f"DATE '{first_day}'"
    return Contents(
        as_of=as_of,
        first_day=first_day,
        weeks=weeks,
        fleet=_rows(connection, HEADLINE)[0],
        recovery=recovery,
        growth=_rows(connection, _VIEW.format("growth")),
        inventory=_rows(connection, f"{_VIEW.format('inventory')}, backup_method"),
        reliability=_rows(connection, f"{_VIEW.format('reliability')}, month"),
        running=_rows(connection, f"{_VIEW.format('running')}, started_at"),
        health=_rows(connection, _VIEW.format("load_health")),
        anomalies=_rows(connection, _ANOMALIES.format(since=since)),
        sizes=_by_graph(connection, _SIZES.format(since=since)),
        durations=_by_graph(connection, _DURATIONS.format(since=since)),
        outcomes=_by_graph(connection, _OUTCOMES.format(since=since)),
    )


def _rows(connection: "duckdb.DuckDBPyConnection", sql: str) -> list[Row]:
    rows: list[Row] = connection.sql(sql).to_arrow_table().to_pylist()
    return rows


def _by_graph(connection: "duckdb.DuckDBPyConnection", sql: str) -> dict[Key, Row]:
    return {(row["project_id"], row["graph_id"]): row for row in _rows(connection, sql)}


_VIEW = "FROM reports.{} ORDER BY graph_name, project_id, graph_id"

_ANOMALIES = """
FROM reports.anomalies WHERE started_at >= {since}
ORDER BY started_at DESC, project_id, graph_id, backup_id, kind
"""

_SIZES = """
SELECT project_id, graph_id,
    LIST(DATE_DIFF('day', DATE '1970-01-01', day) ORDER BY day) AS day,
    LIST(size_mb ORDER BY day) AS size_mb,
    LIST(avg_7d_mb ORDER BY day) AS avg_7d_mb
FROM reports.size_trend
WHERE day >= {since} AND size_mb IS NOT NULL
GROUP BY project_id, graph_id
"""

_DURATIONS = """
SELECT project_id, graph_id,
    LIST(DATE_DIFF('day', DATE '1970-01-01', week) ORDER BY week) AS day,
    LIST(p50_duration_s ORDER BY week) AS p50_duration_s,
    LIST(p95_duration_s ORDER BY week) AS p95_duration_s,
    LIST(mb_per_s ORDER BY week) AS mb_per_s
FROM reports.duration_trend
WHERE week >= {since} AND p50_duration_s IS NOT NULL
GROUP BY project_id, graph_id
"""

# No view counts failures by day, and the calendar needs nothing more than this count.
_OUTCOMES = """
WITH daily AS (
    SELECT project_id, graph_id,
        DATE_DIFF('day', DATE '1970-01-01', CAST(started_at AT TIME ZONE 'UTC' AS DATE)) AS day,
        COUNT(CASE WHEN status = 'success' THEN 1 END) AS succeeded,
        COUNT(CASE WHEN status = 'failed' THEN 1 END) AS failed
    FROM ges.backups
    WHERE started_at >= {since} AND status IN ('success', 'failed')
    GROUP BY ALL
)
SELECT project_id, graph_id, LIST(day ORDER BY day) AS day,
    LIST(succeeded ORDER BY day) AS succeeded, LIST(failed ORDER BY day) AS failed
FROM daily
GROUP BY project_id, graph_id
"""
