-- How large the backups of each graph are, day by day.
-- Grain: one row per graph and UTC day on which a successful backup started.
-- Units: sizes in MB, change_pct in percent of the previous size (null where that is 0).
-- backups counts the day's successes, size_mb is that of the last one (by start, then id),
-- previous_size_mb that of the day before with a success, avg_7d_mb the mean of size_mb over
-- the seven calendar days that end here. Deleted backups count.
-- Columns:
--   day: UTC day.
--   backups: Successes that started on the day.
--   size_mb [MB]: Size of the day's last success.
--   previous_size_mb [MB]: Size of the last success of the day before with one.
--   change_mb [MB]: Difference of the two.
--   change_pct [%]: The same in percent of the previous size; null where that is 0.
--   avg_7d_mb [MB]: Mean of size_mb over the seven calendar days that end here.
-- Key: project_id, graph_id, day
-- Time: day
-- Empty: no backup succeeded yet
-- Reads: ges.backups, reports.graph_names.
WITH graphs AS (
    SELECT project_id, graph_id, graph_name, project_name,
        ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS graph
    FROM reports.graph_names
),
successes AS (
    SELECT g.graph, b.id, b.start_timestamp, b.size,
        CAST(b.started_at AT TIME ZONE 'UTC' AS DATE) AS day
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success'
),
daily AS (
    SELECT graph, day, COUNT(*) AS backups, MAX(start_timestamp) AS start_timestamp
    FROM successes
    GROUP BY graph, day
),
ranked AS (
    SELECT d.graph, d.day, d.backups, s.size AS size_mb,
        ROW_NUMBER() OVER (PARTITION BY d.graph, d.day ORDER BY s.id DESC) AS place
    FROM daily AS d
    JOIN successes AS s ON d.graph = s.graph AND d.start_timestamp = s.start_timestamp
),
-- Over a DATE, Sail takes the bounds of a RANGE for unbounded; over a TIMESTAMP all engines agree.
compared AS (
    SELECT graph, day, backups, size_mb,
        LAG(size_mb) OVER (PARTITION BY graph ORDER BY day) AS previous_size_mb,
        AVG(CAST(size_mb AS DOUBLE)) OVER (
            PARTITION BY graph ORDER BY CAST(day AS TIMESTAMP)
            RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND CURRENT ROW
        ) AS avg_7d_mb
    FROM ranked
    WHERE place = 1
)
SELECT g.project_id, g.graph_id, g.graph_name, g.project_name, c.day, c.backups, c.size_mb,
    c.previous_size_mb, c.size_mb - c.previous_size_mb AS change_mb,
    100.0 * (c.size_mb - c.previous_size_mb) / NULLIF(c.previous_size_mb, 0) AS change_pct,
    c.avg_7d_mb
FROM compared AS c
JOIN graphs AS g ON c.graph = g.graph
