-- What pages that messages link to look like.

CREATE TABLE url_previews (
    preview_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url         text   NOT NULL,
    fetched_ts  bigint NOT NULL,
    -- Until when it is shown without looking again.
    expires_ts  bigint NOT NULL,
    -- The answer to clients, as JSON.
    preview     bytea  NOT NULL,
    -- Our media that were fetched for it, and go with it.
    media_ids   text[] NOT NULL
);
CREATE INDEX url_previews_by_url ON url_previews (url, fetched_ts);
CREATE INDEX url_previews_expired ON url_previews (expires_ts);
