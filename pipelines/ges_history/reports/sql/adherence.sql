-- Whether each graph had a success on each day, and how long it was without one.
-- Grain: one row per graph and UTC day from its first known day to that of known_until (see
-- graph_names), at most the last 10,000; a graph that was never backed up has its last day only.
-- Units: hours. successes counts those that started on the day. longest_gap_hours is the whole
-- length of the longest time without a new success that touches the day, from start to start of
-- successes; before the first success it begins with the first backup of any status, and the one
-- still open ends at known_until. oldest_age_hours is the highest age that the last success
-- reached on the day (at its end, or at the last success before the next began): a recovery point
-- objective of so many hours was met on the day where this is not above it. Both are null where
-- there never was a backup. reports.gaps has the same gaps one by one, with their backups.
-- Columns:
--   day: UTC day.
--   successes: Successes that started on the day.
--   longest_gap_hours [h]: Whole length of the longest time without a new success that touches the day.
--   oldest_age_hours [h]: Highest age that the last success reached on the day.
-- Key: project_id, graph_id, day
-- Time: day
-- Empty: no graph was listed without an error yet
-- Reads: ges.backups, reports.graph_names.
WITH graphs AS (
    SELECT project_id, graph_id, graph_name, project_name,
        ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS graph,
        EPOCH(first_backup_at) / 3600.0 AS first_hour,
        EPOCH(known_until) / 3600.0 AS until_hour,
        CAST(FLOOR(EPOCH(known_until) / 86400.0) AS BIGINT) AS last_place
    FROM reports.graph_names
    WHERE known_until IS NOT NULL
),
-- Time is in hours, days are counted, since 1970-01-01 UTC: dates are written differently everywhere.
successes AS (
    SELECT g.graph, b.start_timestamp / 3600000.0 AS hour,
        GREATEST(
            CAST(FLOOR(b.start_timestamp / 86400000.0) AS BIGINT), g.last_place - 10000
        ) AS place,
        (b.start_timestamp - LAG(b.start_timestamp) OVER (
            PARTITION BY g.graph, FLOOR(b.start_timestamp / 86400000.0)
            ORDER BY b.start_timestamp
        )) / 3600000.0 AS gap_hours
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success'
),
-- What was before the last 10,000 days is one place more, which is not told.
daily AS (
    SELECT graph, place, COUNT(*) AS successes, MIN(hour) AS first_hour, MAX(hour) AS last_hour,
        MAX(gap_hours) AS gap_hours
    FROM successes
    GROUP BY graph, place
),
digits AS (
    SELECT 0 AS digit UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
),
spans AS (
    SELECT graph, until_hour, first_hour, last_place,
        LEAST(
            last_place
                - CAST(FLOOR(LEAST(COALESCE(first_hour, until_hour), until_hour) / 24.0) AS BIGINT),
            9999
        ) AS days
    FROM graphs
),
longest AS (
    SELECT MAX(days) AS days
    FROM spans
),
numbers AS (
    SELECT a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit AS number
    FROM digits AS a
    CROSS JOIN digits AS b
    CROSS JOIN digits AS c
    CROSS JOIN digits AS d
    JOIN longest AS l ON a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit <= l.days
),
calendar AS (
    SELECT s.graph, s.first_hour, s.until_hour, s.last_place - n.number AS place
    FROM spans AS s
    JOIN numbers AS n ON n.number <= s.days
    UNION ALL
    SELECT graph, first_hour, until_hour, last_place - 10000
    FROM spans
    WHERE days = 9999
),
filled AS (
    SELECT c.graph, c.place, c.until_hour, COALESCE(d.successes, 0) AS successes, d.first_hour,
        d.last_hour, d.gap_hours,
        COALESCE(
            MAX(d.last_hour) OVER (
                PARTITION BY c.graph ORDER BY c.place
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            c.first_hour
        ) AS before_hour,
        COALESCE(
            MIN(d.first_hour) OVER (
                PARTITION BY c.graph ORDER BY c.place DESC
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            c.until_hour
        ) AS after_hour,
        LEAST(24.0 * (c.place + 1), c.until_hour) AS end_hour
    FROM calendar AS c
    LEFT JOIN daily AS d ON c.graph = d.graph AND c.place = d.place
)
SELECT g.project_id, g.graph_id, g.graph_name, g.project_name,
    DATE '1970-01-01' + CAST(f.place AS INTEGER) AS day, f.successes,
    CASE
        WHEN f.successes > 0 THEN GREATEST(
            f.first_hour - f.before_hour, COALESCE(f.gap_hours, 0.0), f.after_hour - f.last_hour, 0.0
        )
        WHEN f.before_hour <= f.after_hour THEN f.after_hour - f.before_hour
    END AS longest_gap_hours,
    CASE
        WHEN f.successes > 0 THEN GREATEST(
            f.first_hour - f.before_hour, COALESCE(f.gap_hours, 0.0), f.end_hour - f.last_hour, 0.0
        )
        WHEN f.before_hour <= f.end_hour THEN f.end_hour - f.before_hour
    END AS oldest_age_hours
FROM filled AS f
JOIN graphs AS g ON f.graph = g.graph
WHERE f.place > g.last_place - 10000
