-- Accounts of this server and what belongs to them.

CREATE TABLE accounts (
    user_nid       integer PRIMARY KEY REFERENCES users,
    created_ts     bigint NOT NULL,
    password_hash  text,
    is_guest       boolean NOT NULL DEFAULT false,
    is_admin       boolean NOT NULL DEFAULT false,
    is_locked      boolean NOT NULL DEFAULT false,
    is_suspended   boolean NOT NULL DEFAULT false,
    is_deactivated boolean NOT NULL DEFAULT false,
    is_erased      boolean NOT NULL DEFAULT false,
    -- Deactivated, but not out of all rooms yet.
    is_leaving     boolean NOT NULL DEFAULT false,
    appservice_id  text
);
CREATE INDEX accounts_leaving ON accounts (user_nid) WHERE is_leaving;

-- The documents that a user accepted when registering.
CREATE TABLE accepted_terms (
    user_nid    integer NOT NULL REFERENCES users,
    document    text NOT NULL,
    version     text NOT NULL,
    accepted_ts bigint NOT NULL,
    PRIMARY KEY (user_nid, document, version)
);

CREATE TABLE devices (
    device_nid     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_nid       integer NOT NULL REFERENCES users,
    device_id      text NOT NULL,
    display_name   text,
    created_ts     bigint NOT NULL,
    last_seen_ts   bigint,
    last_seen_ip   text,
    last_seen_agent text,
    UNIQUE (user_nid, device_id)
) WITH (fillfactor = 80);

-- Bearer secrets are kept as SHA-256 only.
CREATE TABLE access_tokens (
    token_hash   bytea PRIMARY KEY,
    token_id     bigint GENERATED ALWAYS AS IDENTITY,
    user_nid     integer NOT NULL REFERENCES users,
    device_nid   integer REFERENCES devices ON DELETE CASCADE,
    -- The refresh token that was given out together with this one.
    refresh_hash bytea,
    expires_ts   bigint,
    created_ts   bigint NOT NULL
);
CREATE INDEX access_tokens_device ON access_tokens (device_nid);
CREATE INDEX access_tokens_user ON access_tokens (user_nid);

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    user_nid   integer NOT NULL REFERENCES users,
    device_nid integer NOT NULL REFERENCES devices ON DELETE CASCADE,
    -- The refresh token that this one was exchanged for, valid until this one or its access token
    -- is used for the first time; null from then on.
    replaces   bytea,
    expires_ts bigint,
    created_ts bigint NOT NULL
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (device_nid);

-- Short-lived secrets: login tokens and OpenID tokens.
CREATE TABLE short_lived_tokens (
    token_hash bytea PRIMARY KEY,
    purpose    text NOT NULL,
    user_nid   integer NOT NULL REFERENCES users,
    expires_ts bigint NOT NULL
);
CREATE INDEX short_lived_tokens_expiry ON short_lived_tokens (expires_ts);
CREATE INDEX short_lived_tokens_user ON short_lived_tokens (user_nid);

CREATE TABLE registration_tokens (
    token        text PRIMARY KEY,
    uses_allowed integer,
    completed    integer NOT NULL DEFAULT 0,
    expires_ts   bigint,
    created_ts   bigint NOT NULL
);

-- Sessions of user-interactive authentication.
CREATE TABLE interactive_auth_sessions (
    session_id     text PRIMARY KEY,
    -- SHA-256 of the request that the session was begun for.
    request_digest bytea NOT NULL,
    -- JSON: what each completed stage has proved, in order of completion.
    completed      bytea NOT NULL,
    created_ts     bigint NOT NULL
);
CREATE INDEX interactive_auth_sessions_age ON interactive_auth_sessions (created_ts);

CREATE TABLE profile_fields (
    user_nid integer NOT NULL REFERENCES users,
    field    text NOT NULL,
    -- JSON
    value    bytea NOT NULL,
    -- The display name casefolded, for searches; null for other fields.
    folded   text,
    PRIMARY KEY (user_nid, field)
);

CREATE TABLE account_data (
    user_nid        integer NOT NULL REFERENCES users,
    -- 0 for the account itself
    room_nid        integer NOT NULL,
    stream_position bigint NOT NULL,
    type            text NOT NULL,
    content         bytea NOT NULL,
    PRIMARY KEY (user_nid, room_nid, type)
);
CREATE INDEX account_data_user_stream ON account_data (user_nid, stream_position);
CREATE INDEX account_data_stream ON account_data (stream_position);

CREATE TABLE filters (
    user_nid  integer NOT NULL REFERENCES users,
    filter_id integer NOT NULL,
    json      bytea NOT NULL,
    PRIMARY KEY (user_nid, filter_id)
);

CREATE TABLE pushers (
    user_nid   integer NOT NULL REFERENCES users,
    -- Whose end ends the pusher; null if it was set without a device.
    device_nid integer REFERENCES devices ON DELETE CASCADE,
    app_id     text NOT NULL,
    pushkey    text NOT NULL,
    json       bytea NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (app_id, pushkey, user_nid)
);
CREATE INDEX pushers_user ON pushers (user_nid);
CREATE INDEX pushers_device ON pushers (device_nid);

CREATE TABLE receipts (
    room_nid        integer NOT NULL,
    user_nid        integer NOT NULL,
    stream_position bigint NOT NULL,
    ts              bigint NOT NULL,
    receipt_type    text NOT NULL,
    -- '' for an unthreaded receipt
    thread_id       text NOT NULL,
    event_id        text NOT NULL,
    PRIMARY KEY (room_nid, user_nid, receipt_type, thread_id)
);
CREATE INDEX receipts_room_stream ON receipts (room_nid, stream_position);
CREATE INDEX receipts_stream ON receipts (stream_position);


CREATE TABLE presence (
    user_nid         integer PRIMARY KEY REFERENCES users,
    stream_position  bigint NOT NULL,
    last_active_ts   bigint NOT NULL,
    currently_active boolean NOT NULL,
    presence         text NOT NULL,
    status_msg       text
);
CREATE INDEX presence_stream ON presence (stream_position);

CREATE TABLE reports (
    report_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_ts bigint NOT NULL,
    reporter_nid integer NOT NULL REFERENCES users,
    room_id     text,
    event_id    text,
    user_id     text,
    reason      text,
    score       integer
);

-- Requests other than events that a device may repeat (to-device messages and the like).
CREATE TABLE request_transactions (
    device_nid  integer NOT NULL REFERENCES devices ON DELETE CASCADE,
    path_digest bigint NOT NULL,
    created_ts  bigint NOT NULL,
    PRIMARY KEY (device_nid, path_digest)
);
