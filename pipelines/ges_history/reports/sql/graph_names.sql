-- One name per graph, the newest known; the other reports take theirs from here.
-- Grain: one row per graph (project_id, graph_id) that was ever listed, asked for or backed up.
-- The name is that of the project's list of graphs, else that of the newest backup by start
-- (then id), else the id. graph_deleted_at is set where the graph has left the project's list.
-- Reads: ges.graphs, ges.listings, ges.backups.
WITH listed AS (
    SELECT project_id, id AS graph_id, name AS graph_name, deleted_at AS graph_deleted_at
    FROM ges.graphs
),
unlisted AS (
    SELECT b.project_id, b.graph_id, b.graph_name, b.start_timestamp, b.id
    FROM ges.backups AS b
    LEFT JOIN listed AS l ON b.project_id = l.project_id AND b.graph_id = l.graph_id
    WHERE l.graph_name IS NULL AND b.graph_name IS NOT NULL
),
newest_start AS (
    SELECT project_id, graph_id, MAX(start_timestamp) AS start_timestamp
    FROM unlisted
    GROUP BY project_id, graph_id
),
newest AS (
    SELECT u.project_id, u.graph_id, u.graph_name,
        ROW_NUMBER() OVER (PARTITION BY u.project_id, u.graph_id ORDER BY u.id DESC) AS place
    FROM newest_start AS n
    JOIN unlisted AS u
        ON n.project_id = u.project_id AND n.graph_id = u.graph_id
        AND n.start_timestamp = u.start_timestamp
),
known AS (
    SELECT project_id, graph_id FROM listed
    UNION
    SELECT project_id, graph_id FROM ges.listings
    UNION
    SELECT DISTINCT project_id, graph_id FROM ges.backups
)
SELECT k.project_id, k.graph_id, COALESCE(l.graph_name, n.graph_name, k.graph_id) AS graph_name,
    l.graph_deleted_at
FROM known AS k
LEFT JOIN listed AS l ON k.project_id = l.project_id AND k.graph_id = l.graph_id
LEFT JOIN newest AS n
    ON k.project_id = n.project_id AND k.graph_id = n.graph_id AND n.place = 1
