-- What other servers still have to get, and what they have told us beside events.

-- How far the stream has been handed to the destinations, and the process that does it: its number
-- in "stream.peers", which it holds the advisory lock of for as long as it lives.
CREATE TABLE outgoing_progress (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position  bigint NOT NULL,
    holder    integer
) WITH (fillfactor = 10);
INSERT INTO outgoing_progress (position) SELECT position FROM stream;

-- From this position on the destination has not got the events of the room that concern it.
CREATE TABLE outgoing_rooms (
    destination text NOT NULL,
    room_nid    integer NOT NULL,
    missed_from bigint NOT NULL,
    PRIMARY KEY (destination, room_nid)
) WITH (fillfactor = 80);

-- EDUs that must not be lost, in the order in which the destination is to get them.
CREATE TABLE outgoing_edus (
    destination     text NOT NULL,
    stream_position bigint NOT NULL,
    queued_ts       bigint NOT NULL,
    edu             bytea NOT NULL,
    PRIMARY KEY (destination, stream_position)
);
CREATE INDEX outgoing_edus_stream ON outgoing_edus (stream_position);
CREATE INDEX outgoing_edus_age ON outgoing_edus (queued_ts);

-- Events of other servers' users that came in by way of this server, which passes them on.
CREATE TABLE relayed_events (
    event_nid       bigint PRIMARY KEY,
    stream_position bigint NOT NULL
);
CREATE INDEX relayed_events_stream ON relayed_events (stream_position);

-- Transactions of other servers and what they were answered.
CREATE TABLE received_transactions (
    origin      text NOT NULL,
    txn_id      text NOT NULL,
    received_ts bigint NOT NULL,
    answer      bytea NOT NULL,
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX received_transactions_age ON received_transactions (received_ts);

-- Messages that wait for a device. JSON: sender, type, content.
CREATE TABLE to_device_messages (
    device_nid      integer NOT NULL REFERENCES devices ON DELETE CASCADE,
    stream_position bigint NOT NULL,
    message         bytea NOT NULL,
    PRIMARY KEY (device_nid, stream_position)
);
CREATE INDEX to_device_messages_stream ON to_device_messages (stream_position);

-- Messages of other servers that have been taken.
CREATE TABLE received_to_device (
    origin      text NOT NULL,
    message_id  text NOT NULL,
    received_ts bigint NOT NULL,
    PRIMARY KEY (origin, message_id)
);
CREATE INDEX received_to_device_age ON received_to_device (received_ts);

-- Other servers' users of whose devices something was heard. Their devices are known from
-- "remote_devices" while the list is complete; otherwise their server has to be asked.
CREATE TABLE remote_device_lists (
    user_nid        integer PRIMARY KEY REFERENCES users,
    stream_position bigint NOT NULL,
    stream_id       bigint NOT NULL,
    is_complete     boolean NOT NULL
);
CREATE INDEX remote_device_lists_stream ON remote_device_lists (stream_position);

CREATE TABLE remote_devices (
    user_nid     integer NOT NULL REFERENCES users,
    device_id    text NOT NULL,
    display_name text,
    -- JSON, as its user has signed it
    keys         bytea,
    PRIMARY KEY (user_nid, device_id)
);

CREATE TABLE remote_cross_signing_keys (
    user_nid         integer PRIMARY KEY REFERENCES users,
    stream_position  bigint NOT NULL,
    master_key       bytea,
    self_signing_key bytea
);
CREATE INDEX remote_cross_signing_keys_stream ON remote_cross_signing_keys (stream_position);
