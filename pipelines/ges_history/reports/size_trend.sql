-- How large the backups of each graph are, day by day.
-- Grain: one row per graph and UTC day on which a successful backup started.
-- Units: sizes in MB, change_pct in percent of the previous size (null where that is 0).
-- backups counts the day's successes, size_mb is that of the last one (by start, then id),
-- previous_size_mb that of the day before with a success, avg_7d_mb the mean of size_mb over
-- the seven calendar days that end here. Deleted backups count.
-- Time: day
-- Reads: ges.backups, reports.graph_names.
WITH successes AS (
    SELECT project_id, graph_id, id, start_timestamp, size,
        CAST(started_at AT TIME ZONE 'UTC' AS DATE) AS day
    FROM ges.backups
    WHERE status = 'success'
),
last_start AS (
    SELECT project_id, graph_id, day, COUNT(*) AS backups, MAX(start_timestamp) AS start_timestamp
    FROM successes
    GROUP BY project_id, graph_id, day
),
ranked AS (
    SELECT l.project_id, l.graph_id, l.day, l.backups, s.size AS size_mb,
        ROW_NUMBER() OVER (PARTITION BY l.project_id, l.graph_id, l.day ORDER BY s.id DESC) AS place
    FROM last_start AS l
    JOIN successes AS s
        ON l.project_id = s.project_id AND l.graph_id = s.graph_id
        AND l.start_timestamp = s.start_timestamp
),
compared AS (
    SELECT project_id, graph_id, day, backups, size_mb,
        LAG(size_mb) OVER (PARTITION BY project_id, graph_id ORDER BY day) AS previous_size_mb,
        AVG(size_mb) OVER (
            PARTITION BY project_id, graph_id ORDER BY day
            RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND CURRENT ROW
        ) AS avg_7d_mb
    FROM ranked
    WHERE place = 1
)
SELECT c.project_id, c.graph_id, n.graph_name, c.day, c.backups, c.size_mb, c.previous_size_mb,
    c.size_mb - c.previous_size_mb AS change_mb,
    100.0 * (c.size_mb - c.previous_size_mb) / NULLIF(c.previous_size_mb, 0) AS change_pct,
    c.avg_7d_mb
FROM compared AS c
JOIN reports.graph_names AS n ON c.project_id = n.project_id AND c.graph_id = n.graph_id
