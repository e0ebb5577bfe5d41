-- Whether each graph had a success on each day, and how long it was without one.
-- Grain: one row per graph and UTC day from its first known day to that of known_until (see
-- graph_names), at most the last 10,000; a graph that was never backed up has its last day only.
-- Units: hours. successes counts those that started on the day. longest_gap_hours is the whole
-- length of the longest time without a new success that touches the day, from start to start of
-- successes; before the first success it begins with the first backup of any status, and the one
-- still open ends at known_until. oldest_age_hours is the highest age that the last success
-- reached on the day (at its end, or at the last success before the next began): a recovery point
-- objective of so many hours was met on the day where this is not above it. A time without a success
-- that ended with the first instant of a day is none of that day. Both are null where there never
-- was a backup. reports.gaps has the same gaps one by one, with their backups.
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
        first_ms, until_ms, CAST(FLOOR(until_ms / 86400000.0) AS BIGINT) AS last_place
    FROM (
        SELECT project_id, graph_id, graph_name, project_name,
            CAST(ROUND(EPOCH(first_backup_at) * 1000.0) AS BIGINT) AS first_ms,
            CAST(ROUND(EPOCH(known_until) * 1000.0) AS BIGINT) AS until_ms
        FROM reports.graph_names
        WHERE known_until IS NOT NULL
    ) AS known
),
-- Time is in whole milliseconds, so that what is exactly at a target is, and days are counted, since
-- 1970-01-01 UTC: dates are written differently everywhere.
successes AS (
    SELECT g.graph, b.start_timestamp AS ms,
        GREATEST(
            CAST(FLOOR(b.start_timestamp / 86400000.0) AS BIGINT), g.last_place - 10000
        ) AS place,
        b.start_timestamp - LAG(b.start_timestamp) OVER (
            PARTITION BY g.graph, FLOOR(b.start_timestamp / 86400000.0)
            ORDER BY b.start_timestamp
        ) AS gap_ms
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success'
),
-- What was before the last 10,000 days is one place more, which is not told.
daily AS (
    SELECT graph, place, COUNT(*) AS successes, MIN(ms) AS first_ms, MAX(ms) AS last_ms,
        MAX(gap_ms) AS gap_ms
    FROM successes
    GROUP BY graph, place
),
digits AS (
    SELECT 0 AS digit UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
),
spans AS (
    SELECT graph, until_ms, first_ms, last_place,
        LEAST(
            last_place
                - CAST(FLOOR(LEAST(COALESCE(first_ms, until_ms), until_ms) / 86400000.0) AS BIGINT),
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
    SELECT s.graph, s.first_ms, s.until_ms, s.last_place - n.number AS place
    FROM spans AS s
    JOIN numbers AS n ON n.number <= s.days
    UNION ALL
    SELECT graph, first_ms, until_ms, last_place - 10000
    FROM spans
    WHERE days = 9999
),
filled AS (
    SELECT c.graph, c.place, c.until_ms, COALESCE(d.successes, 0) AS successes, d.first_ms,
        d.last_ms, d.gap_ms,
        COALESCE(
            MAX(d.last_ms) OVER (
                PARTITION BY c.graph ORDER BY c.place
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            c.first_ms
        ) AS before_ms,
        COALESCE(
            MIN(d.first_ms) OVER (
                PARTITION BY c.graph ORDER BY c.place DESC
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            c.until_ms
        ) AS after_ms,
        86400000 * c.place AS begin_ms, LEAST(86400000 * (c.place + 1), c.until_ms) AS end_ms
    FROM calendar AS c
    LEFT JOIN daily AS d ON c.graph = d.graph AND c.place = d.place
)
SELECT g.project_id, g.graph_id, g.graph_name, g.project_name,
    DATE '1970-01-01' + CAST(f.place AS INTEGER) AS day, f.successes,
    CASE
        WHEN f.successes > 0 THEN GREATEST(
            CASE WHEN f.first_ms > f.begin_ms THEN f.first_ms - f.before_ms ELSE 0 END,
            COALESCE(f.gap_ms, 0), f.after_ms - f.last_ms, 0
        )
        WHEN f.before_ms <= f.after_ms THEN f.after_ms - f.before_ms
    END / 3600000.0 AS longest_gap_hours,
    CASE
        WHEN f.successes > 0 THEN GREATEST(
            CASE WHEN f.first_ms > f.begin_ms THEN f.first_ms - f.before_ms ELSE 0 END,
            COALESCE(f.gap_ms, 0), f.end_ms - f.last_ms, 0
        )
        WHEN f.before_ms <= f.end_ms THEN f.end_ms - f.before_ms
    END / 3600000.0 AS oldest_age_hours
FROM filled AS f
JOIN graphs AS g ON f.graph = g.graph
WHERE f.place > g.last_place - 10000
