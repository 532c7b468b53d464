-- Background jobs: when each is due, who runs it, what it remembers; and the ways to what they purge.

CREATE TABLE jobs (
    name   text PRIMARY KEY,
    -- While somebody runs the job, when the lease ends.
    due_ts bigint NOT NULL,
    -- The process that runs the job now.
    holder bigint,
    -- JSON: what the job's last run left for the next.
    state  bytea NOT NULL
);

CREATE INDEX access_tokens_expiry ON access_tokens (expires_ts) WHERE expires_ts IS NOT NULL;
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_ts) WHERE expires_ts IS NOT NULL;
CREATE INDEX request_transactions_age ON request_transactions (created_ts);
CREATE INDEX accounts_guests ON accounts (created_ts) WHERE is_guest AND NOT is_deactivated;
