-- Events that are sticky (MSC4354), or were so a short while ago: a job deletes those that are not
-- any more.
CREATE TABLE sticky_events (
    event_nid       bigint PRIMARY KEY,
    room_nid        integer NOT NULL,
    -- From here on clients are told; null while the current state of the room forbids the event.
    stream_position bigint,
    expires_ts      bigint NOT NULL
);
CREATE INDEX sticky_events_room ON sticky_events (room_nid, stream_position);
CREATE INDEX sticky_events_stream ON sticky_events (stream_position);
CREATE INDEX sticky_events_expiry ON sticky_events (expires_ts);
