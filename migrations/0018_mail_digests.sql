-- How often a pusher by mail tells of a room: the mails come ever more rarely.
CREATE TABLE mail_throttles (
    pusher_nid  integer NOT NULL REFERENCES pushers (pusher_nid) ON DELETE CASCADE,
    room_nid    integer NOT NULL,
    sent_ts     bigint NOT NULL,
    throttle_ms bigint NOT NULL,
    PRIMARY KEY (pusher_nid, room_nid)
);
