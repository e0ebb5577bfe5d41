-- How much of each graph is stored at the source, day by day.
-- Grain: one row per graph and UTC day on which a successful backup started or was deleted.
-- Units: MB; a success of unknown size counts as 0 MB.
-- backups and stored_mb are of the successes that were at the source when the day ended: started
-- by then, and not deleted by then. added_mb began on that day, removed_mb was deleted on it; what
-- was deleted before its stamp, which is ahead of the clock then, on the day of that.
-- What was deleted before the first load is not known: the curve is complete from the project's
-- first listing on (ges.projects.first_listed_at, reports.overview.first_listed_at).
-- A sum beyond 64 bits is told as 2^63 - 1.
-- Columns:
--   day: UTC day.
--   backups: Successes at the source when the day ended.
--   stored_mb [MB]: Their size.
--   added_mb [MB]: Size of the successes that started on the day.
--   removed_mb [MB]: Size of the successes that were deleted on the day.
-- Key: project_id, graph_id, day
-- Time: day
-- Empty: no backup succeeded yet
-- Reads: ges.backups, reports.graph_names.
WITH graphs AS (
    SELECT project_id, graph_id, graph_name, project_name,
        ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS graph
    FROM reports.graph_names
),
events AS (
    SELECT g.graph, CAST(b.started_at AT TIME ZONE 'UTC' AS DATE) AS day,
        1 AS backups, CAST(COALESCE(b.size, 0) AS DECIMAL(28, 0)) AS added_mb, 0 AS removed_mb
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success'
    UNION ALL
    SELECT g.graph, CAST(GREATEST(b.deleted_at, b.started_at) AT TIME ZONE 'UTC' AS DATE) AS day,
        -1 AS backups, 0 AS added_mb, CAST(COALESCE(b.size, 0) AS DECIMAL(28, 0)) AS removed_mb
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success' AND b.deleted_at IS NOT NULL
),
daily AS (
    SELECT graph, day, CAST(SUM(backups) AS BIGINT) AS backups,
        SUM(added_mb) AS added_mb, SUM(removed_mb) AS removed_mb
    FROM events
    GROUP BY graph, day
),
summed AS (
    SELECT graph, day, added_mb, removed_mb,
        SUM(backups) OVER (
            PARTITION BY graph ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS backups,
        SUM(added_mb - removed_mb) OVER (
            PARTITION BY graph ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS stored_mb
    FROM daily
)
SELECT g.project_id, g.graph_id, g.graph_name, g.project_name, s.day,
    CAST(s.backups AS BIGINT) AS backups,
    CAST(GREATEST(LEAST(s.stored_mb, 9223372036854775807), -9223372036854775807) AS BIGINT)
        AS stored_mb,
    CAST(LEAST(s.added_mb, 9223372036854775807) AS BIGINT) AS added_mb,
    CAST(LEAST(s.removed_mb, 9223372036854775807) AS BIGINT) AS removed_mb
FROM summed AS s
JOIN graphs AS g ON s.graph = g.graph
