"""All extensions of one answer, and their shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.rooms.thread_subscriptions import SubscriptionsPage
from homeserver.rooms.viewer import Viewer
from homeserver.sync.response import SIGNED_CURVE, account_data_events, typing_event
from homeserver.sync.sliding.extensions.account_data import AccountData, AccountDataTold
from homeserver.sync.sliding.extensions.e2ee import E2ee, E2eeTold
from homeserver.sync.sliding.extensions.receipts import Receipts
from homeserver.sync.sliding.extensions.scope import Round
from homeserver.sync.sliding.extensions.sticky_events import StickyExtension, StickyNews
from homeserver.sync.sliding.extensions.thread_subscriptions import ThreadNews
from homeserver.sync.sliding.extensions.to_device import MessagesTold, ToDevice
from homeserver.sync.sliding.extensions.typing import Typing
from homeserver.sync.sliding.request import STICKY_EVENTS, THREAD_SUBSCRIPTIONS, Extensions


@dataclass(slots=True)
class ExtensionsTold:
    """What the extensions tell; None for one that is not wanted."""

    to_device: MessagesTold | None = None
    e2ee: E2eeTold | None = None
    account_data: AccountDataTold | None = None
    receipts: dict[int, dict[str, Any]] = field(default_factory=dict)
    typing: dict[int, Sequence[str]] = field(default_factory=dict)
    threads: SubscriptionsPage | None = None
    sticky: StickyNews | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that the client waits for."""
        return not (
            (self.to_device and self.to_device.messages)
            or (self.e2ee and not self.e2ee.is_empty)
            or (self.account_data and not self.account_data.is_empty)
            or self.receipts
            or self.typing
            or (self.threads and self.threads.threads)
            or (self.sticky and self.sticky.rooms)
        )

    @property
    def room_nids(self) -> set[int]:
        """The rooms that something is told of."""
        rooms = self.account_data.rooms.keys() if self.account_data else set[int]()
        threads = self.threads.room_nids if self.threads else set[int]()
        sticky = self.sticky.rooms.keys() if self.sticky else set[int]()
        return {*self.receipts, *self.typing, *rooms, *threads, *sticky}

    def body(self, ids: Mapping[int, str]) -> dict[str, Any]:
        """As clients see it, with the IDs of rooms."""
        body: dict[str, Any] = {}
        if self.to_device is not None:
            body["to_device"] = {
                "next_batch": str(self.to_device.next_batch),
                "events": [orjson.Fragment(one) for one in self.to_device.messages],
            }
        if self.e2ee is not None:
            body["e2ee"] = e2ee_body(self.e2ee)
        if self.account_data is not None and not self.account_data.is_empty:
            body["account_data"] = {
                "global": account_data_events(self.account_data.account),
                "rooms": {
                    ids[nid]: account_data_events(rows)
                    for nid, rows in self.account_data.rooms.items()
                },
            }
        if self.receipts:
            body["receipts"] = {"rooms": {ids[nid]: e for nid, e in self.receipts.items()}}
        if self.typing:
            events = {ids[nid]: typing_event(users) for nid, users in self.typing.items()}
            body["typing"] = {"rooms": events}
        if self.threads is not None and self.threads.threads:
            body[THREAD_SUBSCRIPTIONS] = threads_body(self.threads, ids)
        if self.sticky is not None and self.sticky.next_batch is not None:
            body[STICKY_EVENTS] = sticky_body(self.sticky, ids)
        return body


def sticky_body(told: StickyNews, ids: Mapping[int, str]) -> dict[str, Any]:
    """What is told of sticky events."""
    rooms = {
        ids[nid]: {"events": [orjson.Fragment(event) for event in events]}
        for nid, events in told.rooms.items()
    }
    return {"next_batch": str(told.next_batch), "rooms": rooms}


def threads_body(told: SubscriptionsPage, ids: Mapping[int, str]) -> dict[str, Any]:
    """What is told of subscriptions to threads."""
    body = told.body(ids)
    return body if told.end is None else {**body, "prev_batch": str(told.end)}


def e2ee_body(told: E2eeTold) -> dict[str, Any]:
    """What is told of encryption."""
    body: dict[str, Any] = {
        # Clients that see no count take the server for one that counts no keys.
        "device_one_time_keys_count": {SIGNED_CURVE: 0, **told.keys.one_time_keys},
        "device_unused_fallback_key_types": told.keys.unused_fallback_keys,
    }
    if not told.is_empty:
        body["device_lists"] = {
            "changed": sorted(told.devices.changed),
            "left": sorted(told.devices.left),
        }
    return body


@dataclass(frozen=True, slots=True)
class ExtensionReader:
    """Reads what the extensions of a request tell."""

    to_device: ToDevice
    e2ee: E2ee
    account_data: AccountData
    receipts: Receipts
    typing: Typing
    threads: ThreadNews
    sticky: StickyExtension

    async def read(
        self,
        wanted: Extensions,
        viewer: Viewer,
        answer: Round,
        timelines: Mapping[int, Sequence[str]],
        ignored: frozenset[str],
    ) -> ExtensionsTold:
        """What they tell in an answer; `timelines` has the events that rooms are shown with."""
        told = ExtensionsTold()
        follower, pos = answer.situation.follower, answer.situation.pos
        if wanted.to_device is not None:
            told.to_device = await self.to_device.tell(
                follower, viewer.device_nid, wanted.to_device, answer.upto
            )
        if wanted.e2ee:
            told.e2ee = await self.e2ee.tell(follower, viewer.device_nid, pos, answer.upto)
        if wanted.account_data is not None:
            told.account_data = await self.account_data.tell(answer, wanted.account_data)
        if wanted.receipts is not None:
            told.receipts = await self.receipts.tell(answer, wanted.receipts, timelines, ignored)
        if wanted.typing is not None:
            told.typing = self.typing.tell(answer, wanted.typing)
        if wanted.threads is not None:
            told.threads = await self.threads.tell(answer, wanted.threads)
        if wanted.sticky is not None:
            told.sticky = await self.sticky.tell(viewer, answer, wanted.sticky, timelines, ignored)
        return told
