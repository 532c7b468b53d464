-- E-mail addresses and telephone numbers of accounts, and how they come there.

CREATE TABLE third_party_ids (
    medium       text NOT NULL,
    -- In canonical form.
    address      text NOT NULL,
    user_nid     integer NOT NULL REFERENCES users,
    validated_ts bigint NOT NULL,
    added_ts     bigint NOT NULL,
    PRIMARY KEY (medium, address)
);
CREATE INDEX third_party_ids_user ON third_party_ids (user_nid);

-- Where addresses were bound to users, so that they can be unbound there.
CREATE TABLE third_party_bindings (
    user_nid        integer NOT NULL REFERENCES users,
    medium          text NOT NULL,
    address         text NOT NULL,
    identity_server text NOT NULL,
    PRIMARY KEY (user_nid, medium, address, identity_server)
);

-- Proofs of addresses that are under way.
CREATE TABLE validation_sessions (
    session_id    text PRIMARY KEY,
    -- What the address is to be used for: register, add or reset.
    purpose       text NOT NULL,
    medium        text NOT NULL,
    address       text NOT NULL,
    client_secret text NOT NULL,
    send_attempt  bigint NOT NULL,
    -- SHA-256 of the token in the latest mail; null where the mail had none.
    token_hash    bytea,
    next_link     text,
    validated_ts  bigint,
    created_ts    bigint NOT NULL,
    UNIQUE (purpose, medium, address, client_secret)
);
CREATE INDEX validation_sessions_age ON validation_sessions (created_ts);
