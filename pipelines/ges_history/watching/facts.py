"""What is known of each graph, as far as a policy or a metric asks: read from the views in one go.

The SQL is DuckDB's, plain enough to run transpiled on PostgreSQL. Instants are UTC; the figures of
a graph are as of `known_until`, the time when it was last listed without an error.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from ges_history.reports.overview import Scope, listed_at_once
from ges_history.warehouses.seam import Read

RECENT_SIZES, EARLIER_SIZES = 3, 30
"""A lasting change is that of the median of so many last sizes from that of those before."""

FEWEST_STALE_HOURS, MOST_STALE_HOURS = 6.0, 48.0

GRAPHS = """
SELECT r.project_id, r.project_name, r.graph_id, r.graph_name, r.graph_deleted_at AS left_at,
    r.known_until, r.last_success_at, r.usual_gap_hours, r.age_when_known_hours AS age_hours,
    r.overdue, r.overdue_after_hours, h.outcome, h.error_code, COALESCE(h.requests, 0) AS requests,
    CASE
        WHEN h.graph_id IS NULL
            THEN (EPOCH(CURRENT_TIMESTAMP) - EPOCH(n.loaded_at)) / 3600.0
        ELSE h.stale_hours
    END AS stale_hours
FROM reports.recovery_point AS r
JOIN reports.graph_names AS n ON r.project_id = n.project_id AND r.graph_id = n.graph_id
LEFT JOIN reports.load_health AS h ON r.project_id = h.project_id AND r.graph_id = h.graph_id
ORDER BY r.project_id, r.graph_id
"""

BACKUPS = """
WITH known AS (
    SELECT project_id, graph_id, known_until - INTERVAL '30' DAY AS since
    FROM reports.graph_names
)
SELECT b.project_id, b.graph_id, COUNT(*) AS backups_kept,
    COUNT(CASE WHEN b.status = 'success' THEN 1 END) AS successes,
    COUNT(CASE WHEN b.deleted_at IS NULL THEN 1 END) AS source_backups,
    CAST(LEAST(
        COALESCE(SUM(CASE WHEN b.deleted_at IS NULL THEN CAST(b.size AS DECIMAL(28, 0)) END), 0),
        9223372036854775807
    ) AS BIGINT) AS source_mb,
    COUNT(CASE WHEN b.deleted_at IS NULL AND b.status = 'success' THEN 1 END) AS source_successes,
    MIN(CASE WHEN b.deleted_at IS NULL THEN b.started_at END) AS source_oldest_at,
    COUNT(
        CASE WHEN b.deleted_at IS NULL AND b.status = 'success' AND NOT b.encrypted THEN 1 END
    ) AS source_plain,
    COUNT(
        CASE WHEN b.deleted_at IS NULL AND b.status = 'success' AND b.encrypted IS NULL THEN 1 END
    ) AS source_unsaid,
    COUNT(CASE WHEN b.status = 'success' AND b.started_at > k.since THEN 1 END) AS succeeded_30d,
    COUNT(CASE WHEN b.status = 'failed' AND b.started_at > k.since THEN 1 END) AS failed_30d
FROM ges.backups AS b
LEFT JOIN known AS k ON b.project_id = k.project_id AND b.graph_id = k.graph_id
GROUP BY b.project_id, b.graph_id
"""

NEWEST = """
WITH newest AS (
    SELECT project_id, graph_id, MAX(start_timestamp) AS start_timestamp
    FROM ges.backups
    WHERE status IN ({statuses})
    GROUP BY project_id, graph_id
),
ranked AS (
    SELECT b.project_id, b.graph_id, b.status, b.size, b.duration,
        ROW_NUMBER() OVER (PARTITION BY b.project_id, b.graph_id ORDER BY b.id DESC) AS place
    FROM newest AS n
    JOIN ges.backups AS b
        ON n.project_id = b.project_id AND n.graph_id = b.graph_id
        AND n.start_timestamp = b.start_timestamp
    WHERE b.status IN ({statuses})
)
SELECT project_id, graph_id, status, size, duration FROM ranked WHERE place = 1
"""

RUNNING = """
SELECT project_id, graph_id, COUNT(*) AS running, COUNT(CASE WHEN stuck THEN 1 END) AS stuck,
    MIN(started_at) AS running_since
FROM reports.running
GROUP BY project_id, graph_id
"""

SIZES = f"""
WITH sizes AS (
    SELECT project_id, graph_id, size,
        ROW_NUMBER() OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp DESC, id DESC
        ) AS place
    FROM reports.recent_successes
    WHERE size IS NOT NULL
)
SELECT project_id, graph_id, COUNT(*) AS sizes,
    MEDIAN(CASE WHEN place <= {RECENT_SIZES} THEN size END) AS recent_mb,
    MEDIAN(CASE WHEN place > {RECENT_SIZES} THEN size END) AS earlier_mb
FROM sizes
WHERE place <= {RECENT_SIZES + EARLIER_SIZES}
GROUP BY project_id, graph_id
"""

ANOMALIES = """
SELECT project_id, graph_id, COUNT(*) AS anomalies
FROM reports.recent_anomalies
GROUP BY project_id, graph_id
"""

REJECTED = """
SELECT project_id, graph_id, COUNT(*) AS rejected_30d
FROM ges.rejected_backups
WHERE first_seen_at > CURRENT_TIMESTAMP - INTERVAL '30' DAY
GROUP BY project_id, graph_id
"""

PROJECTS = """
WITH loads AS (
    SELECT project_id, MAX(project_name) AS name, MAX(region) AS region,
        MAX(loaded_at) AS loaded_at
    FROM reports.graph_names
    GROUP BY project_id
    UNION ALL
    SELECT id AS project_id, COALESCE(name, id) AS name, region, last_listed_at AS loaded_at
    FROM ges.projects
)
SELECT project_id, MAX(name) AS name, MAX(region) AS region, MAX(loaded_at) AS loaded_at,
    (EPOCH(CURRENT_TIMESTAMP) - EPOCH(MAX(loaded_at))) / 3600.0 AS load_age_hours
FROM loads
GROUP BY project_id
ORDER BY project_id
"""

SOME = frozenset({"sizes", "anomalies"})
"""Parts that cost most; the rest is always read."""


@dataclass(frozen=True)
class Graph:
    """What is known of a graph; sizes in MB, instants UTC, None where it is not known.

    Attributes:
        left_at: When a listing first found the graph missing.
        known_until: When it was last listed without an error, or its newest backup started (see
            `reports.graph_names`).
        stale_hours: The time since the former, as `reports.load_health` has it; of a graph that was
            never asked for, since its project was last listed.
        outcome: Of its latest listing.
        age_hours: Of the last success at `known_until`.
        usual_gap_hours: The median of the last gaps between successes.
        overdue, overdue_after_hours: See `reports.recovery_point`.
        source_...: Of the backups that are still at the source; `source_plain` are successes
            that are not encrypted, `source_unsaid` those of which the API does not say it.
        ..._30d: Of the 30 days before `known_until`.
        ended_...: Of the newest backup that has ended; `last_...`: of the newest success.
        running_since: When the oldest backup in progress started.
        recent_mb, earlier_mb: Medians of the last sizes and of those before; `sizes` are there.
    """

    project_id: str
    project_name: str
    graph_id: str
    graph_name: str
    left_at: datetime | None = None
    known_until: datetime | None = None
    outcome: str | None = None
    error_code: str | None = None
    requests: int = 0
    stale_hours: float | None = None
    last_success_at: datetime | None = None
    age_hours: float | None = None
    usual_gap_hours: float | None = None
    overdue: bool | None = None
    overdue_after_hours: float | None = None
    successes: int = 0
    backups_kept: int = 0
    source_backups: int = 0
    source_mb: int = 0
    source_successes: int = 0
    source_oldest_at: datetime | None = None
    source_plain: int = 0
    source_unsaid: int = 0
    succeeded_30d: int = 0
    failed_30d: int = 0
    ended_status: str | None = None
    ended_s: int | None = None
    last_mb: int | None = None
    last_s: int | None = None
    running: int = 0
    stuck: int = 0
    running_since: datetime | None = None
    sizes: int = 0
    recent_mb: float | None = None
    earlier_mb: float | None = None
    anomalies: int = 0
    rejected_30d: int = 0


@dataclass(frozen=True)
class LastLoad:
    """What a load that has just ended knows of itself, and the history does not keep.

    Attributes:
        error: Why nothing of its project could be loaded; None where anything could.
    """

    name: str
    seconds: float
    requests: int
    exit_code: int
    error: str | None = None


@dataclass(frozen=True)
class Project:
    """A project that was listed, or that a load was to list.

    Attributes:
        loaded_at: When it was last listed, whatever came of it.
        known_until: When it was last listed without an error; `stale_hours`: the time since then.
        stale_after_hours: How old a load may become, by the rhythm of the project's backups; that
            of `reports.overview`, which costs a second and more for the rest of its figures.
        rejected_30d: Records that name none of its graphs.
        outcome: Of its latest listing, where that was of the whole project; `requests`: what it took.
        load: The load that has just ended; None where this is not asked by one.
    """

    project_id: str
    name: str
    region: str | None = None
    loaded_at: datetime | None = None
    load_age_hours: float | None = None
    stale_after_hours: float = MOST_STALE_HOURS
    known_until: datetime | None = None
    stale_hours: float | None = None
    rejected_30d: int = 0
    outcome: str | None = None
    error_code: str | None = None
    requests: int = 0
    load: LastLoad | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a history: its graphs, ordered by project and id, and its projects."""

    graphs: tuple[Graph, ...]
    projects: tuple[Project, ...]

    def only(self, scope: Scope) -> "Facts":
        """Those of some projects."""
        if scope.project_ids is None:
            return self
        ids = set(scope.project_ids)
        return Facts(
            tuple(graph for graph in self.graphs if graph.project_id in ids),
            tuple(project for project in self.projects if project.project_id in ids),
        )

    def after(self, loads: Mapping[str, LastLoad]) -> "Facts":
        """With what loads that have just ended tell: {project_id: load}.

        A project of which nothing was ever loaded is known by its load alone.
        """
        known = {project.project_id for project in self.projects}
        projects = [replace(one, load=loads.get(one.project_id)) for one in self.projects]
        projects += [
            Project(project_id, load.name, load=load)
            for project_id, load in loads.items()
            if project_id not in known
        ]
        return Facts(self.graphs, tuple(projects))


def read_facts(read: Read, parts: Collection[str] = SOME) -> Facts:
    """Read what is known of every graph.

    Args:
        read: Of a warehouse's `reading()`.
        parts: Which of `SOME` to read, too.
    """
    graphs = dict(_keyed(read, GRAPHS))
    costly = {"sizes": SIZES, "anomalies": ANOMALIES}
    for sql in (BACKUPS, RUNNING, *(costly[part] for part in sorted(parts))):
        for key, row in _keyed(read, sql):
            graphs[key].update(row)
    for key, row in _keyed(read, NEWEST.format(statuses="'success', 'failed'")):
        graphs[key].update(ended_status=row["status"], ended_s=row["duration"])
    for key, row in _keyed(read, NEWEST.format(statuses="'success'")):
        graphs[key].update(last_mb=row["size"], last_s=row["duration"])
    strays: Counter[str] = Counter()
    for key, row in _keyed(read, REJECTED):
        if key in graphs:
            graphs[key].update(row)
        else:
            strays[key[0]] += row["rejected_30d"]
    rhythms: dict[str, list[float]] = defaultdict(list)
    for (project_id, _), row in graphs.items():
        if row["usual_gap_hours"] is not None:
            rhythms[project_id].append(row["usual_gap_hours"])
    at_once = listed_at_once(read)
    projects = [
        Project(
            **row,
            **at_once.get(
                row["project_id"],
                {"known_until": row["loaded_at"], "stale_hours": row["load_age_hours"]},
            ),
            stale_after_hours=_stale_after(rhythms[row["project_id"]]),
            rejected_30d=strays[row["project_id"]],
        )
        for row in read(PROJECTS).to_pylist()
    ]
    return Facts(tuple(Graph(**row) for row in graphs.values()), tuple(projects))


def _stale_after(rhythms: list[float]) -> float:
    """Twice the usual gap of a project's graphs, within bounds."""
    if not rhythms:
        return MOST_STALE_HOURS
    return min(max(2 * median(rhythms), FEWEST_STALE_HOURS), MOST_STALE_HOURS)


def _keyed(read: Read, sql: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for row in read(sql).to_pylist():
        yield (row["project_id"], row["graph_id"]), row
