"""The figures of the whole fleet, for the first screen and the head of the page."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

HEADLINE = """
WITH now AS (SELECT now() AS moment),
backups AS (
    SELECT count(*) AS backups_kept,
        count(*) FILTER (deleted_at IS NULL) AS backups_at_source,
        coalesce(sum(size) FILTER (deleted_at IS NULL), 0)::BIGINT AS stored_mb,
        count(*) FILTER (status = 'success' AND started_at > moment - INTERVAL 30 DAY) AS succeeded,
        count(*) FILTER (status = 'failed' AND started_at > moment - INTERVAL 30 DAY) AS failed
    FROM ges.backups, now
),
graphs AS (
    SELECT count(*) AS graphs, count(*) FILTER (graph_deleted_at IS NULL) AS graphs_at_source
    FROM reports.graph_names
),
growth AS (
    SELECT sum(mb_per_day) AS growth_mb_per_day
    FROM reports.growth SEMI JOIN (FROM reports.graph_names WHERE graph_deleted_at IS NULL) AS n
        USING (project_id, graph_id)
),
load AS (
    SELECT max(listed_at) AS loaded_at,
        (epoch(now()) - epoch(max(listed_at))) / 3600 AS load_age_hours
    FROM ges.listings
)
SELECT graphs, graphs_at_source, backups_kept, backups_at_source, stored_mb, growth_mb_per_day,
    succeeded / nullif(succeeded + failed, 0) AS success_rate_30d, loaded_at, load_age_hours
FROM backups, graphs, growth, load
"""

ATTENTION = {
    "overdue": """
        SELECT graph_name, graph_id, rpo_age_hours, usual_gap_hours, last_success_at
        FROM reports.recovery_point WHERE overdue AND graph_deleted_at IS NULL
        ORDER BY rpo_age_hours / nullif(usual_gap_hours, 0) DESC""",
    "never_succeeded": """
        SELECT graph_name, graph_id FROM reports.recovery_point
        WHERE successes = 0 AND graph_deleted_at IS NULL ORDER BY graph_name, graph_id""",
    "running": """
        SELECT graph_name, graph_id, started_at, elapsed_s, p95_duration_s, stuck
        FROM reports.running ORDER BY stuck DESC NULLS LAST, elapsed_s DESC""",
    "anomalies": """
        SELECT graph_name, graph_id, started_at, kind, value, expected, deviation
        FROM reports.anomalies WHERE started_at > now() - INTERVAL 7 DAY
        ORDER BY abs(deviation) DESC""",
    "failed_listings": """
        SELECT graph_name, graph_id, outcome, error_code, stale_hours, listed_at
        FROM reports.load_health WHERE outcome NOT IN ('complete', 'incremental')
        ORDER BY stale_hours DESC NULLS FIRST""",
}


@dataclass(frozen=True)
class Fleet:
    """The fleet at one instant: figures, and what wants attention, the worst first.

    Rates are from 0 to 1, sizes in MB, instants UTC; None where there is nothing to say.
    `rejected_30d` counts records that did not fit, first seen in the last 30 days.
    `overdue` and `never_succeeded` leave out graphs that are gone from their project;
    `anomalies` are of backups started in the last 7 days.
    """

    graphs: int
    graphs_at_source: int
    backups_kept: int
    backups_at_source: int
    stored_mb: int
    growth_mb_per_day: float | None
    success_rate_30d: float | None
    loaded_at: Any
    load_age_hours: float | None
    rejected_30d: int
    overdue: "pa.Table"
    never_succeeded: "pa.Table"
    running: "pa.Table"
    anomalies: "pa.Table"
    failed_listings: "pa.Table"


def read_fleet(connection: "duckdb.DuckDBPyConnection") -> Fleet:
    """The fleet's figures, from a connection that `connect` made."""
    (headline,) = connection.sql(HEADLINE).to_arrow_table().to_pylist()
    attention = {name: connection.sql(sql).to_arrow_table() for name, sql in ATTENTION.items()}
    return Fleet(**headline, rejected_30d=_rejected(connection), **attention)


def _rejected(connection: "duckdb.DuckDBPyConnection") -> int:
    """Records that were rejected in the last 30 days; their table is made with the first of them."""
    tables = connection.execute("SELECT view_name FROM duckdb_views() WHERE schema_name = 'ges'")
    if ("rejected_backups",) not in tables.fetchall():
        return 0
    rows = connection.execute(
        "SELECT count(*) FROM ges.rejected_backups WHERE first_seen_at > now() - INTERVAL 30 DAY"
    ).fetchall()
    return int(rows[0][0])
