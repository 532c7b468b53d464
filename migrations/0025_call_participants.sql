-- Who was given tokens for which LiveKit rooms as a member of a room, so that those who leave it or
-- are banned from it can be cut off.
CREATE TABLE call_participants (
    livekit_room text NOT NULL,
    identity     text NOT NULL,
    user_nid     integer NOT NULL,
    room_nid     integer NOT NULL,
    -- When the last token was given out.
    given_ts     bigint NOT NULL,
    -- Cut off, and not seen to connect again.
    is_cut_off   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (livekit_room, identity)
);
