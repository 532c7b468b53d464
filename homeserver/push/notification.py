"""What a push gateway is told, as a pure function of what happened.

Source: push gateway API, POST /_matrix/push/v1/notify.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from federation.protocol.push_evaluation import Decision
from federation.protocol.push_rules import Action
from storage.changes import StoredEvent

EVENT_ID_ONLY: Final = "event_id_only"
NO_BADGE: Final = "org.matrix.msc4076.disable_badge_count"
"""In `data`: the client counts by itself, as MSC4076 has it."""


@dataclass(frozen=True, slots=True)
class Badge:
    """What the user has not read in all rooms together."""

    unread: int
    missed_calls: int


@dataclass(frozen=True, slots=True)
class Description:
    """How an event's sender and room are called."""

    sender_display_name: str | None = None
    room_name: str | None = None
    room_alias: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """Where a notification goes to; `data` is the pusher's own."""

    app_id: str
    pushkey: str
    pushkey_ts: int
    data: Mapping[str, Any]

    @property
    def wants_event_id_only(self) -> bool:
        """Whether the gateway is to be told no more of an event than which one it is."""
        return self.data.get("format") == EVENT_ID_ONLY

    @property
    def wants_badge(self) -> bool:
        """Whether the gateway is to be told counts."""
        return self.data.get(NO_BADGE) is not True

    def body(self, actions: Iterable[Action] = ()) -> dict[str, Any]:
        """The device as the gateway gets it; `url` is for us alone."""
        body: dict[str, Any] = {
            "app_id": self.app_id,
            "pushkey": self.pushkey,
            "pushkey_ts": self.pushkey_ts // 1000,
            "data": {key: value for key, value in self.data.items() if key != "url"},
        }
        tweaks = tweaks_of(actions)
        return body | {"tweaks": tweaks} if tweaks else body


def build_notification(
    device: Device,
    event: StoredEvent,
    decision: Decision,
    badge: Badge,
    *,
    user_id: str,
    room_id: str,
    description: Description,
    with_content: bool,
) -> dict[str, Any]:
    """The notification of an event, in the format that the pusher wants."""
    body: dict[str, Any] = {
        "event_id": event.event_id,
        "room_id": room_id,
        "prio": priority_of(event, decision),
    }
    if device.wants_badge:
        body["counts"] = counts_of(badge)
    if device.wants_event_id_only:
        return body | {"devices": [device.body()]}
    body |= {
        "type": event.type,
        "sender": event.sender,
        "user_is_target": event.state_key == user_id and event.type == "m.room.member",
        "devices": [device.body(decision.actions)],
    }
    names = {
        "sender_display_name": description.sender_display_name,
        "room_name": description.room_name,
        "room_alias": description.room_alias,
    }
    body |= {key: name for key, name in names.items() if name is not None}
    if event.type == "m.room.member":
        body["membership"] = event.content.get("membership")
    if with_content:
        body["content"] = event.content
    return body


def build_badge_notification(device: Device, badge: Badge) -> dict[str, Any]:
    """The notification of nothing but new counts."""
    return {"counts": counts_of(badge), "devices": [device.body()]}


def counts_of(badge: Badge) -> dict[str, int]:
    """The counts as gateways get them.

    The specification leaves counts of zero out, but gateways clear the number on an app's icon
    only if they are told so.
    """
    counts = {"unread": badge.unread}
    return counts | {"missed_calls": badge.missed_calls} if badge.missed_calls else counts


def priority_of(event: StoredEvent, decision: Decision) -> str:
    """`low` for what neither sounds nor stands out; what is encrypted may be anything."""
    is_urgent = event.type in ("m.room.encrypted", "m.call.invite")
    return "high" if is_urgent or decision.highlight or decision.sound else "low"


def tweaks_of(actions: Iterable[Action]) -> dict[str, Any]:
    """How the push rule wants the notification to be presented."""
    return {
        action["set_tweak"]: action.get("value", True)
        for action in actions
        if isinstance(action, Mapping) and isinstance(action.get("set_tweak"), str)
    }
