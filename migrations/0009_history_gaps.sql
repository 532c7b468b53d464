-- What events of a room's timeline follow and this server does not have: where its history breaks off.
CREATE TABLE history_gaps (
    -- The event above the gap; its position is null if it is not shown to anybody (soft-failed).
    event_nid       bigint NOT NULL,
    prev_event_id   text NOT NULL,
    room_nid        integer NOT NULL,
    depth           bigint NOT NULL,
    stream_position bigint,
    PRIMARY KEY (event_nid, prev_event_id)
);
CREATE INDEX history_gaps_missing ON history_gaps (room_nid, prev_event_id);
CREATE INDEX history_gaps_depth ON history_gaps (room_nid, depth, stream_position)
    WHERE stream_position IS NOT NULL;
CREATE INDEX history_gaps_stream ON history_gaps (room_nid, stream_position)
    WHERE stream_position IS NOT NULL;

-- Rooms that were entered before: whatever has a place and follows nothing that is here. PostgreSQL
-- reads no NUL in JSON, which an event may hold but no reference to one.
INSERT INTO history_gaps (event_nid, prev_event_id, room_nid, depth, stream_position)
SELECT e.event_nid,
       CASE json_typeof(prev.reference) WHEN 'array' THEN prev.reference ->> 0 ELSE prev.reference #>> '{}' END,
       e.room_nid, e.depth, e.stream_position
  FROM events AS e
 CROSS JOIN LATERAL json_array_elements(
     replace(convert_from(e.json, 'UTF8'), '\u0000', '\ufffd')::json -> 'prev_events'
 ) AS prev (reference)
 WHERE e.stream_position IS NOT NULL
   AND cardinality(e.prev_nids) = 0
ON CONFLICT DO NOTHING;

-- The room's state after an event that did not alone decide it, because the room had other ends.
CREATE TABLE merged_states (
    stream_position bigint PRIMARY KEY,
    snapshot_nid    bigint NOT NULL
);
