"""What clients wait for, put together."""

from dataclasses import dataclass

from homeserver.building.core import Core
from homeserver.encryption.encryption import Encryption
from homeserver.push.counts import UnreadCounts
from homeserver.push.rules import PushRules
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.rooms.typing import Typing
from homeserver.sync.catch_up import CatchUp
from homeserver.sync.device_news import DeviceNews
from homeserver.sync.followers import Followers
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.live import LiveSync
from homeserver.sync.service import Sync
from homeserver.sync.sliding.connections import Connections
from homeserver.sync.sliding.direct_rooms import DirectRooms
from homeserver.sync.sliding.extensions.account_data import AccountData
from homeserver.sync.sliding.extensions.e2ee import E2ee
from homeserver.sync.sliding.extensions.reader import ExtensionReader
from homeserver.sync.sliding.extensions.receipts import Receipts
from homeserver.sync.sliding.extensions.sticky_events import StickyExtension
from homeserver.sync.sliding.extensions.thread_subscriptions import ThreadNews
from homeserver.sync.sliding.extensions.to_device import ToDevice
from homeserver.sync.sliding.extensions.typing import Typing as TypingExtension
from homeserver.sync.sliding.lists import Lists
from homeserver.sync.sliding.plan import Planner
from homeserver.sync.sliding.room_facts import RoomFactsCache
from homeserver.sync.sliding.room_orders import RoomOrders
from homeserver.sync.sliding.rooms import RoomReader
from homeserver.sync.sliding.service import SlidingParts, SlidingSync
from homeserver.sync.sticky import StickyEvents
from homeserver.sync.window_events import WindowEvents
from homeserver.users.invite_permission import InvitePermissions


@dataclass(frozen=True, slots=True)
class SyncParts:
    """The services that sync stands on, besides the core."""

    clients: ClientEvents
    push_rules: PushRules
    counts: UnreadCounts
    typing: Typing
    ignored: IgnoredUsers
    invites: InvitePermissions
    threads: ThreadSubscriptions


@dataclass(frozen=True, slots=True)
class Shared:
    """What both kinds of sync use."""

    followers: Followers
    events: WindowEvents
    devices: DeviceNews
    sticky: StickyEvents


@dataclass(frozen=True, slots=True)
class Syncs:
    """The two kinds of sync."""

    sync: Sync
    sliding: SlidingSync


def build_syncs(core: Core, parts: SyncParts, encryption: Encryption) -> Syncs:
    """Everything that has happened, for clients that ask and wait."""
    typing = parts.typing
    followers = Followers(core.db, core.stream)
    core.stream.listen(followers.heard)
    typing.listen(
        lambda room_nid, _user, _typing: followers.typing_changed(room_nid, typing.serial)
    )
    sticky = StickyEvents(core.db, parts.clients, core.clock)
    core.stream.listen(sticky.heard)
    shared = Shared(
        followers,
        WindowEvents(core.names, parts.clients, core.clock),
        DeviceNews(core.db, core.names, encryption.inbox, encryption.one_time_keys),
        sticky,
    )
    return Syncs(
        build_sync(core, parts, shared), build_sliding_sync(core, parts, shared, encryption)
    )


def build_sync(core: Core, parts: SyncParts, shared: Shared) -> Sync:
    """`GET /sync`."""
    both = (
        core.db,
        core.names,
        core.stream,
        parts.clients,
        parts.counts,
        LazyMembers(core.cache_part),
        parts.typing,
        parts.push_rules,
        parts.ignored,
    )
    return Sync(
        core.stream,
        shared.followers,
        LiveSync(*both, shared.events),
        CatchUp(*both, parts.invites, shared.sticky, core.settings.sync.first_events),
        shared.devices,
        core.clock,
    )


def build_sliding_sync(
    core: Core, parts: SyncParts, shared: Shared, encryption: Encryption
) -> SlidingSync:
    """Sliding sync; what it keeps in memory has a part of the caches' budget."""
    part = core.cache_part
    direct = DirectRooms(core.db, part // 8)
    facts = RoomFactsCache(core.db, core.names, part // 4)
    core.tell(direct.heard)
    core.tell(facts.heard)
    extensions = ExtensionReader(
        ToDevice(encryption.inbox),
        E2ee(shared.devices, encryption.one_time_keys),
        AccountData(core.db, core.stream, parts.push_rules),
        Receipts(core.db, core.stream),
        TypingExtension(parts.typing),
        ThreadNews(parts.threads),
        StickyExtension(shared.sticky),
    )
    return SlidingSync(
        SlidingParts(
            core.stream,
            core.names,
            shared.followers,
            RoomOrders(core.db, core.stream),
            Connections(core.db, core.clock, part),
            Lists(core.db, core.names, facts, direct, parts.ignored, parts.invites, part // 2),
            Planner(core.db, core.names),
            RoomReader(
                core.db, core.names, core.stream, parts.clients, shared.events, parts.counts
            ),
            extensions,
            parts.ignored,
        ),
        part // 8,
    )
