-- How each graph's latest listing went, and how old what is known of it is.
-- Grain: one row per graph that was ever asked for.
-- Units: stale_hours, in hours since the graph was last read without an error (its latest listing
-- where that was complete or incremental, else its last complete one); null where it never was.
-- Columns:
--   listed_at [UTC]: When the graph's latest listing began.
--   outcome: complete, incremental, missing, forbidden or failed.
--   error_code: The API's error code, if any.
--   last_complete_at [UTC]: When its last complete listing began.
--   stale_hours [h]: Hours since it was last read without an error.
--   error_msg: What went wrong, if anything.
--   backup_count: Backups that the API counted last.
--   requests: Requests that the listing took.
--   restarts: Times it was read again from the start.
-- Key: project_id, graph_id
-- Time: listed_at
-- Now: CASE WHEN outcome IN ('complete', 'incremental') THEN 1 ELSE 0 END, stale_hours DESC NULLS FIRST
-- Empty: no graph was listed yet
-- Reads: ges.listings, reports.graph_names.
SELECT l.project_id, l.graph_id, n.graph_name, n.project_name, l.listed_at, l.outcome,
    l.error_code, l.last_complete_at,
    (EPOCH(CURRENT_TIMESTAMP) - EPOCH(
        CASE
            WHEN l.outcome IN ('complete', 'incremental') THEN l.listed_at
            ELSE l.last_complete_at
        END
    )) / 3600.0 AS stale_hours,
    l.error_msg, l.backup_count, l.requests, l.restarts
FROM ges.listings AS l
JOIN reports.graph_names AS n ON l.project_id = n.project_id AND l.graph_id = n.graph_id
