-- How each graph's latest listing went, and how old what is known of it is.
-- Grain: one row per graph that was ever asked for.
-- Units: stale_hours, in hours since the graph was last read without an error (its latest listing
-- where that was complete or incremental, else its last complete one); null where it never was.
-- Time: listed_at
-- Now: CASE WHEN outcome IN ('complete', 'incremental') THEN 1 ELSE 0 END, stale_hours DESC NULLS FIRST
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
