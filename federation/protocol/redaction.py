"""What a redacted event keeps, by room version.

Source: room versions 1, 6, 8, 9 and 11, "Redactions".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.room_versions import ROOM_VERSIONS, RoomVersion


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """The keys that survive: at the top of the event, and in `content` by event type.

    None instead of content keys keeps them all.
    """

    event: tuple[str, ...]
    content: Mapping[str, tuple[str, ...] | None]
    third_party_invite_signed: bool


_ALWAYS = (
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
)
_UNTIL_V10 = ("prev_state", "origin", "membership")
_POWER_LEVELS = (
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
)


def _kept_keys(version: RoomVersion) -> KeptKeys:
    content: dict[str, tuple[str, ...] | None] = {
        "m.room.member": ("membership",),
        "m.room.create": ("creator",),
        "m.room.join_rules": ("join_rule",),
        "m.room.power_levels": _POWER_LEVELS,
        "m.room.history_visibility": ("history_visibility",),
    }
    if version.aliases_special_case:
        content["m.room.aliases"] = ("aliases",)
    if version.redaction_keeps_join_rule_allow:
        content["m.room.join_rules"] = ("join_rule", "allow")
    if version.redaction_keeps_authorising_user:
        content["m.room.member"] = ("membership", "join_authorised_via_users_server")
    if version.redaction_v11:
        content["m.room.create"] = None
        content["m.room.power_levels"] = (*_POWER_LEVELS, "invite")
        content["m.room.redaction"] = ("redacts",)
    obsolete = _UNTIL_V10 if version.redaction_keeps_origin_membership_prev_state else ()
    return KeptKeys((*_ALWAYS, *obsolete), content, version.redaction_v11)


_KEPT = {version.id: _kept_keys(version) for version in ROOM_VERSIONS.values()}


def redact(fields: Mapping[str, Any], room_version: RoomVersion) -> dict[str, Any]:
    """A copy of the event with only what redaction keeps; `unsigned` goes too."""
    kept = _KEPT[room_version.id].event
    redacted = {key: fields[key] for key in kept if key in fields}
    if "content" in redacted:
        redacted["content"] = redact_content(fields.get("type"), fields["content"], room_version)
    return redacted


def redact_content(event_type: object, content: object, room_version: RoomVersion) -> Any:
    """What is left of an event's `content`; content of a wrong type is emptied."""
    rules = _KEPT[room_version.id]
    if not isinstance(content, dict) or not isinstance(event_type, str):
        return {}
    kept = rules.content.get(event_type, ())
    if kept is None:
        return content
    redacted = {key: content[key] for key in kept if key in content}
    if event_type == "m.room.member" and rules.third_party_invite_signed:
        _keep_signed(content, redacted)
    return redacted


def _keep_signed(content: Mapping[str, Any], redacted: dict[str, Any]) -> None:
    # Without `signed` an empty object stays, as in other servers: the specification leaves it open.
    invite = content.get("third_party_invite")
    if isinstance(invite, dict):
        redacted["third_party_invite"] = {k: v for k, v in invite.items() if k == "signed"}
