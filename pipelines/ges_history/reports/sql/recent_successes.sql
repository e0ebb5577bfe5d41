-- The newest successes of each graph: all that the figures of today are computed from.
-- Grain: one row per successful backup, of each graph at least the 128 newest and those of the 120
-- days up to the last one (or up to now, where that is earlier), whole UTC days; all of them where
-- fewer than 98 of the days have a size of each success. So the 97 newest points of size_trend,
-- the 30 gaps of recovery_point, those that ended in the last 90 days, and the 30 successes
-- before each one of the last 7 days follow from these rows as from all.
-- Units: MB, seconds, as in ges.backups.
-- Columns:
--   graph: Number of the graph among these; one number is quicker to compare than two ids.
--   id: Backup ID.
--   status: success.
--   start_timestamp: Start of the backup, milliseconds since 1970.
--   started_at [UTC]: The same.
--   size [MB]: Size of the backup file.
--   duration [s]: Duration as the API reports it.
-- Key: project_id, id
-- Reads: ges.backups.
-- One column to order by: DuckDB then keeps the newest of each graph, and sorts nothing.
WITH latest AS (
    SELECT project_id, graph_id, start_timestamp
    FROM (
        SELECT project_id, graph_id, start_timestamp,
            ROW_NUMBER() OVER (
                PARTITION BY project_id, graph_id ORDER BY start_timestamp DESC
            ) AS place
        FROM ges.backups
        WHERE status = 'success'
    ) AS placed
    WHERE place <= 128
),
firsts AS (
    SELECT project_id, graph_id, ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS graph,
        FLOOR(
            LEAST(
                CAST(MIN(start_timestamp) AS DOUBLE),
                LEAST(CAST(MAX(start_timestamp) AS DOUBLE), EPOCH(CURRENT_TIMESTAMP) * 1000.0)
                - 120 * 86400000.0
            ) / 86400000.0
        ) * 86400000.0 AS first_timestamp
    FROM latest
    GROUP BY project_id, graph_id
),
days AS (
    SELECT b.project_id, b.graph_id, FLOOR(b.start_timestamp / 86400000.0) AS day
    FROM ges.backups AS b
    JOIN firsts AS f ON b.project_id = f.project_id AND b.graph_id = f.graph_id
    WHERE b.status = 'success' AND b.start_timestamp >= f.first_timestamp
    GROUP BY b.project_id, b.graph_id, FLOOR(b.start_timestamp / 86400000.0)
    HAVING COUNT(*) = COUNT(b.size)
),
counted AS (
    SELECT project_id, graph_id, COUNT(*) AS days
    FROM days
    GROUP BY project_id, graph_id
),
bounds AS (
    SELECT f.project_id, f.graph_id, f.graph,
        CASE WHEN k.days >= 98 THEN f.first_timestamp ELSE 0.0 END AS first_timestamp
    FROM firsts AS f
    LEFT JOIN counted AS k ON f.project_id = k.project_id AND f.graph_id = k.graph_id
),
chosen AS MATERIALIZED (
    SELECT b.project_id, b.graph_id, o.graph, b.id, b.status, b.start_timestamp, b.started_at,
        b.size, b.duration
    FROM ges.backups AS b
    JOIN bounds AS o ON b.project_id = o.project_id AND b.graph_id = o.graph_id
    WHERE b.status = 'success' AND b.start_timestamp >= o.first_timestamp
)
SELECT project_id, graph_id, graph, id, status, start_timestamp, started_at, size, duration
FROM chosen
