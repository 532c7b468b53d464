-- Events that were taken but cannot be judged yet: what they follow was told by their server, and
-- cannot be judged because something is missing. They are tried again when the server is heard of.
CREATE TABLE held_events (
    room_nid integer NOT NULL REFERENCES rooms ON DELETE CASCADE,
    origin   text    NOT NULL,
    event_id text    NOT NULL,
    json     bytea   NOT NULL,
    PRIMARY KEY (room_nid, origin, event_id)
);
