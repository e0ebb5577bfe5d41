-- The successes that the anomalies of the last 7 days are computed from.
-- Grain: one row per successful backup: of each graph with one in the last 7 days those, and the 30
-- before the first of them.
-- Units: MB, seconds, as in ges.backups.
-- Columns:
--   id: Backup ID.
--   status: success.
--   start_timestamp: Start of the backup, milliseconds since 1970.
--   started_at [UTC]: The same.
--   size [MB]: Size of the backup file.
--   duration [s]: Duration as the API reports it.
-- Key: project_id, id
-- Reads: reports.recent_successes.
WITH week_places AS (
    SELECT project_id, graph_id, id, status, start_timestamp, started_at, size, duration,
        ROW_NUMBER() OVER (
            PARTITION BY graph ORDER BY start_timestamp DESC, id DESC
        ) AS age_place,
        COUNT(CASE WHEN started_at > CURRENT_TIMESTAMP - INTERVAL '168' HOUR THEN 1 END) OVER (
            PARTITION BY graph
        ) AS of_week
    FROM reports.recent_successes
)
SELECT project_id, graph_id, id, status, start_timestamp, started_at, size, duration
FROM week_places
WHERE of_week > 0 AND age_place <= of_week + 30
