-- Backups in progress, and those that seem stuck.
-- Grain: one row per backup whose status is backing_up and that is still at the source.
-- Units: seconds. elapsed_s runs to now; p95_duration_s is over all successes of the graph.
-- stuck: when the graph was last listed without an error, it had run for more than three times
-- that, so that a load that does not run is no stuck backup; null where the graph never had a
-- success.
-- Columns:
--   backup_id: ID of the backup.
--   started_at [UTC]: Its start.
--   elapsed_s [s]: Time since then.
--   p95_duration_s [s]: What 95 % of the graph's successes took at most.
--   stuck: Whether it had taken more than three times that when its graph was last listed.
-- Key: project_id, graph_id, backup_id
-- Time: started_at
-- Now: stuck DESC NULLS LAST, elapsed_s DESC
-- Empty: no backup is in progress
-- Reads: ges.backups, reports.graph_names.
WITH unfinished AS (
    SELECT project_id, graph_id, id, started_at, start_timestamp,
        CAST(EPOCH(CURRENT_TIMESTAMP) - start_timestamp / 1000.0 AS BIGINT) AS elapsed_s
    FROM ges.backups
    WHERE status = 'backing_up' AND deleted_at IS NULL
),
usual AS (
    SELECT b.project_id, b.graph_id, QUANTILE_CONT(b.duration, 0.95) AS p95_duration_s
    FROM ges.backups AS b
    JOIN (SELECT DISTINCT project_id, graph_id FROM unfinished) AS u
        ON b.project_id = u.project_id AND b.graph_id = u.graph_id
    WHERE b.status = 'success'
    GROUP BY b.project_id, b.graph_id
)
SELECT u.project_id, u.graph_id, n.graph_name, n.project_name, u.id AS backup_id, u.started_at,
    u.elapsed_s, p.p95_duration_s,
    EPOCH(n.known_until) - u.start_timestamp / 1000.0 > 3 * p.p95_duration_s AS stuck
FROM unfinished AS u
JOIN reports.graph_names AS n ON u.project_id = n.project_id AND u.graph_id = n.graph_id
LEFT JOIN usual AS p ON u.project_id = p.project_id AND u.graph_id = p.graph_id
