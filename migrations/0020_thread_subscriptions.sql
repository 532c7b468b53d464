-- Which threads users follow, or have ceased to: one row for each, with the position of its last change.
CREATE TABLE thread_subscriptions (
    room_nid        integer NOT NULL,
    root_id         text NOT NULL,
    user_nid        integer NOT NULL,
    stream_position bigint NOT NULL,
    is_subscribed   boolean NOT NULL,
    -- Whether a client subscribed without having been told to.
    is_automatic    boolean NOT NULL,
    PRIMARY KEY (room_nid, root_id, user_nid)
);
CREATE INDEX thread_subscriptions_user ON thread_subscriptions (user_nid, stream_position);
CREATE INDEX thread_subscriptions_stream ON thread_subscriptions (stream_position);
