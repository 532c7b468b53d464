-- Application services: how far each has been told of the stream, and rooms that they list.

CREATE TABLE appservices (
    service_id text PRIMARY KEY,
    -- Everything up to here has been delivered.
    position   bigint NOT NULL,
    -- The number of the last transaction that was begun.
    txn_id     bigint NOT NULL DEFAULT 0,
    -- How far the transaction reaches that is under way; null if none is. It has everything after
    -- "position" up to here, so that it can be made again as it was.
    reaches    bigint
);

CREATE TABLE appservice_delivery (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- The process that delivers, by its number among the peers of the stream.
    holder    integer
);
INSERT INTO appservice_delivery DEFAULT VALUES;

CREATE TABLE appservice_rooms (
    room_nid   integer NOT NULL REFERENCES rooms ON DELETE CASCADE,
    service_id text NOT NULL,
    network_id text NOT NULL,
    PRIMARY KEY (service_id, network_id, room_nid)
);
CREATE INDEX appservice_rooms_room ON appservice_rooms (room_nid);
