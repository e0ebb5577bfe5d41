-- The figures of each project: what wants attention, what is stored, and how old the last load is.
-- Grain: one row per project that was ever listed, an empty one too.
-- Units: MB, MB a day, hours; success_rate_30d from 0 to 1, null where nothing ended.
-- overdue, never_succeeded, failed_listings and new_levels count graphs at the source. running and
-- stuck count backups, as the report running has them: all of a graph, of deleted graphs, too.
-- anomalies_7d counts anomalies of backups started in the last 7 days. attention counts the graphs
-- at the source that are overdue, never had a success, have a stuck backup, a listing that failed
-- or a size that dropped to a new level.
-- stored_mb is of all backups at the source. added_30d_mb and removed_30d_mb are of the successes
-- that started or were deleted on the 30 UTC days that end with that of the last load;
-- growth_mb_per_day is their difference by 30, and the projections are stored_mb with 30 and 90
-- days of it. What was deleted before first_listed_at is not known, so it is not among removed.
-- A sum of sizes beyond 64 bits is told as 2^63 - 1.
-- loaded_at is when the project was last listed. stale: that is longer ago than stale_after_hours,
-- twice the median of its graphs' usual gaps, but at least 6 and at most 48 hours (48 without one).
-- Columns:
--   region: Region, or the host of the endpoint.
--   graphs: Graphs known.
--   graphs_at_source: Those that the API knows: their graph_deleted_at is null.
--   attention: Graphs at the source that want attention.
--   overdue: Graphs at the source whose last success is overdue.
--   never_succeeded: Graphs at the source without any success that were ever listed without an error.
--   running: Backups in progress.
--   stuck: Those that seem stuck.
--   failed_listings: Graphs at the source whose latest listing failed.
--   anomalies_7d: Anomalies of backups of the last 7 days.
--   new_levels: Graphs at the source whose size changed for good, not yet the normal.
--   rejected_30d: Records that did not fit, first seen in the last 30 days.
--   backups_kept: Backups in the history.
--   backups_at_source: Those that are still at the source.
--   stored_mb [MB]: Size of those at the source.
--   deleted_mb [MB]: Size of those that have left it.
--   added_30d_mb [MB]: Size of the successes that started in the 30 days up to the last load.
--   removed_30d_mb [MB]: Size of the successes that were deleted in those days.
--   growth_mb_per_day [MB/day]: Their difference by 30.
--   projected_30d_mb [MB]: stored_mb after 30 more such days.
--   projected_90d_mb [MB]: stored_mb after 90 more such days.
--   succeeded_30d: Successes that started in the last 30 days.
--   failed_30d: Failures that started in the last 30 days.
--   success_rate_30d [0-1]: Successes among the two.
--   first_listed_at [UTC]: When the project was first listed.
--   loaded_at [UTC]: When it was last listed.
--   load_age_hours [h]: How long ago that is.
--   stale_after_hours [h]: From what age on that is too long.
--   stale: Whether it is longer ago than that.
-- Key: project_id
-- Now: stale DESC NULLS FIRST, attention DESC, new_levels DESC, anomalies_7d DESC
-- Time: loaded_at
-- Empty: no project was loaded yet
-- Reads: ges.backups, ges.rejected_backups, reports.project_names, reports.graph_names, reports.recovery_point, reports.running, reports.recent_anomalies, reports.growth, reports.load_health.
WITH graphs AS (
    SELECT project_id, COUNT(*) AS graphs,
        COUNT(CASE WHEN graph_deleted_at IS NULL THEN 1 END) AS graphs_at_source
    FROM reports.graph_names
    GROUP BY project_id
),
projects AS (
    SELECT p.project_id, p.project_name, p.region, COALESCE(g.graphs, 0) AS graphs,
        COALESCE(g.graphs_at_source, 0) AS graphs_at_source, p.first_listed_at, p.loaded_at
    FROM reports.project_names AS p
    LEFT JOIN graphs AS g ON p.project_id = g.project_id
),
recovery AS MATERIALIZED (
    SELECT project_id, graph_id, graph_deleted_at IS NULL AND overdue AS is_overdue,
        graph_deleted_at IS NULL AND known_until IS NOT NULL AND successes = 0
            AS is_without_success,
        usual_gap_hours
    FROM reports.recovery_point
),
unfinished AS (
    SELECT r.project_id, r.graph_id, r.stuck, n.graph_deleted_at
    FROM reports.running AS r
    JOIN reports.graph_names AS n ON r.project_id = n.project_id AND r.graph_id = n.graph_id
),
listings AS (
    SELECT h.project_id, h.graph_id
    FROM reports.load_health AS h
    JOIN reports.graph_names AS n ON h.project_id = n.project_id AND h.graph_id = n.graph_id
    WHERE h.outcome NOT IN ('complete', 'incremental') AND n.graph_deleted_at IS NULL
),
findings AS (
    SELECT project_id, graph_id, 1 AS attention,
        CASE WHEN is_overdue THEN 1 ELSE 0 END AS overdue,
        CASE WHEN is_without_success THEN 1 ELSE 0 END AS never_succeeded,
        0 AS running, 0 AS stuck, 0 AS failed_listings, 0 AS anomalies_7d, 0 AS new_levels
    FROM recovery
    WHERE is_overdue OR is_without_success
    UNION ALL
    SELECT project_id, graph_id, CASE WHEN stuck AND graph_deleted_at IS NULL THEN 1 ELSE 0 END,
        0, 0, 1, CASE WHEN stuck THEN 1 ELSE 0 END, 0, 0, 0
    FROM unfinished
    UNION ALL
    SELECT project_id, graph_id, 1, 0, 0, 0, 0, 1, 0, 0
    FROM listings
    UNION ALL
    SELECT project_id, graph_id, 0, 0, 0, 0, 0, 0, 1, 0
    FROM reports.recent_anomalies
    UNION ALL
    SELECT g.project_id, g.graph_id,
        CASE WHEN g.level_mb < g.level_before_mb THEN 1 ELSE 0 END, 0, 0, 0, 0, 0, 0, 1
    FROM reports.growth AS g
    JOIN reports.graph_names AS n ON g.project_id = n.project_id AND g.graph_id = n.graph_id
    WHERE g.is_new_level AND n.graph_deleted_at IS NULL
),
by_graph AS (
    SELECT project_id, graph_id, MAX(attention) AS attention, SUM(overdue) AS overdue,
        SUM(never_succeeded) AS never_succeeded, SUM(running) AS running, SUM(stuck) AS stuck,
        SUM(failed_listings) AS failed_listings, SUM(anomalies_7d) AS anomalies_7d,
        SUM(new_levels) AS new_levels
    FROM findings
    GROUP BY project_id, graph_id
),
counts AS (
    SELECT project_id, CAST(SUM(attention) AS BIGINT) AS attention,
        CAST(SUM(overdue) AS BIGINT) AS overdue,
        CAST(SUM(never_succeeded) AS BIGINT) AS never_succeeded,
        CAST(SUM(running) AS BIGINT) AS running, CAST(SUM(stuck) AS BIGINT) AS stuck,
        CAST(SUM(failed_listings) AS BIGINT) AS failed_listings,
        CAST(SUM(anomalies_7d) AS BIGINT) AS anomalies_7d,
        CAST(SUM(new_levels) AS BIGINT) AS new_levels
    FROM by_graph
    GROUP BY project_id
),
rhythm AS (
    SELECT project_id,
        LEAST(GREATEST(COALESCE(2 * MEDIAN(usual_gap_hours), 48.0), 6.0), 48.0)
            AS stale_after_hours
    FROM recovery
    GROUP BY project_id
),
windows AS (
    SELECT project_id,
        (FLOOR(EPOCH(loaded_at) / 86400.0) - 29) * 86400.0 AS first_second
    FROM projects
),
stored AS (
    SELECT b.project_id, COUNT(*) AS backups_kept,
        COUNT(CASE WHEN b.deleted_at IS NULL THEN 1 END) AS backups_at_source,
        SUM(CASE WHEN b.deleted_at IS NULL THEN CAST(b.size AS DECIMAL(28, 0)) END) AS stored_mb,
        SUM(CASE WHEN b.deleted_at IS NOT NULL THEN CAST(b.size AS DECIMAL(28, 0)) END)
            AS deleted_mb,
        COUNT(
            CASE
                WHEN b.status = 'success'
                    AND b.started_at > CURRENT_TIMESTAMP - INTERVAL '720' HOUR THEN 1
            END
        ) AS succeeded_30d,
        COUNT(
            CASE
                WHEN b.status = 'failed'
                    AND b.started_at > CURRENT_TIMESTAMP - INTERVAL '720' HOUR THEN 1
            END
        ) AS failed_30d,
        SUM(
            CASE
                WHEN b.status = 'success' AND b.start_timestamp / 1000.0 >= w.first_second
                    AND b.start_timestamp / 1000.0 < w.first_second + 30 * 86400.0
                    THEN CAST(b.size AS DECIMAL(28, 0))
            END
        ) AS added_30d_mb,
        SUM(
            CASE
                WHEN b.status = 'success' AND EPOCH(b.deleted_at) >= w.first_second
                    THEN CAST(b.size AS DECIMAL(28, 0))
            END
        ) AS removed_30d_mb
    FROM ges.backups AS b
    JOIN windows AS w ON b.project_id = w.project_id
    GROUP BY b.project_id
),
rejected AS (
    SELECT project_id, COUNT(*) AS rejected_30d
    FROM ges.rejected_backups
    WHERE first_seen_at > CURRENT_TIMESTAMP - INTERVAL '720' HOUR
    GROUP BY project_id
),
joined AS (
    SELECT p.project_id, p.project_name, p.region, p.graphs, p.graphs_at_source,
        COALESCE(c.attention, 0) AS attention, COALESCE(c.overdue, 0) AS overdue,
        COALESCE(c.never_succeeded, 0) AS never_succeeded, COALESCE(c.running, 0) AS running,
        COALESCE(c.stuck, 0) AS stuck, COALESCE(c.failed_listings, 0) AS failed_listings,
        COALESCE(c.anomalies_7d, 0) AS anomalies_7d, COALESCE(c.new_levels, 0) AS new_levels,
        COALESCE(r.rejected_30d, 0) AS rejected_30d,
        COALESCE(s.backups_kept, 0) AS backups_kept,
        COALESCE(s.backups_at_source, 0) AS backups_at_source,
        CAST(LEAST(COALESCE(s.stored_mb, 0), 9223372036854775807) AS BIGINT) AS stored_mb,
        CAST(LEAST(COALESCE(s.deleted_mb, 0), 9223372036854775807) AS BIGINT) AS deleted_mb,
        CAST(LEAST(COALESCE(s.added_30d_mb, 0), 9223372036854775807) AS BIGINT) AS added_30d_mb,
        CAST(LEAST(COALESCE(s.removed_30d_mb, 0), 9223372036854775807) AS BIGINT) AS removed_30d_mb,
        COALESCE(s.succeeded_30d, 0) AS succeeded_30d, COALESCE(s.failed_30d, 0) AS failed_30d,
        p.first_listed_at, p.loaded_at,
        (EPOCH(CURRENT_TIMESTAMP) - EPOCH(p.loaded_at)) / 3600.0 AS load_age_hours,
        COALESCE(y.stale_after_hours, 48.0) AS stale_after_hours
    FROM projects AS p
    LEFT JOIN counts AS c ON p.project_id = c.project_id
    LEFT JOIN rhythm AS y ON p.project_id = y.project_id
    LEFT JOIN stored AS s ON p.project_id = s.project_id
    LEFT JOIN rejected AS r ON p.project_id = r.project_id
)
SELECT project_id, project_name, region, graphs, graphs_at_source, attention, overdue,
    never_succeeded, running, stuck, failed_listings, anomalies_7d, new_levels, rejected_30d,
    backups_kept, backups_at_source, stored_mb, deleted_mb, added_30d_mb, removed_30d_mb,
    (added_30d_mb - removed_30d_mb) / 30.0 AS growth_mb_per_day,
    GREATEST(CAST(stored_mb AS DOUBLE) + CAST(added_30d_mb - removed_30d_mb AS DOUBLE), 0)
        AS projected_30d_mb,
    GREATEST(CAST(stored_mb AS DOUBLE) + 3 * CAST(added_30d_mb - removed_30d_mb AS DOUBLE), 0)
        AS projected_90d_mb,
    succeeded_30d, failed_30d,
    CAST(succeeded_30d AS DOUBLE) / NULLIF(succeeded_30d + failed_30d, 0) AS success_rate_30d,
    first_listed_at, loaded_at, load_age_hours, stale_after_hours,
    load_age_hours > stale_after_hours AS stale
FROM joined
