-- The one ordered stream, the strings behind the integer ids, rooms, events and their states.
-- Positions are handed out by an UPDATE of the single row of "stream": its row lock is held until
-- the commit, so position order is commit order and no position is ever missing.

CREATE TABLE stream (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position  bigint NOT NULL DEFAULT 0,
    -- The server processes that run over this database; each holds the advisory lock of its number.
    peers     integer[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 10);
INSERT INTO stream DEFAULT VALUES;

CREATE SEQUENCE event_nids INCREMENT 1;
CREATE SEQUENCE snapshot_nids INCREMENT 1;
CREATE SEQUENCE backfill_positions INCREMENT -1 START -1 MINVALUE -9223372036854775807 MAXVALUE -1;

-- Everyone, on this server or another.
CREATE TABLE users (
    user_nid integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id  text NOT NULL UNIQUE
);

CREATE TABLE event_types (
    type_nid integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type     text NOT NULL UNIQUE
);

-- A pair of event type and state key: the place of an event in a room's state.
CREATE TABLE state_places (
    place_nid integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type_nid  integer NOT NULL REFERENCES event_types,
    state_key text NOT NULL,
    UNIQUE (type_nid, state_key)
);

CREATE TABLE rooms (
    room_nid     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id      text NOT NULL UNIQUE,
    room_version text NOT NULL,
    published    boolean NOT NULL DEFAULT false,
    creator_nid  integer REFERENCES users,
    created_ts   bigint NOT NULL
);
CREATE INDEX rooms_published ON rooms (room_nid) WHERE published;

-- What every event of a room moves on; apart from "rooms", so that these rows stay small and hot.
CREATE TABLE room_heads (
    room_nid            integer PRIMARY KEY REFERENCES rooms,
    revision            bigint NOT NULL,
    snapshot_nid        bigint,
    max_depth           bigint NOT NULL,
    forward_extremities bigint[] NOT NULL
) WITH (fillfactor = 40);

CREATE TABLE events (
    event_nid        bigint PRIMARY KEY,
    -- Null for outliers and rejected events, negative for history that was fetched later.
    stream_position  bigint,
    depth            bigint NOT NULL,
    origin_server_ts bigint NOT NULL,
    -- The room's state after this event; null for outliers.
    snapshot_nid     bigint,
    -- The state event whose place this one took.
    replaces_nid     bigint,
    redacted_by      bigint,
    room_nid         integer NOT NULL,
    sender_nid       integer NOT NULL,
    type_nid         integer NOT NULL,
    place_nid        integer,
    -- 0 accepted, 1 soft-failed, 2 rejected, 3 outlier
    standing         smallint NOT NULL DEFAULT 0,
    prev_nids        bigint[] NOT NULL,
    auth_nids        bigint[] NOT NULL,
    event_id         text NOT NULL UNIQUE,
    json             bytea NOT NULL
);
ALTER TABLE events ALTER COLUMN json SET STORAGE MAIN;
CREATE UNIQUE INDEX events_stream ON events (stream_position) WHERE stream_position IS NOT NULL;
CREATE INDEX events_room_stream ON events (room_nid, stream_position) WHERE stream_position IS NOT NULL;
CREATE INDEX events_room_place ON events (room_nid, place_nid, stream_position)
    WHERE place_nid IS NOT NULL AND stream_position IS NOT NULL;
CREATE INDEX events_room_depth ON events (room_nid, depth, stream_position) INCLUDE (origin_server_ts)
    WHERE stream_position IS NOT NULL;

-- A layer of room state: what it sets over the layers below it. "layers" lists the whole stack,
-- this one first. Entries are sorted by place; an event of 0 removes the place.
CREATE TABLE state_snapshots (
    snapshot_nid bigint PRIMARY KEY,
    room_nid     integer NOT NULL,
    layers       bigint[] NOT NULL,
    sizes        integer[] NOT NULL,
    places       integer[] NOT NULL,
    event_nids   bigint[] NOT NULL
);

-- Members are told apart from the rest: a large room has thousands of them, and most readers want
-- the few other events.
CREATE TABLE current_state (
    event_nid bigint NOT NULL,
    room_nid  integer NOT NULL,
    place_nid integer NOT NULL,
    is_member boolean NOT NULL,
    PRIMARY KEY (room_nid, place_nid)
) WITH (fillfactor = 85);
CREATE INDEX current_state_without_members ON current_state (room_nid) WHERE NOT is_member;
CREATE INDEX current_state_place ON current_state (place_nid);

-- Everybody's latest membership of a room, as its current state has it; for users of this server
-- also of rooms that the server is not in (invites and knocks from elsewhere).
CREATE TABLE memberships (
    user_nid        integer NOT NULL,
    room_nid        integer NOT NULL,
    event_nid       bigint NOT NULL,
    stream_position bigint NOT NULL,
    sender_nid      integer NOT NULL,
    -- 1 join, 2 invite, 3 knock, 4 leave, 5 ban
    membership      smallint NOT NULL,
    is_local        boolean NOT NULL,
    forgotten       boolean NOT NULL DEFAULT false,
    -- The stripped state that came with an invite or went with a knock (JSON array).
    stripped_state  bytea,
    PRIMARY KEY (user_nid, room_nid)
) WITH (fillfactor = 85);
CREATE INDEX memberships_room ON memberships (room_nid, membership, is_local);

-- Which request of which device made an event: repeated requests answer the same event.
CREATE TABLE event_transactions (
    event_nid   bigint PRIMARY KEY,
    path_digest bigint NOT NULL,
    device_nid  integer NOT NULL,
    txn_id      text NOT NULL,
    UNIQUE (device_nid, path_digest)
);

-- "stream_position" is that of the event: children are read in its order without a look at them.
CREATE TABLE relations (
    event_nid       bigint PRIMARY KEY,
    stream_position bigint,
    room_nid        integer NOT NULL,
    sender_nid      integer NOT NULL,
    type_nid        integer NOT NULL,
    rel_type        text NOT NULL,
    parent_event_id text NOT NULL,
    annotation_key  text
);
CREATE INDEX relations_parent ON relations (parent_event_id, stream_position);
CREATE INDEX relations_threads ON relations (room_nid, stream_position)
    WHERE rel_type = 'm.thread' AND stream_position IS NOT NULL;

-- Redactions by their target, which may arrive later than they do.
CREATE TABLE redactions (
    event_nid       bigint PRIMARY KEY,
    room_nid        integer NOT NULL,
    redacts         text NOT NULL,
    applied         boolean NOT NULL
);
CREATE INDEX redactions_target ON redactions (redacts);

CREATE TABLE room_aliases (
    alias       text PRIMARY KEY,
    room_id     text NOT NULL,
    creator_nid integer NOT NULL,
    servers     text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX room_aliases_room ON room_aliases (room_id);
