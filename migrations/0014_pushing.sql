-- How far each pusher has got, and which process does what only one of all may do.

ALTER TABLE pushers
    ADD COLUMN pusher_nid   integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN kind         text NOT NULL DEFAULT 'http',
    ADD COLUMN enabled      boolean NOT NULL DEFAULT true,
    ADD COLUMN set_ts       bigint NOT NULL DEFAULT 0,
    -- Everything up to here is pushed, or is not to be.
    ADD COLUMN sent_upto    bigint NOT NULL DEFAULT 0,
    -- The number of unread messages that was told last.
    ADD COLUMN told_unread  integer NOT NULL DEFAULT 0,
    -- Failures in a row.
    ADD COLUMN failures     integer NOT NULL DEFAULT 0,
    -- When to push what came after sent_upto; null for a pusher that keeps up.
    ADD COLUMN due_ts       bigint;
UPDATE pushers SET set_ts = created_ts, sent_upto = (SELECT position FROM stream);
CREATE INDEX pushers_due ON pushers (due_ts) WHERE due_ts IS NOT NULL;

-- Work that one process does for all: the stream is handed over up to "position" by "holder", the
-- number under which that process holds an advisory lock for as long as it lives.
CREATE TABLE duties (
    name     text PRIMARY KEY,
    position bigint NOT NULL,
    holder   integer
) WITH (fillfactor = 50);
INSERT INTO duties (name, position) SELECT 'push', position FROM stream;
