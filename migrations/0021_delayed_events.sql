-- Events that users want to have sent later (MSC4140), and what became of them.
CREATE TABLE delayed_events (
    delay_nid        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delay_id         text NOT NULL UNIQUE,
    user_nid         integer NOT NULL,
    room_nid         integer NOT NULL,
    -- The request that scheduled it; null where requests have no transaction IDs.
    device_nid       integer,
    path_digest      bigint,
    type             text NOT NULL,
    state_key        text,
    content          bytea NOT NULL,
    -- The time that an application service wants the event to have.
    origin_server_ts bigint,
    sticky_ms        integer,
    delay_ms         bigint NOT NULL,
    -- When it was scheduled, or restarted the last time.
    scheduled_ts     bigint NOT NULL,
    due_ts           bigint NOT NULL,
    -- Null while it is scheduled; afterwards it was sent, has failed or was cancelled.
    finalised_ts     bigint,
    event_nid        bigint,
    error            bytea,
    UNIQUE (device_nid, path_digest)
) WITH (fillfactor = 80);
CREATE INDEX delayed_events_due ON delayed_events (due_ts) WHERE finalised_ts IS NULL;
CREATE INDEX delayed_events_user ON delayed_events (user_nid, due_ts);
CREATE INDEX delayed_events_event ON delayed_events (event_nid) WHERE event_nid IS NOT NULL;
CREATE INDEX delayed_events_finalised ON delayed_events (finalised_ts)
    WHERE finalised_ts IS NOT NULL;

INSERT INTO duties (name, position) VALUES ('delayed events', 0);
