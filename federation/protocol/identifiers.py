"""Matrix identifiers: the types that keep them apart, and their grammar."""

from typing import NewType

EventId = NewType("EventId", str)
RoomId = NewType("RoomId", str)
RoomAlias = NewType("RoomAlias", str)
UserId = NewType("UserId", str)
ServerName = NewType("ServerName", str)
DeviceId = NewType("DeviceId", str)
KeyId = NewType("KeyId", str)


def server_of(identifier: str) -> ServerName:
    """The server name after the first colon of a user ID, room alias or old-style room or event ID.

    An identifier without a colon (event IDs from room version 3 on, room IDs from version 12 on)
    gives an empty name.
    """
    return ServerName(identifier.partition(":")[2])
