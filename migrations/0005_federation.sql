-- Other servers: their keys and how well they can be reached; and the keys that were ours.

CREATE TABLE server_keys (
    server_name    text NOT NULL,
    key_id         text NOT NULL,
    verify_key     bytea NOT NULL,
    -- At most a week after the key was fetched.
    valid_until_ts bigint NOT NULL,
    -- When the server stopped using the key; NULL for one in use.
    expired_ts     bigint,
    fetched_ts     bigint NOT NULL,
    -- The key object that the key was last seen in, as its server signed it, for notary queries.
    signed_json    bytea NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

CREATE TABLE destinations (
    server_name     text PRIMARY KEY,
    -- Failures in a row; until retry_at_ts the server is left alone.
    failures        integer NOT NULL,
    retry_at_ts     bigint NOT NULL,
    last_success_ts bigint NOT NULL
);

CREATE TABLE own_keys (
    key_id     text PRIMARY KEY,
    verify_key bytea NOT NULL,
    -- When the server was first started without the key; NULL for one in use.
    expired_ts bigint
);
