"""The fleet at one instant: the rows of the views that screen and page begin with."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
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


class UnknownGraphError(HistoryError, ValueError):
    """The history knows no graph of this id or name."""


class UnknownProjectError(UnknownGraphError):
    """The history knows no project of this name, id or region."""


@dataclass(frozen=True)
class Fleet:
    """The fleet at one instant, as the views have it.

    `projects` are rows of `overview`; `anomalies` are those since a day, the newest first;
    `failed_ever` counts the failed backups of graphs that never had a success; `refused` are the
    projects without a graph at the source whose own listing failed last. Rates are from 0 to 1,
    sizes in MB.
    """

    as_of: datetime
    projects: list[Row]
    recovery: list[Row]
    growth: list[Row]
    running: list[Row]
    health: list[Row]
    anomalies: list[Row]
    failed_ever: dict[Key, int]
    refused: list[Row]

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

    @cached_property
    def listed(self) -> list[Row]:
        """The latest listings of graphs at the source: one that was deleted is none that fails."""
        gone = {
            (row["project_id"], row["graph_id"]) for row in self.recovery if row["graph_deleted_at"]
        }
        return [row for row in self.health if (row["project_id"], row["graph_id"]) not in gone]

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
    """The projects of these names or ids, and of these regions: what every command selects by.

    Args:
        read: The warehouse's, from `Warehouse.reading`.
        projects: Names or ids; empty for all. A name can stand for several.
        regions: As they stand in `ges.projects`; empty for all.

    Raises:
        UnknownProjectError: One of them is not known, or nothing is left; the message says what is.
    """
    names, places = list(projects), list(regions)
    if not names and not places:
        return Scope()
    known = read(
        "SELECT project_id, project_name, region FROM reports.project_names ORDER BY 2, 1"
    ).to_pylist()
    _check_known("project", names, known, "project_name", "project_id")
    _check_known("region", places, known, "region")
    found = [
        row["project_id"]
        for row in known
        if (not names or row["project_name"] in names or row["project_id"] in names)
        and (not places or row["region"] in places)
    ]
    if not found:
        raise UnknownProjectError(
            f"The history knows no project {' or '.join(names)} in {' or '.join(places)}."
        )
    return Scope(found)


def _check_known(what: str, wanted: Iterable[str], rows: list[Row], *columns: str) -> None:
    """Refuse what stands in none of these columns; the first of them is what people call it."""
    there = {str(row[name]) for row in rows for name in columns if row[name] is not None}
    for text in wanted:
        if text not in there:
            close = " or ".join(get_close_matches(text, sorted(there), n=3, cutoff=0.6))
            named = ", ".join(sorted({str(row[columns[0]]) for row in rows}))
            hint = f"did you mean {close}?" if close else f"it holds {named}."
            raise UnknownProjectError(harmless(f"The history knows no {what} {text}; {hint}"))


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
    projects = scope.query(read, _PROJECTS)
    recovery = scope.query(read, ordered.format("recovery_point"))
    has_failures_only = any(not row["successes"] for row in recovery)
    return Fleet(
        as_of=as_of,
        projects=projects,
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
        refused=_refused(read, projects),
    )


def _refused(read: Read, projects: list[Row]) -> list[Row]:
    empty = [row for row in projects if not row["graphs_at_source"]]
    at_once = listed_at_once(read) if empty else {}
    listed = [
        {**row, **at_once[row["project_id"]]} for row in empty if row["project_id"] in at_once
    ]
    return [row for row in listed if row["outcome"] not in HEALTHY]


def listed_at_once(read: Read) -> dict[str, Row]:
    """The projects whose latest listing was of all backups at once, and how that went, by id.

    Columns: `outcome`, `error_code`, `requests`, `known_until` (when it was last listed without an
    error), `stale_hours` since then.
    """
    found: dict[str, Row] = {}
    for row in read(_LISTED_AT_ONCE).to_pylist():
        listed_at, asked_at = row.pop("listed_at"), _asked_at(row.pop("cursor"))
        if asked_at < listed_at.timestamp():  # graphs were not listed by themselves since
            found[row.pop("project_id")] = row
    return found


def _asked_at(cursor: str | None) -> float:
    """When graphs that are listed by themselves last asked what deleted ones have left."""
    try:
        return float(json.loads(cursor or "{}")["deleted_graphs_asked_at"])
    except (ValueError, TypeError, KeyError):
        return 0.0


_PROJECTS = "SELECT * FROM reports.overview WHERE {scope} ORDER BY project_name, project_id"
_LISTED_AT_ONCE = """
WITH latest AS (
    SELECT project_id, MAX(listed_at) AS listed_at
    FROM ges.listings
    GROUP BY project_id
),
at_once AS (
    SELECT w.project_id, w.outcome, w.error_code, COALESCE(w.requests, 0) AS requests, w.listed_at,
        COALESCE(w.last_read_at, w.last_complete_at) AS known_until
    FROM ges.listings AS w
    JOIN latest AS l ON w.project_id = l.project_id AND w.listed_at = l.listed_at
    WHERE w.graph_id = '*'
)
SELECT a.project_id, a.outcome, a.error_code, a.requests, a.listed_at, a.known_until,
    (EPOCH(CURRENT_TIMESTAMP) - EPOCH(a.known_until)) / 3600.0 AS stale_hours, p.cursor
FROM at_once AS a
LEFT JOIN ges.projects AS p ON a.project_id = p.id
"""
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
