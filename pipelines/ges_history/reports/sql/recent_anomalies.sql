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
-- Reads: reports.week_successes, reports.graph_names.
SELECT project_id, graph_id, graph_name, project_name, backup_id, started_at, kind, value,
    expected, deviation, change_pct
FROM (TEXT OF anomalies OVER week_successes) AS recent
WHERE started_at > CURRENT_TIMESTAMP - INTERVAL '168' HOUR
