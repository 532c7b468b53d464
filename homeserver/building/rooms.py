"""Rooms as users act in them and read them, put together."""

from federation.outbound.directory import RemoteDirectory
from federation.outbound.key_validity import KeyValidity
from homeserver.building.core import Core
from homeserver.building.shared_rooms import SharedRooms
from homeserver.config.sections.server_notices import notices_sender
from homeserver.push.personal_settings import PersonalSettings
from homeserver.push.rules import PushRules
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.child_events import ChildEvents
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.directory import Directory
from homeserver.rooms.held_sticky import HeldStickyEvents
from homeserver.rooms.history import History
from homeserver.rooms.ignored_users import IgnoredUsers
from homeserver.rooms.initial_sync import InitialSync
from homeserver.rooms.members import Members
from homeserver.rooms.membership import Memberships
from homeserver.rooms.mutual_rooms import MutualRooms
from homeserver.rooms.peeking import Peeking
from homeserver.rooms.ports import Invitations, NoRemoteRooms, ServiceAliases
from homeserver.rooms.readable_state import ReadableState
from homeserver.rooms.reading import RoomReading
from homeserver.rooms.related_redactions import RelatedRedactions
from homeserver.rooms.remote_summaries import RemoteSummaries as FetchedSummaries
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.search import Search
from homeserver.rooms.spaces import Spaces
from homeserver.rooms.successors import Successors
from homeserver.rooms.summary import Summaries
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.threads import Threads
from homeserver.rooms.timestamps import Timestamps
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.user_events import UserEvents
from homeserver.rooms.user_rooms import UserRooms
from homeserver.users.profiles import MemberProfiles


def build_rooms(
    core: Core,
    invites: Invitations,
    rules: PushRules,
    shared: SharedRooms,
    services: ServiceAliases,
) -> Rooms:
    """What users do in rooms and with them."""
    db, names, live, send, name = core.db, core.names, core.live, core.send, core.server_name
    remote = shared.remote if core.settings.federation.enabled else NoRemoteRooms()
    settings = PersonalSettings(db, core.committer, rules)
    restricted_joins = RestrictedJoins(db, names, live, name)
    successors = Successors(db, names, live, settings)
    third_party = ThirdPartyInvites(
        db, names, live, send, invites, remote, KeyValidity(core.links.connections), name
    )
    memberships = Memberships(
        db,
        names,
        live,
        send,
        restricted_joins,
        MemberProfiles(db, names),
        invites,
        remote,
        third_party,
        successors,
        name,
        notices_sender(core.settings.server_notices, name),
    )
    aliases = Aliases(
        db, names, core.committer, live, send, remote, services, core.settings.rooms, name
    )
    creation = RoomCreation(
        db,
        names,
        live,
        core.append,
        send,
        memberships,
        successors,
        invites,
        services,
        core.settings.rooms,
        core.clock,
        name,
        core.key,
        has_calls=bool(core.settings.calls.livekit_url),
    )
    events = UserEvents(db, names, live, send, memberships, aliases, name)
    return Rooms(
        creation=creation,
        memberships=memberships,
        third_party_invites=third_party,
        restricted_joins=restricted_joins,
        aliases=aliases,
        directory=Directory(db, names, live, remote, core.settings.rooms, core.clock, name),
        upgrades=Upgrades(db, live, core.append, send, creation, successors, core.settings.rooms),
        state=ReadableState(db, names),
        events=events,
        related_redactions=RelatedRedactions(db, events, send),
        of_users=UserRooms(
            db, names, memberships, aliases, core.settings.registration.auto_join_rooms
        ),
    )


def build_reading(
    core: Core, clients: ClientEvents, ignored: IgnoredUsers, shared: SharedRooms
) -> RoomReading:
    """What users read of rooms; with federation also what only other servers know."""
    db, names = core.db, core.names
    federates = core.settings.federation.enabled
    missing = shared.backfill if federates else None
    summaries = _remote_summaries(core) if federates else None
    history = History(db, names, clients, ignored, missing)
    reading = RoomReading(
        history=history,
        members=Members(db, names, clients, history),
        children=ChildEvents(db, names, clients, ignored),
        threads=Threads(db, names, clients, ignored),
        timestamps=Timestamps(db, names, missing),
        mutual_rooms=MutualRooms(db, names),
        summaries=Summaries(db, names, summaries),
        spaces=Spaces(db, names, summaries),
        search=Search(db, names, clients, ignored, history),
        initial_sync=InitialSync(db, names, clients, ignored),
        peeking=Peeking(db, names, clients, ignored),
    )
    core.tell(reading.heard)
    return reading


def build_held_sticky_events(core: Core) -> HeldStickyEvents:
    """What looks at held sticky events; `HeldStickyEvents.run` is for the caller to run."""
    held = HeldStickyEvents(core.db, core.names, core.live, core.append, core.committer, core.clock)
    core.stream.listen(held.heard)
    return held


def _remote_summaries(core: Core) -> FetchedSummaries:
    directory = RemoteDirectory(core.links.client)
    return FetchedSummaries(core.db, directory, core.clock, core.server_name, core.cache_part)
