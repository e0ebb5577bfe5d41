-- Every project that the history knows, under its name in the settings.
-- Grain: one row per project that was ever listed, an empty one too.
-- Columns:
--   region: Region, or the host of its endpoint.
--   first_listed_at [UTC]: When it was first listed.
--   loaded_at [UTC]: When it was last listed.
-- Key: project_id
-- Reads: ges.projects, reports.graph_names.
WITH traces AS (
    SELECT id AS project_id, last_listed_at AS loaded_at FROM ges.projects
    UNION ALL
    SELECT project_id, loaded_at FROM reports.graph_names
),
known AS (
    SELECT project_id, MAX(loaded_at) AS loaded_at
    FROM traces
    GROUP BY project_id
)
SELECT k.project_id, COALESCE(p.name, k.project_id) AS project_name, p.region, p.first_listed_at,
    k.loaded_at
FROM known AS k
LEFT JOIN ges.projects AS p ON k.project_id = p.id
