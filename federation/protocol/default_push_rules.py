"""The push rules that every user has without asking, as the specification lists them.

Source: client-server API v1.19, "Predefined Rules". Version 1.17 removed the rules that look for
names in the text of a message; `LEGACY_MENTION_RULES` holds them for servers whose users still
have clients that do not send `m.mentions`. They apply to events without that property only.
The rules for polls are those of MSC3930 and those for group calls of MSC4075, under the unstable
names that clients know, and so are `THREAD_RULES`, by which threads notify their subscribers, those
of MSC4306.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final


class OwnValue(Enum):
    """What stands in a rule for a value of the user who has it."""

    USER_ID = "user_id"
    LOCALPART = "localpart"


Rule = Mapping[str, Any]

_NOTIFY: Final = "notify"
_SOUND: Final = {"set_tweak": "sound", "value": "default"}
_RING: Final = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT: Final = {"set_tweak": "highlight"}


def _match(key: str, pattern: str | OwnValue) -> Rule:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _is(key: str, value: str | bool) -> Rule:
    return {"kind": "event_property_is", "key": key, "value": value}


_TWO_MEMBERS: Final = {"kind": "room_member_count", "is": "2"}
_MAY_NOTIFY_ROOM: Final = {"kind": "sender_notification_permission", "key": "room"}
_MENTIONS_ROOM: Final = _is("content.m\\.mentions.room", True)
_MENTIONS_USER: Final = {
    "kind": "event_property_contains",
    "key": "content.m\\.mentions.user_ids",
    "value": OwnValue.USER_ID,
}
_CALL_NOTIFICATION: Final = _match("type", "org.matrix.msc4075.rtc.notification")
"""What Element Call sends; the later name of MSC4075 is found by the rules for mentions."""

MASTER_RULE: Final[Rule] = {
    "rule_id": ".m.rule.master",
    "enabled": False,
    "conditions": [],
    "actions": [],
}
"""Stands above the user's own rules too."""

OVERRIDE_RULES: Final[tuple[Rule, ...]] = (
    {
        "rule_id": ".m.rule.suppress_notices",
        "conditions": [_match("content.msgtype", "m.notice")],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.invite_for_me",
        "conditions": [
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", OwnValue.USER_ID),
        ],
        "actions": [_NOTIFY, _SOUND],
    },
    {
        "rule_id": ".m.rule.member_event",
        "conditions": [_match("type", "m.room.member")],
        "actions": [],
    },
    {
        "rule_id": ".org.matrix.msc4075.rule.rtc.invite_for_me",
        "conditions": [_CALL_NOTIFICATION, _MENTIONS_USER],
        "actions": [_NOTIFY, _RING],
    },
    {
        "rule_id": ".m.rule.is_user_mention",
        "conditions": [_MENTIONS_USER],
        "actions": [_NOTIFY, _SOUND, _HIGHLIGHT],
    },
    {
        "rule_id": ".org.matrix.msc4075.rule.rtc.invite_for_room",
        "conditions": [_CALL_NOTIFICATION, _MENTIONS_ROOM, _MAY_NOTIFY_ROOM],
        "actions": [_NOTIFY, _RING],
    },
    {
        "rule_id": ".m.rule.is_room_mention",
        "conditions": [_MENTIONS_ROOM, _MAY_NOTIFY_ROOM],
        "actions": [_NOTIFY, _HIGHLIGHT],
    },
    {
        "rule_id": ".m.rule.tombstone",
        "conditions": [_match("type", "m.room.tombstone"), _match("state_key", "")],
        "actions": [_NOTIFY, _HIGHLIGHT],
    },
    {
        "rule_id": ".m.rule.reaction",
        "conditions": [_match("type", "m.reaction")],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.room.server_acl",
        "conditions": [_match("type", "m.room.server_acl"), _match("state_key", "")],
        "actions": [],
    },
    {
        "rule_id": ".org.matrix.msc3930.rule.poll_response",
        "conditions": [_match("type", "org.matrix.msc3381.poll.response")],
        "actions": [],
    },
    {
        "rule_id": ".m.rule.suppress_edits",
        "conditions": [_is("content.m\\.relates_to.rel_type", "m.replace")],
        "actions": [],
    },
)

END_OF_MENTIONS: Final = 1 + [rule["rule_id"] for rule in OVERRIDE_RULES].index(
    ".m.rule.is_room_mention"
)
"""Where the rules for `m.mentions` end among `OVERRIDE_RULES`."""

UNDERRIDE_RULES: Final[tuple[Rule, ...]] = (
    {
        "rule_id": ".m.rule.call",
        "conditions": [_match("type", "m.call.invite")],
        "actions": [_NOTIFY, _RING],
    },
    {
        "rule_id": ".m.rule.encrypted_room_one_to_one",
        "conditions": [_TWO_MEMBERS, _match("type", "m.room.encrypted")],
        "actions": [_NOTIFY, _SOUND],
    },
    {
        "rule_id": ".m.rule.room_one_to_one",
        "conditions": [_TWO_MEMBERS, _match("type", "m.room.message")],
        "actions": [_NOTIFY, _SOUND],
    },
    {
        "rule_id": ".m.rule.message",
        "conditions": [_match("type", "m.room.message")],
        "actions": [_NOTIFY],
    },
    {
        "rule_id": ".m.rule.encrypted",
        "conditions": [_match("type", "m.room.encrypted")],
        "actions": [_NOTIFY],
    },
    {
        "rule_id": ".org.matrix.msc3930.rule.poll_start_one_to_one",
        "conditions": [_TWO_MEMBERS, _match("type", "org.matrix.msc3381.poll.start")],
        "actions": [_NOTIFY, _SOUND],
    },
    {
        "rule_id": ".org.matrix.msc3930.rule.poll_start",
        "conditions": [_match("type", "org.matrix.msc3381.poll.start")],
        "actions": [_NOTIFY],
    },
    {
        "rule_id": ".org.matrix.msc3930.rule.poll_end_one_to_one",
        "conditions": [_TWO_MEMBERS, _match("type", "org.matrix.msc3381.poll.end")],
        "actions": [_NOTIFY, _SOUND],
    },
    {
        "rule_id": ".org.matrix.msc3930.rule.poll_end",
        "conditions": [_match("type", "org.matrix.msc3381.poll.end")],
        "actions": [_NOTIFY],
    },
)

THREAD_SUBSCRIPTION: Final = "io.element.msc4306.thread_subscription"
"""The kind of condition that asks how the user stands to the event's thread."""

THREAD_RULES: Final[tuple[Rule, ...]] = (
    {
        "rule_id": ".io.element.msc4306.rule.unsubscribed_thread",
        "conditions": [{"kind": THREAD_SUBSCRIPTION, "subscribed": False}],
        "actions": [],
    },
    {
        "rule_id": ".io.element.msc4306.rule.subscribed_thread",
        "conditions": [{"kind": THREAD_SUBSCRIPTION, "subscribed": True}],
        "actions": [_NOTIFY, _SOUND],
    },
)

LEGACY_OVERRIDE_RULES: Final[tuple[Rule, ...]] = (
    {
        "rule_id": ".m.rule.contains_display_name",
        "conditions": [{"kind": "contains_display_name"}],
        "actions": [_NOTIFY, _SOUND, _HIGHLIGHT],
    },
    {
        "rule_id": ".m.rule.roomnotif",
        "conditions": [_match("content.body", "@room"), _MAY_NOTIFY_ROOM],
        "actions": [_NOTIFY, _HIGHLIGHT],
    },
)

LEGACY_CONTENT_RULES: Final[tuple[Rule, ...]] = (
    {
        "rule_id": ".m.rule.contains_user_name",
        "pattern": OwnValue.LOCALPART,
        "actions": [_NOTIFY, _SOUND, _HIGHLIGHT],
    },
)

LEGACY_MENTION_RULES: Final = frozenset(
    rule["rule_id"] for rule in LEGACY_OVERRIDE_RULES + LEGACY_CONTENT_RULES
)
"""The IDs of the rules that do not apply to events with `m.mentions`."""
