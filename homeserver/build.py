"""Putting the services together, from the core outwards; everything through constructors.

The core is what reads and writes the stream; the rest stands on it. A service that has to hear of
commits is made a listener of the stream here.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federation.outbound.directory import RemoteDirectory
from federation.outbound.key_validity import KeyValidity
from federation.outbound.policy import RemotePolicyServers
from federation.protocol.identifiers import ServerName, UserId
from federation.protocol.push_rules import PREDEFINED_RULES, PREDEFINED_WITH_LEGACY_MENTIONS
from federation.protocol.signatures import SigningKey
from homeserver.answering import build_answering
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.encryption import Encryption, build_encryption
from homeserver.jobs.job import JobContext
from homeserver.jobs.runner import JOBS, Runner
from homeserver.other_servers.links import Links
from homeserver.other_servers.room_servers import RoomServers
from homeserver.other_servers.traffic import TrafficParts, build_traffic
from homeserver.push.counts import UnreadCounts
from homeserver.push.notifications import Notifications
from homeserver.push.personal_settings import PersonalSettings
from homeserver.push.room_contexts import RoomContexts
from homeserver.push.rules import PushRules
from homeserver.rooms.append import Append
from homeserver.rooms.arrivals import Arrivals
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.ports import NoRemoteRooms
from homeserver.rooms.reading import NO_PORTS, ReadingPorts, build_reading
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.relations import Bundles
from homeserver.rooms.remote_summaries import RemoteSummaries
from homeserver.rooms.rooms import RoomPorts, Rooms, build_rooms
from homeserver.rooms.send import Send
from homeserver.rooms.server_access import ServerAccess
from homeserver.rooms.taking import Door
from homeserver.rooms.typing import Typing
from homeserver.services import Services
from homeserver.shared_rooms import SharedRooms, build_shared_rooms
from homeserver.sync.catch_up import CatchUp
from homeserver.sync.device_news import DeviceNews
from homeserver.sync.followers import Followers
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.live import LiveSync
from homeserver.sync.service import Sync
from homeserver.users.invite_permission import InvitePermissions
from homeserver.users.personal import Personal, build_personal
from homeserver.users.profiles import MemberProfiles
from homeserver.users.remote_profiles import NoRemoteProfiles, RemoteProfiles
from homeserver.users.users import UserPorts, Users, build_users
from homeserver.version import hearth_version
from storage import bus as bus_module
from storage.auth_edges import AuthEdges
from storage.bus import Bus
from storage.changes import Change, EventAdded
from storage.committer import CHANNEL, Committer
from storage.database import Pool
from storage.names import Names
from storage.nids import Nids
from storage.state_layers import StateLayers
from storage.stream import Stream

SESSIONS = "sessions"
ONE_TIME_KEYS = "one_time_keys"


@dataclass(frozen=True, slots=True)
class Core:
    """What reads and writes the stream and lets events into rooms."""

    settings: Settings
    clock: Clock
    db: Pool
    names: Names
    bus: Bus
    stream: Stream
    committer: Committer
    nids: Nids
    live: LiveRooms
    append: Append
    arrivals: Arrivals
    policies: PolicyServers
    send: Send
    access: ServerAccess
    key: SigningKey
    links: Links
    """To other servers."""
    cache_bytes: int
    """The budget of all caches together."""


def build_core(settings: Settings, db: Pool, dsn: str, clock: Clock, links: Links) -> Core:
    """The core over an open pool; nothing runs yet."""
    cache_bytes = settings.cache.budget_mb * 1_048_576
    server_name = ServerName(settings.server.name)
    names = Names(db, cache_bytes // 8)
    bus = Bus(db)
    stream = Stream(db, names, server_name, cache_bytes // 8)
    heard: dict[str, Callable[[str], None]] = {
        CHANNEL: stream.notified,
        bus_module.CHANNEL: bus.hear,
    }
    committer = Committer(dsn, stream.published, heard, bus.lost)
    nids = Nids(db)
    layers = StateLayers(db, cache_bytes // 16)
    live = LiveRooms(db, names, layers, cache_bytes // 8)
    append = Append(db, names, nids, live, layers, committer, server_name)
    key = links.own.current[0]
    access = ServerAccess(db, names, cache_bytes // 64)
    policies = PolicyServers(live, access, RemotePolicyServers(links.client))
    door = Door(db, names, nids, live, layers, AuthEdges(db, cache_bytes // 32), append)
    arrivals = Arrivals(door)
    send = Send(db, live, append, clock, server_name, key, arrivals, policies)

    async def drop_moved_rooms(changes: Sequence[Change], own: bool) -> None:
        if own:
            return
        moved = {change.event.room_nid for change in changes if isinstance(change, EventAdded)}
        for room in (await names.rooms.get_many(moved)).values():
            live.drop_id(room.room_id)

    stream.listen(drop_moved_rooms)
    return Core(
        settings,
        clock,
        db,
        names,
        bus,
        stream,
        committer,
        nids,
        live,
        append,
        arrivals,
        policies,
        send,
        access,
        key,
        links,
        cache_bytes,
    )


def build_services(core: Core) -> Services:
    """All services over a core."""
    part = core.cache_bytes // 32
    rules = _build_push_rules(core, part)
    invites = InvitePermissions(core.db, part)
    _listen(core, invites.heard)
    shared = _build_shared_rooms(core, invites)
    rooms = _build_rooms(core, invites, rules, shared)
    servers = RoomServers(core.db, core.names, ServerName(core.settings.server.name), part)
    device_lists = DeviceLists(
        core.db, core.committer, core.clock, core.settings.federation, servers
    )
    users = _build_users(core, part, rooms, device_lists)
    ignored = IgnoredUsers(core.db, core.names, part)
    clients = ClientEvents(core.db, core.names, Bundles(core.db, core.names, ignored))
    contexts = RoomContexts(core.db, core.names, part)
    typing = Typing(core.clock())
    personal = _build_personal(core, part, rooms)
    receipts = Receipts(core.db, core.names, core.committer, core.clock)
    encryption = _build_encryption(core, part, device_lists)
    traffic = build_traffic(
        db=core.db,
        names=core.names,
        committer=core.committer,
        stream=core.stream,
        clock=core.clock,
        links=core.links,
        servers=servers,
        parts=TrafficParts(
            shared.intake,
            core.access,
            typing,
            receipts,
            personal.presence,
            encryption.to_device,
            encryption.remote_devices,
            device_lists,
        ),
    )
    ports = _reading_ports(core, part, shared) if core.settings.federation.enabled else NO_PORTS
    reading = build_reading(core.db, core.names, clients, ignored, ports)
    _listen(core, ignored.heard)
    _listen(core, reading.heard)
    _listen(core, rules.heard)
    _listen(core, typing.heard)
    return Services(
        settings=core.settings,
        clock=core.clock,
        db=core.db,
        names=core.names,
        committer=core.committer,
        send=core.send,
        rooms=rooms,
        users=users,
        personal=personal,
        receipts=receipts,
        typing=typing,
        encryption=encryption,
        push_rules=rules,
        clients=clients,
        reading=reading,
        key_server=core.links.key_server,
        intake=shared.intake,
        resident=shared.resident,
        elsewhere=shared.elsewhere,
        third_party_invites=rooms.third_party_invites,
        transactions=traffic.transactions,
        sending=traffic.sending,
        version=hearth_version(),
        sync=_build_sync(
            core, part, clients, rules, contexts, typing, ignored, invites, encryption
        ),
        answering=build_answering(
            db=core.db,
            names=core.names,
            clock=core.clock,
            settings=core.settings,
            access=core.access,
            rooms=rooms,
            profiles=personal.profiles,
            tokens=users.short_lived_tokens,
            devices=encryption.served,
            cache_bytes=part,
        ),
        notifications=Notifications(core.db, core.names, rules, contexts, clients),
        runner=Runner(
            JobContext(core.db, core.settings, users.deactivation), core.clock, JOBS, random.random
        ),
    )


def _reading_ports(core: Core, part: int, shared: SharedRooms) -> ReadingPorts:
    directory = RemoteDirectory(core.links.client)
    own_name = core.links.own.server_name
    summaries = RemoteSummaries(core.db, directory, core.clock, own_name, part)
    return ReadingPorts(missing=shared.backfill, times=shared.backfill, summaries=summaries)


def _build_push_rules(core: Core, part: int) -> PushRules:
    has_legacy = core.settings.push.legacy_mentions
    predefined = PREDEFINED_WITH_LEGACY_MENTIONS if has_legacy else PREDEFINED_RULES
    return PushRules(core.db, core.committer, part, predefined)


def _build_sync(
    core: Core,
    part: int,
    clients: ClientEvents,
    rules: PushRules,
    contexts: RoomContexts,
    typing: Typing,
    ignored: IgnoredUsers,
    invites: InvitePermissions,
    encryption: Encryption,
) -> Sync:
    counts = UnreadCounts(core.db, core.stream, rules, contexts, part)
    followers = Followers(core.db, core.stream)
    lazy = LazyMembers(part)
    core.stream.listen(contexts.heard)
    core.stream.listen(counts.heard)
    core.stream.listen(followers.heard)
    typing.listen(
        lambda room_nid, _user, _typing: followers.typing_changed(room_nid, typing.serial)
    )
    shared = (core.db, core.names, core.stream, clients, counts, lazy, typing, rules, ignored)
    return Sync(
        core.stream,
        followers,
        LiveSync(*shared),
        CatchUp(*shared, invites),
        DeviceNews(core.db, core.names, encryption.inbox, encryption.one_time_keys),
        core.clock,
    )


def _build_shared_rooms(core: Core, invites: InvitePermissions) -> SharedRooms:
    return build_shared_rooms(
        db=core.db,
        names=core.names,
        nids=core.nids,
        committer=core.committer,
        live=core.live,
        append=core.append,
        arrivals=core.arrivals,
        policies=core.policies,
        send=core.send,
        access=core.access,
        clock=core.clock,
        links=core.links,
        invitations=invites,
    )


def _build_rooms(
    core: Core, invites: InvitePermissions, rules: PushRules, shared: SharedRooms
) -> Rooms:
    return build_rooms(
        db=core.db,
        names=core.names,
        committer=core.committer,
        live=core.live,
        append=core.append,
        send=core.send,
        clock=core.clock,
        settings=core.settings,
        key=core.key,
        ports=RoomPorts(
            MemberProfiles(core.db, core.names),
            invites,
            PersonalSettings(core.db, core.committer, rules),
            shared.remote if core.settings.federation.enabled else NoRemoteRooms(),
            KeyValidity(core.links.connections),
        ),
    )


def _build_personal(core: Core, part: int, rooms: Rooms) -> Personal:
    is_federating = core.settings.federation.enabled
    directory = RemoteDirectory(core.links.client)
    remote = RemoteProfiles(directory, core.clock, part) if is_federating else NoRemoteProfiles()
    personal = build_personal(
        db=core.db,
        names=core.names,
        committer=core.committer,
        clock=core.clock,
        settings=core.settings,
        member_events=rooms.of_users,
        remote_profiles=remote,
        cache_bytes=part,
    )
    core.stream.listen(personal.presence.heard)
    return personal


def _build_encryption(core: Core, part: int, lists: DeviceLists) -> Encryption:
    async def announce(text: str) -> None:
        await core.bus.publish(ONE_TIME_KEYS, text)

    encryption = build_encryption(
        db=core.db,
        names=core.names,
        committer=core.committer,
        clock=core.clock,
        settings=core.settings,
        links=core.links,
        lists=lists,
        announce=announce,
        cache_bytes=part,
    )
    core.bus.subscribe(ONE_TIME_KEYS, encryption.one_time_keys.hear)
    core.bus.on_missed(encryption.one_time_keys.forget_all)
    return encryption


def _build_users(core: Core, part: int, rooms: Rooms, device_lists: DeviceLists) -> Users:
    async def announce(text: str) -> None:
        await core.bus.publish(SESSIONS, text)

    users = build_users(
        db=core.db,
        names=core.names,
        committer=core.committer,
        clock=core.clock,
        settings=core.settings,
        session_cache_bytes=part,
        ports=UserPorts(announce, device_lists, rooms.of_users, NothingReserved()),
    )
    core.bus.subscribe(SESSIONS, users.sessions.hear)
    core.bus.on_missed(users.sessions.forget_all)
    return users


def _listen(core: Core, heard: Callable[[Sequence[Change]], None]) -> None:
    async def listener(changes: Sequence[Change], own: bool) -> None:
        del own
        heard(changes)

    core.stream.listen(listener)


class NothingReserved:
    """Stands for application services while there are none."""

    def is_reserved(self, user_id: UserId) -> bool:
        """Never."""
        del user_id
        return False
