-- Devices that are nobody's session: they take keys' messages until a new session of the user takes
-- what waits for them. The rest of such a device is a row of `devices` like any other.
CREATE TABLE dehydrated_devices (
    user_nid    integer PRIMARY KEY REFERENCES users,
    device_nid  integer NOT NULL UNIQUE REFERENCES devices ON DELETE CASCADE,
    -- What the client has encrypted for itself (JSON).
    device_data bytea NOT NULL
);
