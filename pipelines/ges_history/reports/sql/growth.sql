-- How fast each graph's backups grow, and where that leads.
-- Grain: one row per graph with a successful backup of known size.
-- Units: MB, and MB a day; r2 from 0 to 1.
-- Least squares over the points of size_trend in the 90 calendar days that end on the graph's
-- newest one; the projections are the line's value that many days after last_day. Slope, r2 and
-- projections are null below 3 points.
-- Time: last_day
-- Reads: reports.size_trend.
WITH known AS (
    SELECT project_id, graph_id, graph_name, day, CAST(size_mb AS DOUBLE) AS y,
        MAX(day) OVER (PARTITION BY project_id, graph_id) AS last_day
    FROM reports.size_trend
    WHERE size_mb IS NOT NULL
),
points AS (
    SELECT project_id, graph_id, graph_name, day, last_day, y,
        CAST(-DATE_DIFF('day', day, last_day) AS DOUBLE) AS x
    FROM known
    WHERE day > last_day - INTERVAL '90' DAY
),
fitted AS (
    SELECT project_id, graph_id, graph_name, COUNT(*) AS points, MIN(day) AS first_day, last_day,
        MAX(CASE WHEN x = 0 THEN y END) AS last_size_mb,
        REGR_SLOPE(y, x) AS slope, REGR_INTERCEPT(y, x) AS level, REGR_R2(y, x) AS r2
    FROM points
    GROUP BY project_id, graph_id, graph_name, last_day
)
SELECT project_id, graph_id, graph_name, points, first_day, last_day, last_size_mb,
    CASE WHEN points >= 3 THEN slope END AS mb_per_day,
    CASE WHEN points >= 3 THEN r2 END AS r2,
    CASE WHEN points >= 3 THEN level + 30 * slope END AS projected_30d_mb,
    CASE WHEN points >= 3 THEN level + 90 * slope END AS projected_90d_mb
FROM fitted
