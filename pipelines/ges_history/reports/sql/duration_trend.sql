-- How long the backups of each graph take, week by week.
-- Grain: one row per graph and UTC week (its Monday) in which a successful backup started.
-- Units: durations in seconds, as the API reports them; mb_per_s is total size by total duration
-- of the successes where both are known, null where the total is 0. The quantiles are continuous.
-- is_partial: the week had not ended when the project was last listed.
-- Columns:
--   week: Monday of the UTC week.
--   backups: Successes that started in the week.
--   p50_duration_s [s]: Median of their durations.
--   p95_duration_s [s]: What 95 % of them took at most.
--   max_duration_s [s]: The longest.
--   mb_per_s [MB/s]: Their size by their duration.
--   is_partial: Whether the week had not ended when the project was last listed.
-- Key: project_id, graph_id, week
-- Time: week
-- Empty: no backup succeeded yet
-- Reads: ges.backups, reports.graph_names.
WITH weekly AS (
    SELECT project_id, graph_id,
        CAST(DATE_TRUNC('week', started_at AT TIME ZONE 'UTC') AS DATE) AS week,
        COUNT(*) AS backups,
        QUANTILE_CONT(duration, 0.5) AS p50_duration_s,
        QUANTILE_CONT(duration, 0.95) AS p95_duration_s,
        MAX(duration) AS max_duration_s,
        SUM(CASE WHEN duration IS NOT NULL THEN CAST(size AS DOUBLE) END) AS total_mb,
        SUM(CASE WHEN size IS NOT NULL THEN CAST(duration AS DOUBLE) END) AS total_s
    FROM ges.backups
    WHERE status = 'success'
    GROUP BY project_id, graph_id, CAST(DATE_TRUNC('week', started_at AT TIME ZONE 'UTC') AS DATE)
)
SELECT w.project_id, w.graph_id, n.graph_name, n.project_name, w.week, w.backups,
    w.p50_duration_s, w.p95_duration_s, w.max_duration_s,
    w.total_mb / NULLIF(w.total_s, 0) AS mb_per_s,
    w.week >= CAST(
        DATE_TRUNC('week', COALESCE(n.loaded_at, CURRENT_TIMESTAMP) AT TIME ZONE 'UTC') AS DATE
    ) AS is_partial
FROM weekly AS w
JOIN reports.graph_names AS n ON w.project_id = n.project_id AND w.graph_id = n.graph_id
