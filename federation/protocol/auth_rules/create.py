"""Rules for `m.room.create`."""

from federation.protocol import canonical_json
from federation.protocol.auth_rules.require import require
from federation.protocol.identifiers import is_valid_historical_user_id, server_of
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import ROOM_VERSIONS


def check_create(event: Pdu) -> None:
    """Authorise the first event of a room.

    Source: authorisation rule 1 of every room version.
    Raises `AuthRuleFailed`.
    """
    version, content = event.room_version, event.content
    require(not event.prev_events, "create.prev_events", "A create event has no previous events")
    if version.create_event_is_room_id:
        named = "room_id" in canonical_json.decode(event.encoded)
        require(not named, "create.room_id", "A create event names no room ID: its own ID is it")
    else:
        same_server = server_of(event.room_id) == server_of(event.sender)
        require(same_server, "create.room_id", "The room ID belongs to another server")
    declared = content.get("room_version", "1")
    known = isinstance(declared, str) and declared in ROOM_VERSIONS
    require(known, "create.room_version", f"{declared!r} is not a known room version")
    if version.creator_in_content:
        require("creator" in content, "create.creator", "The create event names no creator")
    if version.privileged_creators and "additional_creators" in content:
        creators = content["additional_creators"]
        valid = isinstance(creators, list) and all(
            isinstance(user, str) and is_valid_historical_user_id(user) for user in creators
        )
        require(valid, "create.additional_creators", "additional_creators is not a list of users")
