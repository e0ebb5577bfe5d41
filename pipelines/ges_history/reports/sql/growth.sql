-- How fast each graph's backups grow since their size last changed for good, and where that leads.
-- Grain: one row per graph with a successful backup of known size.
-- Units: MB, and MB a day; r2 from 0 to 1.
-- The points are those of size_trend whose size is known. A point begins a new level where the
-- median of it and the up to 6 points after it (at least 2) is at least 20 % and at least 5 robust
-- standard deviations away from the median of the up to 7 points before it, it lies nearer to the
-- median after, and the point before it does not. The robust standard deviation is the largest of
-- 1.4826 times the median absolute deviation of either side, 1 % of the median before, and 1 MB.
-- level_since is the day of the last such point among the graph's 97 newest, null where there is
-- none; level_before_mb and level_mb are its two medians, level_backups the successes since.
-- is_new_level: level_backups is at most 30, so that the change is not yet the normal of all 30
-- backups before the newest.
-- Least squares over the points from level_since on in the 90 calendar days that end on the
-- graph's newest one (points, first_day); the projections are the line's value that many days
-- after last_day, low and high the bounds of its 95 % prediction interval: 1.96 standard errors,
-- s * sqrt(1 + 1 / n + distance^2 / sxx) with s^2 the squared residuals by n - 2. Slope, r2,
-- projections and bounds are null below 3 points.
-- Columns:
--   points: Points that the line is fitted to.
--   first_day: UTC day of the first of them.
--   last_day: UTC day of the newest point.
--   last_size_mb [MB]: Size on that day.
--   mb_per_day [MB/day]: Slope of the line.
--   r2 [0-1]: How well it fits.
--   projected_30d_mb [MB]: The line's value 30 days after last_day.
--   projected_90d_mb [MB]: The line's value 90 days after last_day.
--   low_30d_mb [MB]: Lower bound of the 95 % prediction interval 30 days after last_day.
--   high_30d_mb [MB]: Its upper bound.
--   low_90d_mb [MB]: Lower bound of the 95 % prediction interval 90 days after last_day.
--   high_90d_mb [MB]: Its upper bound.
--   level_since: UTC day on which the size last changed for good, if it did.
--   level_before_mb [MB]: Median size before that day.
--   level_mb [MB]: Median size from that day on.
--   level_change_pct [%]: Their difference in percent of the one before.
--   level_backups: Successes since.
--   is_new_level: Whether those are at most 30, so that the change is not yet the normal.
-- Key: project_id, graph_id
-- Time: last_day
-- Now: is_new_level DESC NULLS LAST, mb_per_day DESC NULLS LAST
-- Empty: no backup of known size succeeded yet
-- Reads: reports.recent_sizes.
WITH newest_first AS (
    SELECT project_id, graph_id, graph_name, project_name, day, size_mb,
        SUM(backups) OVER (
            PARTITION BY project_id, graph_id ORDER BY day DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS backups_since
    FROM reports.recent_sizes
),
points AS (
    SELECT project_id, graph_id, graph_name, project_name, day, backups_since,
        CAST(size_mb AS DOUBLE) AS y,
        ROW_NUMBER() OVER (PARTITION BY project_id, graph_id ORDER BY day DESC) AS place,
        MAX(day) OVER (PARTITION BY project_id, graph_id) AS last_day
    FROM newest_first
    WHERE size_mb IS NOT NULL
),
-- place 1 is the newest point: what is after a point has smaller places, what is before larger ones.
recent AS MATERIALIZED (
    SELECT project_id, graph_id, graph_name, project_name, day, backups_since, y, place, last_day,
        AVG(y) OVER (
            PARTITION BY project_id, graph_id ORDER BY place ROWS BETWEEN 6 PRECEDING AND CURRENT ROW
        ) AS mean_after,
        STDDEV_POP(y) OVER (
            PARTITION BY project_id, graph_id ORDER BY place ROWS BETWEEN 6 PRECEDING AND CURRENT ROW
        ) AS spread_after,
        AVG(y) OVER (
            PARTITION BY project_id, graph_id ORDER BY place ROWS BETWEEN 1 FOLLOWING AND 7 FOLLOWING
        ) AS mean_before,
        STDDEV_POP(y) OVER (
            PARTITION BY project_id, graph_id ORDER BY place ROWS BETWEEN 1 FOLLOWING AND 7 FOLLOWING
        ) AS spread_before
    FROM points
    WHERE place <= 97
),
-- A median is within one standard deviation of the mean: these are all that can be 20 % apart.
candidates AS (
    SELECT project_id, graph_id, place
    FROM recent
    WHERE place >= 3 AND mean_before IS NOT NULL AND (
        mean_after + spread_after >= GREATEST(
            1.19 * (mean_before - spread_before), mean_before - spread_before + 4.9
        )
        OR mean_after - spread_after <= LEAST(
            0.81 * (mean_before + spread_before), mean_before + spread_before - 4.9
        )
    )
),
around AS MATERIALIZED (
    SELECT c.project_id, c.graph_id, c.place, p.y, p.place AS other,
        CASE WHEN p.place <= c.place THEN p.y END AS y_after,
        CASE WHEN p.place > c.place THEN p.y END AS y_before
    FROM candidates AS c
    JOIN recent AS p
        ON c.project_id = p.project_id AND c.graph_id = p.graph_id
        AND p.place BETWEEN c.place - 6 AND c.place + 7
),
medians AS (
    SELECT project_id, graph_id, place, MEDIAN(y_after) AS level_after,
        MEDIAN(y_before) AS level_before
    FROM around
    GROUP BY project_id, graph_id, place
),
deviations AS (
    SELECT m.project_id, m.graph_id, m.place, m.level_after, m.level_before,
        MEDIAN(ABS(a.y_after - m.level_after)) AS deviation_after,
        MEDIAN(ABS(a.y_before - m.level_before)) AS deviation_before,
        MAX(CASE WHEN a.other = m.place THEN a.y END) AS y_at,
        MAX(CASE WHEN a.other = m.place + 1 THEN a.y END) AS y_previous
    FROM medians AS m
    JOIN around AS a
        ON m.project_id = a.project_id AND m.graph_id = a.graph_id AND m.place = a.place
    GROUP BY m.project_id, m.graph_id, m.place, m.level_after, m.level_before
),
changes AS (
    SELECT project_id, graph_id, place, level_after, level_before,
        ROW_NUMBER() OVER (PARTITION BY project_id, graph_id ORDER BY place) AS turn
    FROM deviations
    WHERE ABS(level_after - level_before) >= 0.2 * level_before
        AND ABS(level_after - level_before) >= 5 * GREATEST(
            1.4826 * deviation_after, 1.4826 * deviation_before, 0.01 * level_before, 1.0
        )
        AND ABS(y_at - level_after) < ABS(y_at - level_before)
        AND ABS(y_previous - level_after) >= ABS(y_previous - level_before)
),
levels AS (
    SELECT c.project_id, c.graph_id, c.place, MIN(p.day) AS level_since,
        MAX(c.level_before) AS level_before_mb, MAX(c.level_after) AS level_mb,
        CAST(MAX(p.backups_since) AS BIGINT) AS level_backups
    FROM changes AS c
    JOIN recent AS p
        ON c.project_id = p.project_id AND c.graph_id = p.graph_id AND p.place <= c.place
    WHERE c.turn = 1
    GROUP BY c.project_id, c.graph_id, c.place
),
fitted AS (
    SELECT p.project_id, p.graph_id, p.graph_name, p.project_name, p.day, p.last_day, p.place, p.y,
        CAST(-DATE_DIFF('day', p.day, p.last_day) AS DOUBLE) AS x,
        l.level_since, l.level_before_mb, l.level_mb, l.level_backups
    FROM recent AS p
    LEFT JOIN levels AS l ON p.project_id = l.project_id AND p.graph_id = l.graph_id
    WHERE p.day > p.last_day - INTERVAL '90' DAY AND (l.place IS NULL OR p.place <= l.place)
),
centred AS (
    SELECT project_id, graph_id, graph_name, project_name, day, last_day, place, y,
        level_since, level_before_mb, level_mb, level_backups,
        AVG(x) OVER (PARTITION BY project_id, graph_id) AS x_mean,
        AVG(y) OVER (PARTITION BY project_id, graph_id) AS y_mean,
        x - AVG(x) OVER (PARTITION BY project_id, graph_id) AS dx,
        y - AVG(y) OVER (PARTITION BY project_id, graph_id) AS dy
    FROM fitted
),
sums AS (
    SELECT project_id, graph_id, graph_name, project_name, COUNT(*) AS points,
        MIN(day) AS first_day, last_day, MAX(CASE WHEN place = 1 THEN y END) AS last_size_mb,
        MAX(x_mean) AS x_mean, MAX(y_mean) AS y_mean,
        SUM(dx * dx) AS sxx, SUM(dx * dy) AS sxy, SUM(dy * dy) AS syy,
        level_since, level_before_mb, level_mb, level_backups
    FROM centred
    GROUP BY project_id, graph_id, graph_name, project_name, last_day, level_since,
        level_before_mb, level_mb, level_backups
),
lines AS (
    SELECT project_id, graph_id, graph_name, project_name, points, first_day, last_day,
        last_size_mb, x_mean, y_mean, sxx, level_since, level_before_mb, level_mb, level_backups,
        CASE WHEN points >= 3 THEN sxy / sxx END AS slope,
        CASE
            WHEN points >= 3 AND syy = 0 THEN 1.0
            WHEN points >= 3 THEN sxy / sxx * sxy / syy
        END AS r2,
        CASE
            WHEN points >= 3 THEN SQRT(GREATEST(syy - sxy / sxx * sxy, 0.0) / (points - 2))
        END AS s
    FROM sums
),
projected AS (
    SELECT project_id, graph_id, points, slope,
        y_mean + (30 - x_mean) * slope AS in_30d, y_mean + (90 - x_mean) * slope AS in_90d,
        1.96 * s * SQRT(1 + 1.0 / points + (30 - x_mean) * (30 - x_mean) / NULLIF(sxx, 0)) AS error_30d,
        1.96 * s * SQRT(1 + 1.0 / points + (90 - x_mean) * (90 - x_mean) / NULLIF(sxx, 0)) AS error_90d,
        graph_name, project_name, first_day, last_day, last_size_mb, r2, level_since,
        level_before_mb, level_mb, level_backups
    FROM lines
)
SELECT project_id, graph_id, graph_name, project_name, points, first_day, last_day, last_size_mb,
    slope AS mb_per_day, r2, in_30d AS projected_30d_mb, in_90d AS projected_90d_mb,
    in_30d - error_30d AS low_30d_mb, in_30d + error_30d AS high_30d_mb,
    in_90d - error_90d AS low_90d_mb, in_90d + error_90d AS high_90d_mb,
    level_since, level_before_mb, level_mb,
    100.0 * (level_mb - level_before_mb) / NULLIF(level_before_mb, 0) AS level_change_pct,
    level_backups, level_backups <= 30 AS is_new_level
FROM projected
