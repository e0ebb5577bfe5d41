"""What is known of each graph, as far as a policy or a metric asks: read from the views in one go.

The SQL is DuckDB's, plain enough to run transpiled on PostgreSQL. Instants are UTC; the figures of
a graph are as of `known_until`, the time when it was last listed without an error.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ges_history.warehouses.seam import Read

RECENT_SIZES, EARLIER_SIZES = 3, 30
"""A lasting change is that of the median of so many last sizes from that of those before."""

GRAPHS = """
SELECT r.project_id, r.graph_id, r.graph_name, r.graph_deleted_at AS left_at,
    r.last_success_at, r.usual_gap_hours, r.successes, h.outcome, h.error_code, h.listed_at,
    COALESCE(h.requests, 0) AS requests,
    CASE
        WHEN h.outcome IN ('complete', 'incremental') THEN h.listed_at
        ELSE h.last_complete_at
    END AS known_until,
    h.stale_hours
FROM reports.recovery_point AS r
LEFT JOIN reports.load_health AS h ON r.project_id = h.project_id AND r.graph_id = h.graph_id
ORDER BY r.project_id, r.graph_id
"""

BACKUPS = """
WITH known AS (
    SELECT project_id, graph_id,
        CASE WHEN outcome IN ('complete', 'incremental') THEN listed_at ELSE last_complete_at END
            - INTERVAL '30' DAY AS since
    FROM ges.listings
)
SELECT b.project_id, b.graph_id, COUNT(*) AS backups_kept,
    COUNT(CASE WHEN b.deleted_at IS NULL THEN 1 END) AS source_backups,
    CAST(COALESCE(SUM(CASE WHEN b.deleted_at IS NULL THEN b.size END), 0) AS BIGINT) AS source_mb,
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
    MAX(elapsed_s) AS running_s
FROM reports.running
GROUP BY project_id, graph_id
"""

SIZES = f"""
WITH sizes AS (
    SELECT project_id, graph_id, size,
        ROW_NUMBER() OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp DESC, id DESC
        ) AS place
    FROM ges.backups
    WHERE status = 'success' AND size IS NOT NULL
)
SELECT project_id, graph_id, COUNT(*) AS sizes,
    MEDIAN(CASE WHEN place <= {RECENT_SIZES} THEN size END) AS recent_mb,
    MEDIAN(CASE WHEN place > {RECENT_SIZES} THEN size END) AS earlier_mb
FROM sizes
WHERE place <= {RECENT_SIZES + EARLIER_SIZES}
GROUP BY project_id, graph_id
"""  # noqa: S608 - two whole numbers of ours

ANOMALIES = """
SELECT project_id, graph_id, COUNT(*) AS anomalies
FROM reports.anomalies
WHERE started_at > CURRENT_TIMESTAMP - INTERVAL '7' DAY
GROUP BY project_id, graph_id
"""

REJECTED = """
SELECT project_id, graph_id, COUNT(*) AS rejected_30d
FROM ges.rejected_backups
WHERE first_seen_at > CURRENT_TIMESTAMP - INTERVAL '30' DAY
GROUP BY project_id, graph_id
"""

PROJECTS = """
SELECT id AS project_id, name, region, last_listed_at,
    (EPOCH(CURRENT_TIMESTAMP) - EPOCH(last_listed_at)) / 3600.0 AS stale_hours
FROM ges.projects
"""

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'ges'"

SOME = frozenset({"sizes", "anomalies"})
"""Parts that cost most; the rest is always read."""


@dataclass(frozen=True)
class Graph:
    """What is known of a graph; sizes in MB, instants UTC, None where it is not known.

    Attributes:
        left_at: When the graph was first missing in its project's list.
        known_until: When it was last listed without an error.
        outcome: Of its latest listing.
        stale_hours: Since `known_until`.
        usual_gap_hours: The median of the last gaps between successes.
        source_...: Of the backups that are still at the source; `source_plain` are successes
            that are not encrypted, `source_unsaid` those of which the API does not say it.
        ..._30d: Of the 30 days before `known_until`.
        ended_...: Of the newest backup that has ended; `last_...`: of the newest success.
        running_s: How long the longest backup in progress has been running.
        recent_mb, earlier_mb: Medians of the last sizes and of those before; `sizes` are there.
    """

    project_id: str
    project_name: str
    graph_id: str
    graph_name: str
    left_at: datetime | None = None
    known_until: datetime | None = None
    listed_at: datetime | None = None
    outcome: str | None = None
    error_code: str | None = None
    requests: int = 0
    stale_hours: float | None = None
    last_success_at: datetime | None = None
    usual_gap_hours: float | None = None
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
    running_s: int | None = None
    sizes: int = 0
    recent_mb: float | None = None
    earlier_mb: float | None = None
    anomalies: int = 0
    rejected_30d: int = 0


@dataclass(frozen=True)
class Project:
    """A project that was listed; `rejected_30d` are records that name none of its graphs."""

    project_id: str
    name: str
    region: str | None
    last_listed_at: datetime | None
    stale_hours: float | None
    rejected_30d: int = 0


@dataclass(frozen=True)
class Facts:
    """What is known of a history: its graphs, ordered by project and id, and its projects."""

    graphs: tuple[Graph, ...]
    projects: tuple[Project, ...]


def read_facts(read: Read, parts: Collection[str] = SOME) -> Facts:
    """Read what is known of every graph.

    Args:
        read: Of a warehouse's `reading()`.
        parts: Which of `SOME` to read, too.
    """
    tables = {row["table_name"] for row in _rows(read, TABLES)}
    projects = _projects(read) if "projects" in tables else {}
    graphs = dict(_keyed(read, GRAPHS))
    queries = [BACKUPS, RUNNING]
    if "sizes" in parts:
        queries.append(SIZES)
    if "anomalies" in parts:
        queries.append(ANOMALIES)
    for sql in queries:
        for key, row in _keyed(read, sql):
            graphs[key].update(row)
    for key, row in _keyed(read, NEWEST.format(statuses="'success', 'failed'")):
        graphs[key].update(ended_status=row["status"], ended_s=row["duration"])
    for key, row in _keyed(read, NEWEST.format(statuses="'success'")):
        graphs[key].update(last_mb=row["size"], last_s=row["duration"])
    strays: dict[str, int] = defaultdict(int)
    for key, row in _keyed(read, REJECTED) if "rejected_backups" in tables else ():
        if key in graphs:
            graphs[key].update(row)
        else:
            strays[key[0]] += row["rejected_30d"]
    return _facts(graphs, projects, strays)


def _facts(
    graphs: dict[tuple[str, str], dict[str, Any]],
    projects: dict[str, dict[str, Any]],
    strays: dict[str, int],
) -> Facts:
    listed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (project_id, _), row in graphs.items():
        listed[project_id].append(row)
    for project_id in listed.keys() | strays.keys():
        projects.setdefault(project_id, {"region": None})
    for project_id, row in projects.items():
        own = listed[project_id]
        row.setdefault("last_listed_at", _newest(graph["listed_at"] for graph in own))
        known = [g["stale_hours"] for g in own if g["stale_hours"] is not None]
        row.setdefault("stale_hours", min(known, default=None))
        row["name"] = row.get("name") or project_id
    named = [
        Graph(**row, project_name=projects[project_id]["name"])
        for (project_id, _), row in graphs.items()
    ]
    return Facts(
        tuple(named),
        tuple(
            Project(**{"project_id": key, **row}, rejected_30d=strays.get(key, 0))
            for key, row in sorted(projects.items())
        ),
    )


def _newest(instants: Iterator[datetime | None]) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)


def _projects(read: Read) -> dict[str, dict[str, Any]]:
    return {row["project_id"]: row for row in _rows(read, PROJECTS)}


def _keyed(read: Read, sql: str) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for row in _rows(read, sql):
        yield (row["project_id"], row["graph_id"]), row


def _rows(read: Read, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read(sql).to_pylist()
    return rows
