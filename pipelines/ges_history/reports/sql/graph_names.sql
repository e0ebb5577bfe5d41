-- One name per graph and per project, and until when each is known; the reports take them from here.
-- Grain: one row per graph (project_id, graph_id) that was ever listed, asked for or backed up.
-- The name is that of the project's list of graphs, else that of the newest backup by start
-- (then id), else the id. graph_deleted_at is set where the graph has left the project's list, or
-- stands there while the API answers to its own listing that there is no such graph; such a graph
-- is not at the source until it is listed without an error.
-- loaded_at is when the project was last listed, whatever came of it. known_until is when the
-- graph was last listed without an error, by itself or with its whole project (graph_id '*'), or
-- the start of its newest backup where that is later and not ahead of the clock. A graph without
-- any listing is known until its project was last listed.
-- Columns:
--   region: Region of the project, or the host of its endpoint.
--   graph_deleted_at [UTC]: When a listing first found the graph missing; null while the API knows it.
--   loaded_at [UTC]: When the project was last listed, whatever came of it.
--   first_backup_at [UTC]: Start of the graph's first backup known, of any status.
--   known_until [UTC]: Until when the graph is known; what came later was not listed yet.
-- Key: project_id, graph_id
-- Reads: ges.graphs, ges.listings, ges.projects, ges.backups.
WITH listed AS (
    SELECT project_id, id AS graph_id, name AS graph_name, deleted_at AS graph_deleted_at
    FROM ges.graphs
),
newest_start AS (
    SELECT b.project_id, b.graph_id, MAX(b.start_timestamp) AS start_timestamp
    FROM ges.backups AS b
    LEFT JOIN listed AS l ON b.project_id = l.project_id AND b.graph_id = l.graph_id
    WHERE l.graph_name IS NULL AND b.graph_name IS NOT NULL
    GROUP BY b.project_id, b.graph_id
),
newest AS (
    SELECT u.project_id, u.graph_id, u.graph_name,
        ROW_NUMBER() OVER (PARTITION BY u.project_id, u.graph_id ORDER BY u.id DESC) AS place
    FROM newest_start AS n
    JOIN ges.backups AS u
        ON n.project_id = u.project_id AND n.graph_id = u.graph_id
        AND n.start_timestamp = u.start_timestamp
    WHERE u.graph_name IS NOT NULL
),
listings AS (
    SELECT project_id, graph_id, listed_at, COALESCE(last_read_at, last_complete_at) AS read_at
    FROM ges.listings
),
known AS (
    SELECT project_id, graph_id, MIN(first_backup_at) AS first_backup_at,
        MAX(last_backup_at) AS last_backup_at, MAX(listed_at) AS listed_at,
        MAX(read_at) AS read_at
    FROM (
        SELECT project_id, graph_id, CAST(NULL AS TIMESTAMPTZ) AS first_backup_at,
            CAST(NULL AS TIMESTAMPTZ) AS last_backup_at, CAST(NULL AS TIMESTAMPTZ) AS listed_at,
            CAST(NULL AS TIMESTAMPTZ) AS read_at
        FROM listed
        UNION ALL
        SELECT project_id, graph_id, NULL AS first_backup_at, NULL AS last_backup_at, listed_at,
            read_at
        FROM listings
        WHERE graph_id <> '*'
        UNION ALL
        SELECT project_id, graph_id, MIN(started_at) AS first_backup_at,
            MAX(started_at) AS last_backup_at, NULL AS listed_at, NULL AS read_at
        FROM ges.backups
        GROUP BY project_id, graph_id
    ) AS traces
    GROUP BY project_id, graph_id
),
whole AS (
    SELECT project_id, read_at FROM listings WHERE graph_id = '*'
),
loads AS (
    SELECT project_id, MAX(listed_at) AS loaded_at
    FROM (
        SELECT project_id, listed_at FROM listings
        UNION ALL
        SELECT id AS project_id, last_listed_at AS listed_at FROM ges.projects
    ) AS times
    GROUP BY project_id
),
located AS (
    SELECT k.project_id, k.graph_id, COALESCE(l.graph_name, n.graph_name, k.graph_id) AS graph_name,
        COALESCE(p.name, k.project_id) AS project_name, p.region, l.graph_deleted_at,
        t.loaded_at, k.first_backup_at,
        CASE
            WHEN k.last_backup_at > CURRENT_TIMESTAMP THEN CURRENT_TIMESTAMP
            ELSE k.last_backup_at
        END AS seen_at,
        CASE
            WHEN k.listed_at IS NULL AND w.project_id IS NULL THEN t.loaded_at
            ELSE COALESCE(GREATEST(k.read_at, w.read_at), k.read_at, w.read_at)
        END AS read_at
    FROM known AS k
    LEFT JOIN listed AS l ON k.project_id = l.project_id AND k.graph_id = l.graph_id
    LEFT JOIN newest AS n
        ON k.project_id = n.project_id AND k.graph_id = n.graph_id AND n.place = 1
    LEFT JOIN ges.projects AS p ON k.project_id = p.id
    LEFT JOIN whole AS w ON k.project_id = w.project_id
    LEFT JOIN loads AS t ON k.project_id = t.project_id
)
SELECT project_id, graph_id, graph_name, project_name, region, graph_deleted_at, loaded_at,
    first_backup_at, COALESCE(GREATEST(read_at, seen_at), read_at, seen_at) AS known_until
FROM located
