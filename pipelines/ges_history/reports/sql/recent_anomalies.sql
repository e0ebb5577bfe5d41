-- The anomalies of the last 7 days, computed from the newest successes alone.
-- Grain: one row per backup and kind, as in anomalies, of backups that started in the last 7 days.
-- Units: as in anomalies.
-- Columns:
--   backup_id: ID of the backup.
--   started_at [UTC]: Its start.
--   kind: size_drop, size_jump or slow.
--   value [MB or s]: Its size, or for slow its duration.
--   expected [MB or s]: Median of the up to 30 successes before.
--   deviation [robust sd]: Difference in robust standard deviations, signed.
--   change_pct [%]: Difference in percent of expected; null where that is 0.
-- Key: project_id, graph_id, started_at, backup_id, kind
-- Reads: reports.recent_successes, reports.graph_names.
-- Of each graph those that can be in the result, and the 30 that they are compared with.
WITH placed_successes AS (
    SELECT project_id, graph_id, id, status, start_timestamp, started_at, size, duration,
        ROW_NUMBER() OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp DESC, id DESC
        ) AS age_place,
        COUNT(CASE WHEN started_at > CURRENT_TIMESTAMP - INTERVAL '168' HOUR THEN 1 END) OVER (
            PARTITION BY project_id, graph_id
        ) AS of_week
    FROM reports.recent_successes
),
compared_successes AS (
    SELECT project_id, graph_id, id, status, start_timestamp, started_at, size, duration
    FROM placed_successes
    WHERE of_week > 0 AND age_place <= of_week + 30
)
SELECT project_id, graph_id, graph_name, project_name, backup_id, started_at, kind, value,
    expected, deviation, change_pct
FROM (TEXT OF anomalies OVER compared_successes) AS recent
WHERE started_at > CURRENT_TIMESTAMP - INTERVAL '168' HOUR
