"""What clients wait for, put together."""

from dataclasses import dataclass

from homeserver.building.core import Core
from homeserver.encryption.encryption import Encryption
from homeserver.push.counts import UnreadCounts
from homeserver.push.rules import PushRules
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.typing import Typing
from homeserver.sync.catch_up import CatchUp
from homeserver.sync.device_news import DeviceNews
from homeserver.sync.followers import Followers
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.live import LiveSync
from homeserver.sync.service import Sync
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


def build_sync(core: Core, parts: SyncParts, encryption: Encryption) -> Sync:
    """Everything that has happened, for clients that ask and wait."""
    typing = parts.typing
    followers = Followers(core.db, core.stream)
    core.stream.listen(followers.heard)
    typing.listen(
        lambda room_nid, _user, _typing: followers.typing_changed(room_nid, typing.serial)
    )
    lazy = LazyMembers(core.cache_part)
    shared = (
        core.db,
        core.names,
        core.stream,
        parts.clients,
        parts.counts,
        lazy,
        typing,
        parts.push_rules,
        parts.ignored,
    )
    return Sync(
        core.stream,
        followers,
        LiveSync(*shared),
        CatchUp(*shared, parts.invites),
        DeviceNews(core.db, core.names, encryption.inbox, encryption.one_time_keys),
        core.clock,
    )
