-- Full-text search. A room is indexed once somebody searches in it, and caught up at each search
-- after that: sending an event costs nothing, and rooms that nobody searches take no space.

CREATE TABLE search_rooms (
    room_nid     integer PRIMARY KEY,
    -- What happened from the one stream position to the other is in the index.
    indexed_from bigint NOT NULL,
    indexed_upto bigint NOT NULL
);

CREATE TABLE search_index (
    event_nid       bigint PRIMARY KEY,
    stream_position bigint NOT NULL,
    room_nid        integer NOT NULL,
    -- 0 body of a message, 1 name of a room, 2 topic of a room
    kind            smallint NOT NULL,
    -- The words, and one for the room, so that the index knows both.
    words           tsvector NOT NULL
);
CREATE INDEX search_index_words ON search_index USING gin (words);
