-- How old the last successful backup of each graph is, against its own rhythm.
-- Grain: one row per graph ever listed or backed up; nulls where it never had a success.
-- Units: hours, from start to start of successful backups.
-- rpo_age_hours runs to now; usual_gap_hours is the median gap between the last 30 successes;
-- longest_gap_hours is of the gaps that a success ended within the last 90 days (the gap still
-- open is rpo_age_hours). overdue: the age is above twice the usual gap; null without a rhythm.
-- graph_deleted_at is set where the graph itself has left its project.
-- Time: last_success_at
-- Reads: ges.backups, reports.graph_names.
WITH gaps AS (
    SELECT project_id, graph_id, started_at,
        (start_timestamp - LAG(start_timestamp) OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp, id
        )) / 3600000.0 AS gap_hours,
        ROW_NUMBER() OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp DESC, id DESC
        ) AS place
    FROM ges.backups
    WHERE status = 'success'
),
rhythm AS (
    SELECT project_id, graph_id, COUNT(*) AS successes, MAX(started_at) AS last_success_at,
        MEDIAN(CASE WHEN place < 30 THEN gap_hours END) AS usual_gap_hours,
        MAX(
            CASE WHEN started_at > CURRENT_TIMESTAMP - INTERVAL '90' DAY THEN gap_hours END
        ) AS longest_gap_hours
    FROM gaps
    GROUP BY project_id, graph_id
),
aged AS (
    SELECT project_id, graph_id, successes, last_success_at, usual_gap_hours, longest_gap_hours,
        (EPOCH(CURRENT_TIMESTAMP) - EPOCH(last_success_at)) / 3600.0 AS rpo_age_hours
    FROM rhythm
)
SELECT n.project_id, n.graph_id, n.graph_name, a.last_success_at, a.rpo_age_hours,
    a.usual_gap_hours, a.longest_gap_hours, a.rpo_age_hours > 2 * a.usual_gap_hours AS overdue,
    COALESCE(a.successes, 0) AS successes, n.graph_deleted_at
FROM reports.graph_names AS n
LEFT JOIN aged AS a ON n.project_id = a.project_id AND n.graph_id = a.graph_id
