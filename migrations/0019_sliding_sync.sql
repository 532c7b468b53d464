-- Connections of sliding sync: which rooms were sent down each, and how far. Messages that are told
-- change nothing here, as the token has the position; rooms that come into view or drop out of it do.
CREATE TABLE sliding_connections (
    connection_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_nid       integer NOT NULL,
    -- 0 for a token without a device
    device_nid     integer NOT NULL,
    conn_id        text NOT NULL,
    last_version   integer NOT NULL,
    used_ts        bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX sliding_connections_device ON sliding_connections (user_nid, device_nid);
CREATE INDEX sliding_connections_used ON sliding_connections (used_ts);

-- What a client that has a version of its connection has been sent. A version is told by the rooms
-- in which it differs from its base, or whole. The arrays have an entry for each room.
CREATE TABLE sliding_versions (
    connection_nid  bigint NOT NULL REFERENCES sliding_connections ON DELETE CASCADE,
    version         integer NOT NULL,
    base_version    integer,
    -- The extensions by which the client has data of its account.
    extensions      smallint NOT NULL,
    room_nids       integer[] NOT NULL,
    -- Up to which position the room was sent: 0 for that of the token, -1 for a room that is gone.
    positions       bigint[] NOT NULL,
    timeline_limits integer[] NOT NULL,
    -- Which extensions the client has of the room.
    room_extensions smallint[] NOT NULL,
    -- Places in the list of required states below.
    requirements    smallint[] NOT NULL,
    required_states text[] NOT NULL,
    PRIMARY KEY (connection_nid, version)
);
