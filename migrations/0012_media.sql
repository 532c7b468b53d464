-- Files: what is in them, what they are called, and the smaller pictures made of them.

-- One row for each different content; the file is in the store under `store_key`.
CREATE TABLE media_contents (
    content_nid    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256         bytea   NOT NULL UNIQUE,
    size           bigint  NOT NULL,
    -- Null: the file is gone, and the hash is remembered because it is quarantined.
    store_key      text,
    is_quarantined boolean NOT NULL DEFAULT false,
    -- When something that referred to it went; whether anything is left is looked up some time later.
    released_ts    bigint
);
CREATE UNIQUE INDEX media_contents_by_key ON media_contents (store_key);
CREATE INDEX media_contents_released ON media_contents (released_ts) WHERE released_ts IS NOT NULL;

CREATE TABLE media (
    media_nid      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The server that the media are of; empty for our own.
    origin         text    NOT NULL,
    media_id       text    NOT NULL,
    -- Null: not uploaded yet, or (with quarantined_by) never to be had.
    content_nid    bigint REFERENCES media_contents,
    user_nid       integer REFERENCES users,
    content_type   text    NOT NULL,
    upload_name    text,
    -- Of other servers' media: when they were fetched.
    created_ts     bigint  NOT NULL,
    last_access_ts bigint  NOT NULL,
    -- Of an ID that is reserved: until when something may be uploaded.
    expires_ts     bigint,
    -- Not given to anybody without an access token.
    needs_token    boolean NOT NULL,
    quarantined_by text,
    -- Quarantining a user or a room leaves it alone.
    is_protected   boolean NOT NULL DEFAULT false,
    UNIQUE (origin, media_id)
);
CREATE INDEX media_of_content ON media (content_nid);
CREATE INDEX media_of_user ON media (user_nid, created_ts) WHERE user_nid IS NOT NULL;
CREATE INDEX media_reserved ON media (expires_ts) WHERE expires_ts IS NOT NULL;
CREATE INDEX media_unused ON media ((origin = ''), last_access_ts) WHERE content_nid IS NOT NULL;

CREATE TABLE media_thumbnails (
    content_nid  bigint  NOT NULL REFERENCES media_contents,
    width        integer NOT NULL,
    height       integer NOT NULL,
    method       text    NOT NULL,
    is_animated  boolean NOT NULL,
    -- The same as content_nid where the picture itself is no larger.
    made_nid     bigint  NOT NULL REFERENCES media_contents (content_nid),
    content_type text    NOT NULL,
    PRIMARY KEY (content_nid, width, height, method, is_animated)
);
CREATE INDEX media_thumbnails_made ON media_thumbnails (made_nid);
