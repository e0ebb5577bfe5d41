-- Successful backups whose size or duration is far from what the ones before them lead to expect.
-- Grain: one row per backup and kind (size_drop, size_jump, slow).
-- Units: value and expected in MB for sizes, in seconds for slow; change_pct in percent of
-- expected (null where that is 0); deviation, signed, in robust standard deviations.
-- expected is the median of the up to 30 successes before (at least 8 with a known value). The
-- deviation is the difference by the largest of 1.4826 times their median absolute deviation,
-- 1 % of expected, and 1. Listed where it is beyond 5 and the change beyond 20 %.
-- Columns:
--   backup_id: ID of the backup.
--   started_at [UTC]: Its start.
--   kind: size_drop, size_jump or slow.
--   value [MB or s]: Its size, or for slow its duration.
--   expected [MB or s]: Median of the up to 30 successes before.
--   deviation [robust sd]: Difference in robust standard deviations, signed.
--   change_pct [%]: Difference in percent of expected; null where that is 0.
-- Key: project_id, graph_id, started_at, backup_id, kind
-- Time: started_at
-- Empty: no backup differs from the 8 or more successes before it by 20 % and 5 robust standard deviations
-- Reads: ges.backups, reports.graph_names.
-- A number in place of each graph's ids: what follows sorts and joins millions of rows by it.
WITH graphs AS (
    SELECT project_id, graph_id, graph_name, project_name,
        ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS graph
    FROM reports.graph_names
),
successes AS (
    SELECT g.graph, b.id, b.start_timestamp, b.started_at, b.size, b.duration
    FROM ges.backups AS b
    JOIN graphs AS g ON b.project_id = g.project_id AND b.graph_id = g.graph_id
    WHERE b.status = 'success'
),
numbered AS (
    SELECT graph, id, started_at, size, duration,
        ROW_NUMBER() OVER (
            PARTITION BY graph ORDER BY start_timestamp, id
        ) AS place,
        AVG(size) OVER (
            PARTITION BY graph ORDER BY start_timestamp, id
            ROWS BETWEEN 30 PRECEDING AND 1 PRECEDING
        ) AS size_mean,
        STDDEV_POP(size) OVER (
            PARTITION BY graph ORDER BY start_timestamp, id
            ROWS BETWEEN 30 PRECEDING AND 1 PRECEDING
        ) AS size_spread,
        AVG(duration) OVER (
            PARTITION BY graph ORDER BY start_timestamp, id
            ROWS BETWEEN 30 PRECEDING AND 1 PRECEDING
        ) AS duration_mean,
        STDDEV_POP(duration) OVER (
            PARTITION BY graph ORDER BY start_timestamp, id
            ROWS BETWEEN 30 PRECEDING AND 1 PRECEDING
        ) AS duration_spread
    FROM successes
),
-- The 30 before a backup are in its own block of 30 or the one before: joins go by blocks.
ordered AS MATERIALIZED (
    SELECT graph, id, started_at, size, duration, place, size_mean, size_spread,
        duration_mean, duration_spread, CAST(FLOOR(place / 30.0) AS BIGINT) AS block
    FROM numbered
),
-- A median is within one standard deviation of the mean: these are all that can be beyond 20 %
-- of it. The rest needs no median, which is slow, and which PostgreSQL has not in a window.
candidates AS MATERIALIZED (
    SELECT graph, id, started_at, place, block, size, duration
    FROM ordered
    WHERE place > 8 AND (
        size > GREATEST(1.19 * (size_mean - size_spread), size_mean - size_spread + 4.9)
        OR size < LEAST(0.81 * (size_mean + size_spread), size_mean + size_spread - 4.9)
        OR duration > GREATEST(
            1.19 * (duration_mean - duration_spread), duration_mean - duration_spread + 4.9
        )
    )
),
candidate_blocks AS (
    SELECT graph, place, block, size, duration FROM candidates
    UNION ALL
    SELECT graph, place, block - 1 AS block, size, duration FROM candidates
),
-- Beyond 20 % of the median means beyond 20 % of at least half of them, and counting is fast.
suspects AS (
    SELECT c.graph, c.place
    FROM candidate_blocks AS c
    JOIN ordered AS p
        ON c.graph = p.graph AND c.block = p.block
        AND p.place BETWEEN c.place - 30 AND c.place - 1
    GROUP BY c.graph, c.place
    HAVING 2 * COUNT(CASE WHEN c.size >= 1.19 * p.size THEN 1 END) >= COUNT(p.size)
        OR 2 * COUNT(CASE WHEN c.size <= 0.81 * p.size THEN 1 END) >= COUNT(p.size)
        OR 2 * COUNT(CASE WHEN c.duration >= 1.19 * p.duration THEN 1 END) >= COUNT(p.duration)
),
suspect_blocks AS (
    SELECT c.graph, c.place, c.block
    FROM candidate_blocks AS c
    JOIN suspects AS s
        ON c.graph = s.graph AND c.place = s.place
),
earlier AS MATERIALIZED (
    SELECT c.graph, c.place, p.size, p.duration
    FROM suspect_blocks AS c
    JOIN ordered AS p
        ON c.graph = p.graph AND c.block = p.block
        AND p.place BETWEEN c.place - 30 AND c.place - 1
),
medians AS (
    SELECT graph, place,
        COUNT(size) AS sizes, MEDIAN(size) AS usual_size,
        COUNT(duration) AS durations, MEDIAN(duration) AS usual_duration
    FROM earlier
    GROUP BY graph, place
),
changed AS MATERIALIZED (
    SELECT c.graph, c.id, c.started_at, c.place, c.size, c.duration,
        m.usual_size, m.usual_duration,
        m.sizes >= 8 AND ABS(c.size - m.usual_size) > 0.2 * m.usual_size AS is_resized,
        m.durations >= 8 AND c.duration - m.usual_duration > 0.2 * m.usual_duration AS is_slow
    FROM candidates AS c
    JOIN medians AS m
        ON c.graph = m.graph AND c.place = m.place
),
deviations AS MATERIALIZED (
    SELECT c.graph, c.place,
        MEDIAN(ABS(b.size - c.usual_size)) AS size_deviation,
        MEDIAN(ABS(b.duration - c.usual_duration)) AS duration_deviation
    FROM changed AS c
    JOIN earlier AS b
        ON c.graph = b.graph AND c.place = b.place
    WHERE c.is_resized OR c.is_slow
    GROUP BY c.graph, c.place
),
measured AS (
    SELECT c.graph, c.id, c.started_at,
        CASE WHEN c.size < c.usual_size THEN 'size_drop' ELSE 'size_jump' END AS kind,
        c.size AS value, c.usual_size AS expected,
        GREATEST(1.4826 * d.size_deviation, 0.01 * c.usual_size, 1.0) AS scale
    FROM changed AS c
    JOIN deviations AS d
        ON c.graph = d.graph AND c.place = d.place
    WHERE c.is_resized
    UNION ALL
    SELECT c.graph, c.id, c.started_at,
        'slow' AS kind,
        c.duration AS value, c.usual_duration AS expected,
        GREATEST(1.4826 * d.duration_deviation, 0.01 * c.usual_duration, 1.0) AS scale
    FROM changed AS c
    JOIN deviations AS d
        ON c.graph = d.graph AND c.place = d.place
    WHERE c.is_slow
)
SELECT n.project_id, n.graph_id, n.graph_name, n.project_name, m.id AS backup_id, m.started_at,
    m.kind, m.value, m.expected, (m.value - m.expected) / m.scale AS deviation,
    100.0 * (m.value - m.expected) / NULLIF(m.expected, 0) AS change_pct
FROM measured AS m
JOIN graphs AS n ON m.graph = n.graph
WHERE ABS(m.value - m.expected) > 5 * m.scale
