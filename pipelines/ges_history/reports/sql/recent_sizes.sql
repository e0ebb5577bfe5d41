-- The newest points of size_trend, computed from the newest successes alone.
-- Grain: one row per graph and UTC day with a successful backup, at least the 97 newest of known size.
-- Units: MB.
-- Columns:
--   day: UTC day.
--   backups: Successful backups that started on it.
--   size_mb [MB]: Size of the newest of them.
-- Key: project_id, graph_id, day
-- Reads: reports.recent_successes, reports.graph_names.
SELECT project_id, graph_id, graph_name, project_name, day, backups, size_mb
FROM (TEXT OF size_trend OVER recent_successes) AS recent
