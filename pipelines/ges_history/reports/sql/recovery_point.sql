-- How old the last successful backup of each graph is, against its own rhythm.
-- Grain: one row per graph ever listed or backed up; nulls where it never had a success.
-- Units: hours, from start to start of successful backups.
-- known_until is when the graph was last listed without an error (or its newest backup started);
-- what came later is not known. age_when_known_hours is the age of the last success at that time,
-- rpo_age_hours its age now: the last success known is that old, a newer one may not be loaded.
-- usual_gap_hours is the median gap between the last 30 successes; longest_gap_hours is of the
-- gaps that a success ended within the last 90 days. overdue: age_when_known_hours is above
-- overdue_after_hours, twice the usual gap, or a week where there is a single success; so a load that
-- does not run is no overdue backup. Compared are whole milliseconds.
-- graph_deleted_at is set where the graph itself is gone (see graph_names).
-- Columns:
--   last_success_at [UTC]: Start of the last successful backup.
--   rpo_age_hours [h]: Its age now; a newer one may not be loaded yet.
--   usual_gap_hours [h]: Median gap between the last 30 successes.
--   longest_gap_hours [h]: Longest gap that a success ended in the last 90 days.
--   overdue_after_hours [h]: Twice the usual gap; a week where there is a single success.
--   overdue: Whether age_when_known_hours is above that.
--   successes: Successful backups known.
--   graph_deleted_at [UTC]: When a listing first found the graph missing; null while the API knows it.
--   known_until [UTC]: Until when the graph is known; what came later was not listed yet.
--   age_when_known_hours [h]: Age of the last success at known_until.
-- Key: project_id, graph_id
-- Time: last_success_at
-- Now: CASE WHEN graph_deleted_at IS NULL THEN 0 ELSE 1 END, CASE WHEN successes = 0 THEN 0 WHEN overdue THEN 1 ELSE 2 END, age_when_known_hours / NULLIF(overdue_after_hours, 0) DESC NULLS LAST
-- Empty: no graph is known: the projects are empty, or were not loaded yet
-- Reads: ges.backups, reports.recent_successes, reports.graph_names.
WITH gaps AS (
    SELECT project_id, graph_id, started_at,
        start_timestamp - LEAD(start_timestamp) OVER (
            PARTITION BY graph ORDER BY start_timestamp DESC, id DESC
        ) AS gap_ms,
        ROW_NUMBER() OVER (
            PARTITION BY graph ORDER BY start_timestamp DESC, id DESC
        ) AS place
    FROM reports.recent_successes
),
rhythm AS (
    SELECT project_id, graph_id,
        MEDIAN(CASE WHEN place < 30 THEN gap_ms END) AS usual_gap_ms,
        MAX(
            CASE WHEN started_at > CURRENT_TIMESTAMP - INTERVAL '2160' HOUR THEN gap_ms END
        ) AS longest_gap_ms
    FROM gaps
    GROUP BY project_id, graph_id
),
totals AS (
    SELECT project_id, graph_id, COUNT(*) AS successes, MAX(started_at) AS last_success_at,
        MAX(start_timestamp) AS last_timestamp
    FROM ges.backups
    WHERE status = 'success'
    GROUP BY project_id, graph_id
),
aged AS (
    SELECT n.project_id, n.graph_id, n.graph_name, n.project_name, t.last_success_at,
        (EPOCH(CURRENT_TIMESTAMP) - EPOCH(t.last_success_at)) / 3600.0 AS rpo_age_hours,
        r.usual_gap_ms, r.longest_gap_ms, COALESCE(t.successes, 0) AS successes,
        CASE WHEN t.successes > 0 THEN COALESCE(2 * r.usual_gap_ms, 604800000) END AS given_ms,
        n.graph_deleted_at, n.known_until,
        CAST(ROUND(EPOCH(n.known_until) * 1000.0) AS BIGINT) - t.last_timestamp AS age_ms
    FROM reports.graph_names AS n
    LEFT JOIN totals AS t ON n.project_id = t.project_id AND n.graph_id = t.graph_id
    LEFT JOIN rhythm AS r ON n.project_id = r.project_id AND n.graph_id = r.graph_id
)
SELECT project_id, graph_id, graph_name, project_name, last_success_at, rpo_age_hours,
    usual_gap_ms / 3600000.0 AS usual_gap_hours, longest_gap_ms / 3600000.0 AS longest_gap_hours,
    given_ms / 3600000.0 AS overdue_after_hours, age_ms > given_ms AS overdue, successes,
    graph_deleted_at, known_until, age_ms / 3600000.0 AS age_when_known_hours
FROM aged
