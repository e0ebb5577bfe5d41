"""What the page shows, read from the views in one go.

Rows are aggregated in the warehouse: what comes here is by graph and day, never by backup.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from ges_history.reports.overview import Fleet, Key, Row, Scope, read_fleet
from ges_history.reports.page.adherence import Adherence, read_adherence
from ges_history.reports.page.days import read_days
from ges_history.reports.page.stored import Stored, read_stored
from ges_history.warehouses.seam import Read

POINT_BUDGET = 150_000
"""Days times graphs that the page carries, which keeps its size to a few MB."""
FEWEST_WEEKS, MOST_WEEKS = 13, 104


@dataclass(frozen=True)
class Contents:
    """The rows of the views, with the moment at which they were read.

    `sizes`, `durations` and `outcomes` are one row a graph, with a list for each column; they
    begin with the Monday `first_day`. The other lists are the views' rows, ordered.
    """

    first_day: date
    weeks: int
    fleet: Fleet
    stored: Stored
    inventory: list[Row]
    reliability: list[Row]
    sizes: dict[Key, Row]
    durations: dict[Key, Row]
    outcomes: dict[Key, Row]
    adherence: dict[Key, Adherence]


def window_weeks(graphs: int) -> int:
    """How many weeks of days the page carries: fewer where there are many graphs."""
    return min(max(POINT_BUDGET // (7 * max(graphs, 1)), FEWEST_WEEKS), MOST_WEEKS)


def read_contents(
    read: Read, scope: Scope | None = None, targets: Mapping[Key, float] | None = None
) -> Contents:
    """Read all that the page shows.

    Args:
        read: The warehouse's, from `Warehouse.reading`.
        scope: Which projects; default: all.
        targets: {graph: hours}, recovery point objectives; a graph without one is held to twice
            its usual gap.
    """
    scope = scope or Scope()
    counted = read("SELECT COUNT(*) AS graphs, CURRENT_DATE AS today FROM reports.graph_names")
    (about,) = counted.to_pylist()
    weeks, today = window_weeks(about["graphs"]), about["today"]
    first_day = today - timedelta(days=today.weekday(), weeks=weeks - 1)
    fleet = read_fleet(read, scope, since=first_day)
    return Contents(
        first_day=first_day,
        weeks=weeks,
        fleet=fleet,
        stored=read_stored(read, scope, fleet, first_day),
        inventory=scope.query(read, _VIEW.format("inventory") + ", backup_method"),
        reliability=scope.query(read, _MONTHS, first_day.replace(day=1)),
        sizes=read_days(read, scope, _SIZES, first_day),
        durations=read_days(read, scope, _DURATIONS, first_day),
        outcomes=read_days(read, scope, _OUTCOMES, first_day),
        adherence=read_adherence(read, scope, fleet, first_day, targets or {}),
    )


_VIEW = "SELECT * FROM reports.{} WHERE {{scope}} ORDER BY graph_name, project_id, graph_id"
_MONTHS = """
SELECT * FROM reports.reliability WHERE month >= ? AND {scope}
ORDER BY graph_name, project_id, graph_id, month
"""
_SIZES = """
SELECT project_id, graph_id, day, size_mb, CAST(avg_7d_mb AS DOUBLE) AS avg_7d_mb
FROM reports.size_trend
WHERE day >= ? AND size_mb IS NOT NULL AND {scope}
ORDER BY project_id, graph_id, day
"""
_DURATIONS = """
SELECT project_id, graph_id, week AS day, CAST(p50_duration_s AS DOUBLE) AS p50_duration_s,
    CAST(p95_duration_s AS DOUBLE) AS p95_duration_s, mb_per_s, is_partial
FROM reports.duration_trend
WHERE week >= ? AND p50_duration_s IS NOT NULL AND {scope}
ORDER BY project_id, graph_id, week
"""
# No view counts failures by day, and the calendar needs nothing more than this count.
_OUTCOMES = """
SELECT project_id, graph_id, CAST(started_at AT TIME ZONE 'UTC' AS DATE) AS day,
    COUNT(CASE WHEN status = 'success' THEN 1 END) AS succeeded,
    COUNT(CASE WHEN status = 'failed' THEN 1 END) AS failed
FROM ges.backups
WHERE CAST(started_at AT TIME ZONE 'UTC' AS DATE) >= ? AND status IN ('success', 'failed')
    AND {scope}
GROUP BY project_id, graph_id, CAST(started_at AT TIME ZONE 'UTC' AS DATE)
ORDER BY project_id, graph_id, day
"""
