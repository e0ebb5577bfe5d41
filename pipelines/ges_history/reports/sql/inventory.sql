-- What is kept at the source, and how long backups live there.
-- Grain: one row per graph and backup_method (null where the API gave none).
-- Units: size_mb in MB, median_lifetime_days in days from start to deletion.
-- backups, size_mb, oldest_at and newest_at are of those still at the source, whatever their
-- status; deleted counts those that have left it. Deleted graphs are there, too, with what their
-- backups still hold: it costs storage on. A sum beyond 64 bits is told as 2^63 - 1.
-- Columns:
--   backup_method: auto, manual or import, as answered.
--   backups: Backups still at the source.
--   size_mb [MB]: Their size.
--   oldest_at [UTC]: Start of the oldest of them.
--   newest_at [UTC]: Start of the newest of them.
--   deleted: Backups that have left the source.
--   median_lifetime_days [days]: Median time from their start to their deletion.
--   graph_deleted_at [UTC]: When a listing first found the graph missing; null while the API knows it.
-- Key: project_id, graph_id, backup_method
-- Time: newest_at
-- Now: size_mb DESC, backups DESC
-- Empty: no backup was listed yet
-- Reads: ges.backups, reports.graph_names.
WITH kept AS (
    SELECT project_id, graph_id, backup_method,
        COUNT(CASE WHEN deleted_at IS NULL THEN 1 END) AS backups,
        CAST(LEAST(
            COALESCE(SUM(CASE WHEN deleted_at IS NULL THEN CAST(size AS DECIMAL(28, 0)) END), 0),
            9223372036854775807
        ) AS BIGINT) AS size_mb,
        MIN(CASE WHEN deleted_at IS NULL THEN started_at END) AS oldest_at,
        MAX(CASE WHEN deleted_at IS NULL THEN started_at END) AS newest_at,
        COUNT(deleted_at) AS deleted,
        MEDIAN(EPOCH(deleted_at) - start_timestamp / 1000.0) / 86400.0 AS median_lifetime_days
    FROM ges.backups
    GROUP BY project_id, graph_id, backup_method
)
SELECT k.project_id, k.graph_id, n.graph_name, n.project_name, k.backup_method, k.backups,
    k.size_mb, k.oldest_at, k.newest_at, k.deleted, k.median_lifetime_days, n.graph_deleted_at
FROM kept AS k
JOIN reports.graph_names AS n ON k.project_id = n.project_id AND k.graph_id = n.graph_id
