-- The backups as the API reports them, under the newest names of their graphs.
-- Grain: one row per backup (project_id, backup_id); deleted ones, too.
-- Units: size_mb in MB, duration_s in seconds.
-- Columns:
--   started_at [UTC]: Start of the backup.
--   ended_at [UTC]: Its end, null until it has ended.
--   status: backing_up, success or failed, as answered.
--   backup_method: auto, manual or import, as answered.
--   size_mb [MB]: Size of the backup file.
--   duration_s [s]: Duration as the API reports it.
--   encrypted: Whether it is encrypted.
--   deleted_at [UTC]: When it was first missing at the source; null while it is there.
--   backup_name: Name of the backup.
--   backup_id: ID of the backup.
-- Key: project_id, backup_id
-- Time: started_at
-- Order: started_at DESC, graph_name, project_id, backup_id
-- Empty: no backup was listed yet
-- Reads: ges.backups, reports.graph_names.
SELECT b.project_id, b.graph_id, n.graph_name, n.project_name, b.started_at, b.ended_at, b.status,
    b.backup_method, b.size AS size_mb, b.duration AS duration_s, b.encrypted, b.deleted_at,
    b.name AS backup_name, b.id AS backup_id
FROM ges.backups AS b
JOIN reports.graph_names AS n ON b.project_id = n.project_id AND b.graph_id = n.graph_id
