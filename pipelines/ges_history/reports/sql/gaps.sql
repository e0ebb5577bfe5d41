-- The times without a new success of each graph, each with the backups that bound it.
-- Grain: one row per successful backup (what followed it), and one per graph whose first backup
-- was no success (what came before its first success: backup_before is null).
-- gap_hours runs from began_at to ended_at, in hours; while ended_at and backup_after are null the
-- gap is open, and runs to known_until of reports.graph_names.
-- Columns:
--   began_at [UTC]: Start of the success before; of the first backup where none succeeded before.
--   ended_at [UTC]: Start of the next success; null while there is none.
--   gap_hours [h]: Length; of an open gap until known_until.
--   backup_before: ID of the success that it follows, if any.
--   backup_after: ID of the success that ended it, if any.
-- Key: project_id, graph_id, began_at, backup_before
-- Time: began_at
-- Reads: ges.backups, reports.graph_names.
WITH successes AS (
    SELECT project_id, graph_id, id AS backup_before, started_at AS began_at,
        LEAD(started_at) OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp, id
        ) AS ended_at,
        LEAD(id) OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp, id
        ) AS backup_after,
        ROW_NUMBER() OVER (
            PARTITION BY project_id, graph_id ORDER BY start_timestamp, id
        ) AS place
    FROM ges.backups
    WHERE status = 'success'
),
bounded AS (
    SELECT project_id, graph_id, backup_before, began_at, ended_at, backup_after
    FROM successes
    UNION ALL
    SELECT n.project_id, n.graph_id, NULL AS backup_before, n.first_backup_at AS began_at,
        s.began_at AS ended_at, s.backup_before AS backup_after
    FROM reports.graph_names AS n
    LEFT JOIN successes AS s
        ON n.project_id = s.project_id AND n.graph_id = s.graph_id AND s.place = 1
    WHERE n.first_backup_at < s.began_at
        OR (n.first_backup_at IS NOT NULL AND s.began_at IS NULL)
)
SELECT b.project_id, b.graph_id, n.graph_name, n.project_name, b.began_at, b.ended_at,
    (EPOCH(COALESCE(b.ended_at, n.known_until)) - EPOCH(b.began_at)) / 3600.0 AS gap_hours,
    b.backup_before, b.backup_after
FROM bounded AS b
JOIN reports.graph_names AS n ON b.project_id = n.project_id AND b.graph_id = n.graph_id
