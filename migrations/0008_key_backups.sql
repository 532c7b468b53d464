-- Encrypted copies of room keys.

-- A backup that was deleted stays as a mark, so that its version is never used again.
CREATE TABLE key_backups (
    user_nid   integer NOT NULL REFERENCES users,
    version    integer NOT NULL,
    is_deleted boolean NOT NULL DEFAULT false,
    key_count  integer NOT NULL DEFAULT 0,
    -- Rises with every change of the keys.
    etag       bigint NOT NULL DEFAULT 0,
    algorithm  text NOT NULL,
    auth_data  bytea NOT NULL,
    PRIMARY KEY (user_nid, version)
) WITH (fillfactor = 80);

CREATE TABLE backed_up_keys (
    user_nid            integer NOT NULL,
    version             integer NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count     bigint NOT NULL,
    is_verified         boolean NOT NULL,
    room_id             text NOT NULL,
    session_id          text NOT NULL,
    session_data        bytea NOT NULL,
    PRIMARY KEY (user_nid, version, room_id, session_id),
    FOREIGN KEY (user_nid, version) REFERENCES key_backups
);
