"""What a commit tells the readers: one small record for each change, in the order of the stream.

Every kind can be read back from the database by position (`storage/feed.py`), so that a process
hears of what another one wrote, and a sync with an old token is answered like one with a new.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from federation.protocol.identifiers import ServerName, UserId


class Membership(IntEnum):
    """Memberships as the database numbers them."""

    JOIN = 1
    INVITE = 2
    KNOCK = 3
    LEAVE = 4
    BAN = 5

    @property
    def word(self) -> str:
        """The specification's word for it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Membership":
        """The number of the specification's word; raises KeyError for any other."""
        return cls[word.upper()]


class Standing(IntEnum):
    """Where an event stands in its room."""

    ACCEPTED = 0
    SOFT_FAILED = 1
    REJECTED = 2
    OUTLIER = 3


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as its row has it.

    `json` is the signed PDU in canonical form and `fields` the same, parsed. `position` is None
    for outliers and rejected events, negative for backfilled history. `snapshot_nid` is the state
    after the event, `replaces_nid` the state event whose place it took.
    """

    event_nid: int
    position: int | None
    depth: int
    room_nid: int
    sender_nid: int
    place_nid: int | None
    snapshot_nid: int | None
    replaces_nid: int | None
    redacted_by: int | None
    standing: int
    event_id: str
    json: bytes
    fields: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The event type."""
        return str(self.fields["type"])

    @property
    def sender(self) -> str:
        """The sender's user ID."""
        return str(self.fields["sender"])

    @property
    def state_key(self) -> str | None:
        """The state key; None for all but state events."""
        return self.fields.get("state_key")

    @property
    def content(self) -> Mapping[str, Any]:
        """The content."""
        content: Mapping[str, Any] = self.fields["content"]
        return content


@dataclass(frozen=True, slots=True)
class TransactionEcho:
    """The transaction ID that the sending device is shown with its own event."""

    device_nid: int
    txn_id: str


@dataclass(frozen=True, slots=True)
class DelayEcho:
    """The ID of the delayed event, which its sender is shown with the event that it became."""

    delay_id: str


@dataclass(frozen=True, slots=True)
class EventAdded:
    """An event took its place in a room's timeline.

    `member_nid` and `membership` are set for an event that changed somebody's membership;
    `is_local_member` says whether that user is one of ours. `is_distributed` says that another
    server has taken on to tell all servers in the room, `follows_gap` that the history right
    before the event is missing here, `changes_state` that the room's current state is another one
    since the event, be it a state event itself or the end of a fork.
    """

    position: int
    event: StoredEvent
    echo: TransactionEcho | DelayEcho | None
    member_nid: int | None
    membership: Membership | None
    is_local_member: bool
    is_distributed: bool = False
    follows_gap: bool = False
    changes_state: bool = False


@dataclass(frozen=True, slots=True)
class StickyEventAdded:
    """An event is sticky, and everybody in the room is to be told, wherever it stands."""

    position: int
    room_nid: int
    event_nid: int
    expires_ts: int


@dataclass(frozen=True, slots=True)
class InviteChanged:
    """A membership of a user of ours changed without an event in a timeline here."""

    position: int
    room_nid: int
    user_nid: int


@dataclass(frozen=True, slots=True)
class ReceiptMoved:
    """A user's receipt moved to `event_id`; `thread_id` is empty for an unthreaded one."""

    position: int
    room_nid: int
    user_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int


@dataclass(frozen=True, slots=True)
class AccountDataSet:
    """Account data changed; `room_nid` is 0 for the account itself; `content` is JSON."""

    position: int
    user_nid: int
    room_nid: int
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ThreadSubscriptionSet:
    """A user of ours subscribed to the thread of a root, or unsubscribed."""

    position: int
    user_nid: int
    room_nid: int
    root_id: str


@dataclass(frozen=True, slots=True)
class PresenceSet:
    """Somebody's presence changed."""

    position: int
    user_nid: int
    user_id: str
    presence: str
    status_msg: str | None
    last_active_ts: int
    currently_active: bool


@dataclass(frozen=True, slots=True)
class ToDeviceAdded:
    """Messages wait for devices of a user of ours."""

    position: int
    user_nid: int


@dataclass(frozen=True, slots=True)
class DeviceListChanged:
    """Somebody's devices or cross-signing keys changed, or the signatures that a user sees on them.

    It is told to those in the rooms of `room_nids` and to the user; only to the user `viewer_nid`
    if that is set.
    """

    position: int
    user_nid: int
    user_id: UserId
    room_nids: tuple[int, ...]
    viewer_nid: int | None = None


@dataclass(frozen=True, slots=True)
class EdusQueued:
    """EDUs for these servers were stored."""

    position: int
    destinations: tuple[ServerName, ...]


@dataclass(frozen=True, slots=True)
class EventRelayed:
    """An event that another server's user has sent by way of this one is to be passed on."""

    position: int
    event_nid: int


Change = (
    EventAdded
    | StickyEventAdded
    | InviteChanged
    | ReceiptMoved
    | AccountDataSet
    | ThreadSubscriptionSet
    | PresenceSet
    | ToDeviceAdded
    | DeviceListChanged
    | EdusQueued
    | EventRelayed
)
