-- How often the backups of each graph succeed, month by month.
-- Grain: one row per graph and UTC month (its first day) in which a backup started.
-- success_rate, from 0 to 1, is of those that ended (null where none did). The streak counts
-- failures with no success between them, in order of start (then id), within the month.
-- is_partial: the month had not ended when the project was last listed.
-- Columns:
--   month: First day of the UTC month.
--   backups: Backups that started in the month.
--   succeeded: Those that succeeded.
--   failed: Those that failed.
--   success_rate [0-1]: Successes among those that ended.
--   longest_failure_streak: Most failures with no success between them.
--   is_partial: Whether the month had not ended when the project was last listed.
-- Key: project_id, graph_id, month
-- Time: month
-- Empty: no backup was listed yet
-- Reads: ges.backups, reports.graph_names.
WITH monthly AS (
    SELECT project_id, graph_id, id, start_timestamp, status,
        CAST(DATE_TRUNC('month', started_at AT TIME ZONE 'UTC') AS DATE) AS month
    FROM ges.backups
),
runs AS (
    SELECT project_id, graph_id, month, status,
        SUM(CASE WHEN status = 'success' THEN 1 ELSE 0 END) OVER (
            PARTITION BY project_id, graph_id, month ORDER BY start_timestamp, id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS run
    FROM monthly
),
streaks AS (
    SELECT project_id, graph_id, month, run, COUNT(*) AS backups,
        SUM(CASE WHEN status = 'success' THEN 1 ELSE 0 END) AS succeeded,
        SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed
    FROM runs
    GROUP BY project_id, graph_id, month, run
),
totals AS (
    SELECT project_id, graph_id, month, CAST(SUM(backups) AS BIGINT) AS backups,
        CAST(SUM(succeeded) AS BIGINT) AS succeeded, CAST(SUM(failed) AS BIGINT) AS failed,
        CAST(MAX(failed) AS BIGINT) AS longest_failure_streak
    FROM streaks
    GROUP BY project_id, graph_id, month
)
SELECT t.project_id, t.graph_id, n.graph_name, n.project_name, t.month, t.backups, t.succeeded,
    t.failed, CAST(t.succeeded AS DOUBLE) / NULLIF(t.succeeded + t.failed, 0) AS success_rate,
    t.longest_failure_streak,
    t.month >= CAST(
        DATE_TRUNC('month', COALESCE(n.loaded_at, CURRENT_TIMESTAMP) AT TIME ZONE 'UTC') AS DATE
    ) AS is_partial
FROM totals AS t
JOIN reports.graph_names AS n ON t.project_id = n.project_id AND t.graph_id = n.graph_id
