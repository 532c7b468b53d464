-- The room in which the server itself talks to a user.
CREATE TABLE server_notice_rooms (
    user_nid integer PRIMARY KEY REFERENCES users,
    room_nid integer NOT NULL REFERENCES rooms
);
