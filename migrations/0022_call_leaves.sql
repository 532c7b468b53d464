-- Delayed events by which participants leave calls, and which this server puts off or sends by
-- what LiveKit says of them: one for each participant of a LiveKit room.
CREATE TABLE call_leaves (
    room       text NOT NULL,
    identity   text NOT NULL,
    -- The homeserver that has the delayed event.
    server     text NOT NULL,
    delay_id   text NOT NULL,
    delay_ms   bigint NOT NULL,
    -- 1 waiting for the participant, 2 connected, 3 said to be gone, 4 leaving
    phase      smallint NOT NULL,
    since_ts   bigint NOT NULL,
    expires_ts bigint NOT NULL,
    PRIMARY KEY (room, identity)
);
INSERT INTO duties (name, position) VALUES ('call_leaves', 0);
