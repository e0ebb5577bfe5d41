-- How each graph's latest listing went, and how old what is known of it is.
-- Grain: one row per graph that was ever asked for, by itself or, where LISTING is project, with its
-- whole project: that counts for each of its graphs at the source which has no later one of its own.
-- Units: stale_hours, in hours since the graph was last read without an error (its latest listing
-- that was complete or incremental, and not of a window of starts only); null where it never was.
-- Columns:
--   listed_at [UTC]: When the graph's latest listing began.
--   outcome: complete, incremental, missing, forbidden or failed.
--   error_code: The API's error code, if any.
--   last_complete_at [UTC]: When its last complete listing began.
--   stale_hours [h]: Hours since it was last read without an error.
--   error_msg: What went wrong, if anything.
--   backup_count: Backups that the API counted last; null for a listing of the whole project.
--   requests: Requests that the listing took; null for a listing of the whole project.
--   restarts: Times it was read again from the start; null for a listing of the whole project.
-- Key: project_id, graph_id
-- Time: listed_at
-- Now: CASE WHEN outcome IN ('complete', 'incremental') THEN 1 ELSE 0 END, stale_hours DESC NULLS FIRST
-- Empty: no graph was listed yet
-- Reads: ges.listings, reports.graph_names.
WITH latest AS (
    SELECT project_id, graph_id, listed_at, outcome, error_code, error_msg, last_complete_at,
        backup_count, requests, restarts, COALESCE(last_read_at, last_complete_at) AS read_at
    FROM ges.listings
),
chosen AS (
    SELECT n.project_id, n.graph_id, n.graph_name, n.project_name, o.listed_at AS own_at,
        o.listed_at IS NULL OR COALESCE(w.listed_at > o.listed_at, FALSE) AS is_whole,
        w.listed_at AS whole_at, COALESCE(GREATEST(o.read_at, w.read_at), o.read_at, w.read_at)
            AS read_at,
        o.outcome, o.error_code, o.error_msg, o.last_complete_at, o.backup_count, o.requests,
        o.restarts, w.outcome AS whole_outcome, w.error_code AS whole_error_code,
        w.error_msg AS whole_error_msg, w.last_complete_at AS whole_complete_at
    FROM reports.graph_names AS n
    LEFT JOIN latest AS o ON n.project_id = o.project_id AND n.graph_id = o.graph_id
    LEFT JOIN (SELECT * FROM latest WHERE graph_id = '*') AS w
        ON n.project_id = w.project_id AND n.graph_deleted_at IS NULL
)
SELECT project_id, graph_id, graph_name, project_name,
    CASE WHEN is_whole THEN whole_at ELSE own_at END AS listed_at,
    CASE WHEN is_whole THEN whole_outcome ELSE outcome END AS outcome,
    CASE WHEN is_whole THEN whole_error_code ELSE error_code END AS error_code,
    CASE WHEN is_whole THEN whole_complete_at ELSE last_complete_at END AS last_complete_at,
    (EPOCH(CURRENT_TIMESTAMP) - EPOCH(read_at)) / 3600.0 AS stale_hours,
    CASE WHEN is_whole THEN whole_error_msg ELSE error_msg END AS error_msg,
    CASE WHEN NOT is_whole THEN backup_count END AS backup_count,
    CASE WHEN NOT is_whole THEN requests END AS requests,
    CASE WHEN NOT is_whole THEN restarts END AS restarts
FROM chosen
WHERE own_at IS NOT NULL OR whole_at IS NOT NULL
