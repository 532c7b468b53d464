"""History visibility: who may see an event.

Source: client-server API, "Room History Visibility".
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from federation.protocol.identifiers import server_of
from federation.protocol.pdu import Pdu, StateKey

HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")


class HistoryVisibility(Enum):
    """Values of `m.room.history_visibility`."""

    WORLD_READABLE = "world_readable"
    SHARED = "shared"
    INVITED = "invited"
    JOINED = "joined"


def visibility_of(content: Mapping[str, Any] | None) -> HistoryVisibility:
    """What an `m.room.history_visibility` event says; none, or an unknown value, is `SHARED`."""
    value = None if content is None else content.get("history_visibility")
    try:
        return HistoryVisibility(value)
    except ValueError:
        return HistoryVisibility.SHARED


def is_visible(visibility: HistoryVisibility, membership: str, *, joined_afterwards: bool) -> bool:
    """Whether an event may be seen, going by visibility and membership at it.

    `joined_afterwards`: whether the user has joined at any time after the event, be they gone
    again or not.
    """
    if visibility is HistoryVisibility.WORLD_READABLE or membership == "join":
        return True
    if visibility is HistoryVisibility.SHARED:
        return joined_afterwards
    return visibility is HistoryVisibility.INVITED and membership == "invite"


def is_visible_to_user(
    event: Pdu,
    user_id: str,
    visibility_before: HistoryVisibility,
    membership_before: str,
    *,
    joined_afterwards: bool,
) -> bool:
    """Whether a user may see an event, given the state before it (`leave` if never a member).

    A change of the visibility, or of the user's own membership, may be seen if either side of the
    change allows it.
    """
    return any(
        is_visible(visibility, membership, joined_afterwards=joined_afterwards)
        for visibility in visibilities_around(event, visibility_before)
        for membership in memberships_around(event, user_id, membership_before)
    )


def is_visible_to_server(
    event: Pdu,
    server_name: str,
    visibility_before: HistoryVisibility,
    memberships_before: Mapping[str, str],
    *,
    joined_afterwards: bool,
) -> bool:
    """Whether a server may be given an event: if any of its users may see it.

    `memberships_before` has at least the server's users that are joined or invited in the state
    before the event; `joined_afterwards` says whether any of its users has joined since.
    """
    own = {u: m for u, m in memberships_before.items() if server_of(u) == server_name}
    if event.type == "m.room.member" and server_of(event.state_key or "") == server_name:
        own.setdefault(event.state_key or "", "leave")
    memberships = {
        m for user, before in own.items() for m in memberships_around(event, user, before)
    }
    return any(
        is_visible(visibility, membership, joined_afterwards=joined_afterwards)
        for visibility in visibilities_around(event, visibility_before)
        for membership in memberships | {"leave"}
    )


def visibilities_around(event: Pdu, before: HistoryVisibility) -> Iterable[HistoryVisibility]:
    """The visibility before an event and the one after it."""
    if event.is_state and event.state_place == HISTORY_VISIBILITY:
        return (before, visibility_of(event.content))
    return (before,)


def memberships_around(event: Pdu, user_id: str, before: str) -> Iterable[str]:
    """The membership of a user before an event and the one after it."""
    if event.type == "m.room.member" and event.state_key == user_id:
        return (before, str(event.content.get("membership")))
    return (before,)
