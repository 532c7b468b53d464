"""The shape of a /sync response, from its parts. Nothing is read or decided here."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from federation.protocol.sticky import STICKY
from homeserver.encryption.one_time_keys import NO_KEYS, KeyCounts
from homeserver.push.counts import RoomCounts
from homeserver.sync.summaries import Summary
from homeserver.sync.token import SyncToken
from storage.changes import AccountDataSet, PresenceSet, ReceiptMoved

SIGNED_CURVE = "signed_curve25519"


@dataclass(slots=True)
class RoomSection:
    """What is told of a room that the user is or was in; events are JSON already."""

    timeline: Sequence[bytes] = ()
    is_limited: bool = False
    prev_batch: str = ""
    state: Sequence[bytes] = ()
    ephemeral: list[dict[str, Any]] = field(default_factory=list)
    account_data: Sequence[AccountDataSet] = ()
    sticky: Sequence[bytes] = ()
    summary: Summary | None = None
    counts: RoomCounts | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (
            self.timeline
            or self.is_limited
            or self.state
            or self.ephemeral
            or self.account_data
            or self.sticky
            or self.summary
        )


@dataclass(slots=True)
class SyncBody:
    """All parts of a response."""

    next_batch: SyncToken
    joined: dict[str, RoomSection] = field(default_factory=dict)
    left: dict[str, RoomSection] = field(default_factory=dict)
    invited: dict[str, Sequence[Any]] = field(default_factory=dict)
    knocked: dict[str, Sequence[Any]] = field(default_factory=dict)
    account_data: Sequence[AccountDataSet] = ()
    presence: Sequence[PresenceSet] = ()
    to_device: Sequence[bytes] = ()
    device_lists_changed: Collection[str] = ()
    device_lists_left: Collection[str] = ()
    key_counts: KeyCounts = NO_KEYS

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell but the next token."""
        return not (
            self.joined
            or self.left
            or self.invited
            or self.knocked
            or self.account_data
            or self.presence
            or self.to_device
            or self.device_lists_changed
            or self.device_lists_left
        )


def render(body: SyncBody, now_ms: int, *, with_threads: bool, state_after: str | None) -> bytes:
    """The JSON of a response. Source: client-server API, `GET /sync`."""
    rooms: dict[str, Any] = {}
    if body.joined:
        rooms["join"] = {
            room_id: room_body(section, with_threads, state_after)
            for room_id, section in body.joined.items()
        }
    if body.left:
        rooms["leave"] = {
            room_id: room_body(section, with_threads, state_after)
            for room_id, section in body.left.items()
        }
    if body.invited:
        rooms["invite"] = {
            room_id: {"invite_state": {"events": events}}
            for room_id, events in body.invited.items()
        }
    if body.knocked:
        rooms["knock"] = {
            room_id: {"knock_state": {"events": events}} for room_id, events in body.knocked.items()
        }
    result: dict[str, Any] = {
        "next_batch": str(body.next_batch),
        # Clients that see no count take the server for one that counts no keys.
        "device_one_time_keys_count": {SIGNED_CURVE: 0, **body.key_counts.one_time_keys},
        "device_unused_fallback_key_types": body.key_counts.unused_fallback_keys,
    }
    if rooms:
        result["rooms"] = rooms
    if body.account_data:
        result["account_data"] = {"events": account_data_events(body.account_data)}
    if body.presence:
        result["presence"] = {"events": [presence_event(p, now_ms) for p in body.presence]}
    if body.device_lists_changed or body.device_lists_left:
        result["device_lists"] = {
            "changed": sorted(body.device_lists_changed),
            "left": sorted(body.device_lists_left),
        }
    if body.to_device:
        result["to_device"] = {"events": [orjson.Fragment(one) for one in body.to_device]}
    return orjson.dumps(result)


def room_body(section: RoomSection, with_threads: bool, state_after: str | None) -> dict[str, Any]:
    """A room under `join` or `leave`."""
    body: dict[str, Any] = {
        "timeline": {
            "events": [orjson.Fragment(event) for event in section.timeline],
            "limited": section.is_limited,
            "prev_batch": section.prev_batch,
        },
        state_after or "state": {"events": [orjson.Fragment(event) for event in section.state]},
        "account_data": {"events": account_data_events(section.account_data)},
        "ephemeral": {"events": section.ephemeral},
    }
    if section.sticky:
        body[STICKY] = {"events": [orjson.Fragment(event) for event in section.sticky]}
    if section.summary is not None:
        body["summary"] = section.summary.body()
    if section.counts is not None:
        counts = section.counts
        body["unread_notifications"] = (counts.main if with_threads else counts.total).body()
        if with_threads and counts.threads:
            body["unread_thread_notifications"] = {
                root: thread.body() for root, thread in counts.threads.items()
            }
    return body


def account_data_events(rows: Iterable[AccountDataSet]) -> list[dict[str, Any]]:
    """Account data as events."""
    return [{"type": row.type, "content": orjson.Fragment(row.content)} for row in rows]


def presence_event(presence: PresenceSet, now_ms: int) -> dict[str, Any]:
    """An `m.presence` event."""
    content: dict[str, Any] = {
        "presence": presence.presence,
        "last_active_ago": max(0, now_ms - presence.last_active_ts),
        "currently_active": presence.currently_active,
    }
    if presence.status_msg is not None:
        content["status_msg"] = presence.status_msg
    return {"type": "m.presence", "sender": presence.user_id, "content": content}


def receipt_event(receipts: Iterable[ReceiptMoved]) -> dict[str, Any]:
    """An `m.receipt` event of one room."""
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for receipt in receipts:
        users = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
        data: dict[str, Any] = {"ts": receipt.ts}
        if receipt.thread_id:
            data["thread_id"] = receipt.thread_id
        if receipt.user_id not in users or not receipt.thread_id:
            users[receipt.user_id] = data
    return {"type": "m.receipt", "content": content}


def typing_event(users: Sequence[str]) -> Mapping[str, Any]:
    """An `m.typing` event of one room."""
    return {"type": "m.typing", "content": {"user_ids": users}}
