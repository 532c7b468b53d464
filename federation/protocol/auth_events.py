"""Auth events selection: which places of the room state must vouch for an event."""

from collections.abc import Mapping
from typing import Any

from federation.protocol.pdu import StateKey
from federation.protocol.room_versions import RoomVersion

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")


def member_place(user_id: str) -> StateKey:
    """Where the membership of a user stands in the room state."""
    return ("m.room.member", user_id)


def auth_event_places(
    event_type: str,
    state_key: str | None,
    sender: str,
    content: Mapping[str, Any],
    room_version: RoomVersion,
) -> list[StateKey]:
    """The places whose current events, where there are any, become the `auth_events` of an event.

    Each place comes once. From room version 12 on the create event is not among them: the room ID
    stands for it.

    Source: server-server API, "Auth events selection".
    """
    if event_type == "m.room.create":
        return []
    places = [] if room_version.create_event_is_room_id else [CREATE]
    places += [POWER_LEVELS, member_place(sender)]
    if event_type == "m.room.member" and state_key is not None:
        if state_key != sender:
            places.append(member_place(state_key))
        places += _membership_places(sender, state_key, content, room_version)
    return places


def _membership_places(
    sender: str, target: str, content: Mapping[str, Any], room_version: RoomVersion
) -> list[StateKey]:
    """What a membership needs beyond the members it names."""
    places: list[StateKey] = []
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        places.append(JOIN_RULES)
    if membership == "invite":
        token = find_third_party_token(content)
        if token is not None:
            places.append(("m.room.third_party_invite", token))
    if membership == "join" and room_version.restricted_joins:
        voucher = content.get("join_authorised_via_users_server")
        if isinstance(voucher, str) and voucher not in (sender, target):
            places.append(member_place(voucher))
    return places


def find_third_party_token(content: Mapping[str, Any]) -> str | None:
    """The token of the third-party invite that an invite makes good, if it names one."""
    third_party_invite = content.get("third_party_invite")
    signed = third_party_invite.get("signed") if isinstance(third_party_invite, Mapping) else None
    token = signed.get("token") if isinstance(signed, Mapping) else None
    return token if isinstance(token, str) else None
