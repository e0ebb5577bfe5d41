-- The backups as the API reports them, under the newest names of their graphs.
-- Grain: one row per backup (project_id, backup_id); deleted ones, too.
-- Units: size_mb in MB, duration_s in seconds.
-- Time: started_at
-- Reads: ges.backups, reports.graph_names.
SELECT b.project_id, b.graph_id, n.graph_name, n.project_name, b.started_at, b.ended_at, b.status,
    b.backup_method, b.size AS size_mb, b.duration AS duration_s, b.encrypted, b.deleted_at,
    b.name AS backup_name, b.id AS backup_id
FROM ges.backups AS b
JOIN reports.graph_names AS n ON b.project_id = n.project_id AND b.graph_id = n.graph_id
