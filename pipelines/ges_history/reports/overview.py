"""The fleet at one instant: the rows of the views that screen and page begin with."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from ges_history.errors import HistoryError
from ges_history.reports.words import harmless
from ges_history.warehouses.seam import Read

Row = dict[str, Any]
Key = tuple[str, str]
"""A graph: (project_id, graph_id)."""

RECENT_DAYS = 7
"""Anomalies and failures of so many days are worth a look."""
HEALTHY = {"complete", "incremental"}
"""Outcomes of listings that went well."""
_SUMS = (
    "graphs",
    "graphs_at_source",
    "attention",
    "overdue",
    "never_succeeded",
    "running",
    "stuck",
    "failed_listings",
    "anomalies_7d",
    "rejected_30d",
    "backups_kept",
    "backups_at_source",
    "stored_mb",
    "added_30d_mb",
    "removed_30d_mb",
    "growth_mb_per_day",
    "projected_30d_mb",
    "projected_90d_mb",
    "succeeded_30d",
    "failed_30d",
)
"""Columns of `overview` that add up over projects."""


class UnknownProjectError(HistoryError, ValueError):
    """The history knows no project of this name, id or region."""


@dataclass(frozen=True)
class Fleet:
    """The fleet at one instant, as the views have it.

    `projects` are rows of `overview`; `anomalies` are those since a day, the newest first;
    `failed_ever` counts the failed backups of graphs that never had a success. Rates are from 0
    to 1, sizes in MB.
    """

    as_of: datetime
    projects: list[Row]
    recovery: list[Row]
    growth: list[Row]
    running: list[Row]
    health: list[Row]
    anomalies: list[Row]
    failed_ever: dict[Key, int]

    @cached_property
    def totals(self) -> Row:
        """The figures of all projects together; `loaded_at` is that of the newest load."""
        totals: Row = {name: sum(row[name] for row in self.projects) for name in _SUMS}
        ended = totals["succeeded_30d"] + totals["failed_30d"]
        newest = max(
            (row for row in self.projects if row["loaded_at"]),
            key=lambda row: row["loaded_at"],
            default={"loaded_at": None, "load_age_hours": None},
        )
        firsts = [row["first_listed_at"] for row in self.projects if row["first_listed_at"]]
        return totals | {
            "success_rate_30d": totals["succeeded_30d"] / ended if ended else None,
            "loaded_at": newest["loaded_at"],
            "load_age_hours": newest["load_age_hours"],
            "complete_since": max(firsts, default=None),
        }

    @property
    def recent_anomalies(self) -> list[Row]:
        """Those of backups that started in the last days."""
        since = self.as_of - timedelta(days=RECENT_DAYS)
        return [row for row in self.anomalies if row["started_at"] > since]

    @property
    def shows_projects(self) -> bool:
        """Whether it has to be said which project something is of."""
        return len(self.projects) > 1


@dataclass(frozen=True)
class Scope:
    """The projects that are looked at: None for all."""

    project_ids: list[str] | None = None

    def query(self, read: Read, sql: str, *values: Any) -> list[Row]:
        """Rows of a SELECT whose `{scope}` is a condition on `project_id`."""
        return list(self.table(read, sql, *values).to_pylist())

    def table(self, read: Read, sql: str, *values: Any) -> Any:
        """The same as an Arrow table; `{scope}` comes after the marks of `values`."""
        if self.project_ids is None:
            return read(sql.format(scope="true"), *values)
        marks = ", ".join("?" for _ in self.project_ids) or "NULL"
        return read(sql.format(scope=f"project_id IN ({marks})"), *values, *self.project_ids)


def scope_of(read: Read, projects: Iterable[str] = (), regions: Iterable[str] = ()) -> Scope:
    """The projects of these names or ids, and of these regions.

    Raises:
        UnknownProjectError: There is none; the message names those that there are.
    """
    wanted, places = set(projects), set(regions)
    if not wanted and not places:
        return Scope()
    known = read("SELECT project_id, project_name, region FROM reports.overview").to_pylist()
    found = [
        row["project_id"]
        for row in known
        if (not wanted or wanted & {row["project_id"], row["project_name"]})
        and (not places or row["region"] in places)
    ]
    missing = wanted - {text for row in known for text in (row["project_id"], row["project_name"])}
    if missing or not found:
        what = ", ".join(sorted(missing or wanted | places))
        names = ", ".join(sorted(harmless(str(row["project_name"])) for row in known))
        raise UnknownProjectError(f"The history knows no project {what}; it holds {names}.")
    return Scope(found)


def read_fleet(read: Read, scope: Scope | None = None, since: date | None = None) -> Fleet:
    """The fleet's rows.

    Args:
        read: The warehouse's, from `Warehouse.reading`.
        scope: Which projects.
        since: Anomalies of backups from this UTC day on; default: of the last 7 days.
    """
    scope = scope or Scope()
    as_of: datetime = read("SELECT CURRENT_TIMESTAMP AS as_of").to_pylist()[0]["as_of"]
    ordered = "SELECT * FROM reports.{} WHERE {{scope}} ORDER BY graph_name, project_id, graph_id"
    recovery = scope.query(read, ordered.format("recovery_point"))
    has_failures_only = any(not row["successes"] for row in recovery)
    return Fleet(
        as_of=as_of,
        projects=scope.query(read, _PROJECTS),
        recovery=recovery,
        growth=scope.query(read, ordered.format("growth")),
        running=scope.query(read, ordered.format("running") + ", started_at"),
        health=scope.query(read, ordered.format("load_health")),
        anomalies=scope.query(read, _RECENT_ANOMALIES)
        if since is None
        else scope.query(read, _ANOMALIES, since),
        failed_ever={
            (row["project_id"], row["graph_id"]): row["failed"]
            for row in (scope.query(read, _FAILED_EVER) if has_failures_only else [])
        },
    )


_PROJECTS = "SELECT * FROM reports.overview WHERE {scope} ORDER BY project_name, project_id"
_NEWEST_FIRST = "ORDER BY started_at DESC, project_id, graph_id, backup_id, kind"
_ANOMALIES = (
    "SELECT * FROM reports.anomalies WHERE started_at >= CAST(? AS TIMESTAMPTZ) AND {scope} "
    + _NEWEST_FIRST
)
_RECENT_ANOMALIES = "SELECT * FROM reports.recent_anomalies WHERE {scope} " + _NEWEST_FIRST
_FAILED_EVER = """
SELECT project_id, graph_id, COUNT(CASE WHEN status = 'failed' THEN 1 END) AS failed
FROM ges.backups WHERE {scope} GROUP BY project_id, graph_id
HAVING COUNT(CASE WHEN status = 'success' THEN 1 END) = 0
"""
