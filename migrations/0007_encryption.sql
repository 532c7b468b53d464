-- Keys of devices and users, and who has to hear of their changes.

-- Identity keys as the device uploaded them (JSON).
CREATE TABLE device_keys (
    device_nid integer PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    keys       bytea NOT NULL
);

CREATE TABLE one_time_keys (
    device_nid integer NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm  text NOT NULL,
    key_id     text NOT NULL,
    -- Keys are given away in the order of their numbers.
    key_nid    bigint GENERATED ALWAYS AS IDENTITY,
    key        bytea NOT NULL,
    PRIMARY KEY (device_nid, algorithm, key_id)
);
CREATE INDEX one_time_keys_order ON one_time_keys (device_nid, algorithm, key_nid);

CREATE TABLE fallback_keys (
    device_nid integer NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm  text NOT NULL,
    key_id     text NOT NULL,
    is_used    boolean NOT NULL DEFAULT false,
    key        bytea NOT NULL,
    PRIMARY KEY (device_nid, algorithm)
);

CREATE TABLE cross_signing_keys (
    user_nid   integer NOT NULL REFERENCES users,
    -- master, self_signing or user_signing
    usage      text NOT NULL,
    public_key text NOT NULL,
    key        bytea NOT NULL,
    PRIMARY KEY (user_nid, usage)
);

-- Signatures that were uploaded for the keys of a user: for a device by its ID, for a cross-signing
-- key by its public key. Only signatures by users of this server are here.
CREATE TABLE key_signatures (
    user_nid        integer NOT NULL REFERENCES users,
    signer_nid      integer NOT NULL REFERENCES users,
    stream_position bigint NOT NULL,
    key_id          text NOT NULL,
    signer_key_id   text NOT NULL,
    signature       text NOT NULL,
    PRIMARY KEY (user_nid, key_id, signer_nid, signer_key_id)
);
CREATE INDEX key_signatures_of_others ON key_signatures (stream_position, signer_nid)
    WHERE signer_nid <> user_nid;

-- When the devices or cross-signing keys of a user, ours or another server's, last changed; and the
-- ID of the last update that other servers have of a user of ours.
CREATE TABLE device_lists (
    user_nid        integer PRIMARY KEY REFERENCES users,
    stream_position bigint NOT NULL,
    stream_id       bigint
) WITH (fillfactor = 80);
CREATE INDEX device_lists_stream ON device_lists (stream_position);

-- Of another server's user the position tells when something was last heard or fetched: a list that
-- was complete then is good only for as long as a room has been shared ever since.
DROP INDEX remote_device_lists_stream;
CREATE INDEX remote_device_lists_incomplete ON remote_device_lists (user_nid)
    WHERE NOT is_complete;
ALTER TABLE remote_cross_signing_keys DROP COLUMN stream_position;

CREATE INDEX memberships_stream ON memberships (stream_position) WHERE membership IN (1, 4, 5);
