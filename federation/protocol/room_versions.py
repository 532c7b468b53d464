"""Room versions as data: one frozen record of named facts for each, made from the former one.

The rules elsewhere in this package read these facts and never compare version numbers.
Source: Matrix specification v1.19, "Room Versions".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from federation.protocol.errors import UnsupportedRoomVersion


class EventFormat(Enum):
    """How an event names itself and others."""

    V1 = "v1"
    """`event_id` stands in the JSON; references are pairs of an ID and its hash (versions 1, 2)."""
    V3 = "v3"
    """The event ID is the reference hash in unpadded standard Base64 (version 3)."""
    V4 = "v4"
    """The event ID is the reference hash in URL-safe unpadded Base64 (version 4 on)."""


class StateResolution(Enum):
    """The algorithm that merges the states of several forward extremities."""

    V1 = "v1"
    V2 = "v2"
    V2_1 = "v2.1"


@dataclass(frozen=True, slots=True)
class RoomVersion:
    """What a room version lays down, as far as it differs from another one.

    The defaults of a fact are those of room version 1.
    """

    id: str
    event_format: EventFormat
    state_resolution: StateResolution

    # Canonical JSON and signing
    strict_canonical_json: bool = False
    """Floats and integers beyond 2^53 - 1 are refused (version 6)."""
    enforce_key_validity: bool = False
    """Signatures count only by keys valid at `origin_server_ts` (version 5)."""
    strict_byte_limits: bool = False
    """The limit of 255 on fields of received events counts bytes, not code points (version 11)."""

    # Event authorisation
    aliases_special_case: bool = True
    """`m.room.aliases` has a rule and a redaction exception of its own (until version 5)."""
    redaction_checked_on_auth: bool = True
    """A redaction's right is an authorisation rule (versions 1, 2), later one of applying."""
    limit_notification_levels: bool = False
    """Changes of `notifications` are held to the sender's power level (version 6)."""
    knocking: bool = False
    """Join rule and membership `knock` (version 7)."""
    restricted_joins: bool = False
    """Join rule `restricted` (version 8)."""
    knock_restricted_joins: bool = False
    """Join rule `knock_restricted` (version 10)."""
    integer_power_levels: bool = False
    """Power levels must be integers; strings are no longer read as numbers (version 10)."""
    creator_in_content: bool = True
    """`content.creator` of `m.room.create` is the creator (until version 10), then the sender."""
    privileged_creators: bool = False
    """Creators stand above every power level and may be several (version 12)."""
    create_event_is_room_id: bool = False
    """The room ID is the create event's reference hash; no auth event names it (version 12)."""

    # Redaction
    redacts_in_content: bool = False
    """`m.room.redaction` names its target in `content.redacts` (version 11)."""
    redaction_keeps_origin_membership_prev_state: bool = True
    """The obsolete top-level keys survive a redaction (until version 10)."""
    redaction_keeps_join_rule_allow: bool = False
    """`allow` of `m.room.join_rules` survives a redaction (version 8)."""
    redaction_keeps_authorising_user: bool = False
    """`join_authorised_via_users_server` survives a redaction (version 9)."""
    redaction_v11: bool = False
    """All of `m.room.create`, `redacts` of redactions, `invite` of power levels and the `signed`
    part of third-party invites survive a redaction (version 11)."""


V1 = RoomVersion("1", EventFormat.V1, StateResolution.V1)
V2 = replace(V1, id="2", state_resolution=StateResolution.V2)
V3 = replace(V2, id="3", event_format=EventFormat.V3, redaction_checked_on_auth=False)
V4 = replace(V3, id="4", event_format=EventFormat.V4)
V5 = replace(V4, id="5", enforce_key_validity=True)
V6 = replace(
    V5,
    id="6",
    strict_canonical_json=True,
    aliases_special_case=False,
    limit_notification_levels=True,
)
V7 = replace(V6, id="7", knocking=True)
V8 = replace(V7, id="8", restricted_joins=True, redaction_keeps_join_rule_allow=True)
V9 = replace(V8, id="9", redaction_keeps_authorising_user=True)
V10 = replace(V9, id="10", knock_restricted_joins=True, integer_power_levels=True)
V11 = replace(
    V10,
    id="11",
    strict_byte_limits=True,
    creator_in_content=False,
    redacts_in_content=True,
    redaction_keeps_origin_membership_prev_state=False,
    redaction_v11=True,
)
V12 = replace(
    V11,
    id="12",
    state_resolution=StateResolution.V2_1,
    privileged_creators=True,
    create_event_is_room_id=True,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {v.id: v for v in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)}
)
"""All versions this server speaks, all of them stable, by their identifier."""


def get_room_version(version_id: str) -> RoomVersion:
    """The record of a version; raises `UnsupportedRoomVersion`."""
    try:
        return ROOM_VERSIONS[version_id]
    except KeyError:
        raise UnsupportedRoomVersion(version_id) from None
