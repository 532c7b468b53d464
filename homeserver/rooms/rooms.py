"""All services around rooms that users act in, put together."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from federation.protocol.signatures import SigningKey
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.append import Append
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.directory import Directory
from homeserver.rooms.live import LiveRooms
from homeserver.rooms.membership import Memberships
from homeserver.rooms.ports import (
    Invitations,
    KeyValidity,
    MemberProfiles,
    PersonalSettings,
    RemoteRooms,
)
from homeserver.rooms.readable_state import ReadableState
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.send import Send
from homeserver.rooms.successors import Successors
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.user_events import UserEvents
from homeserver.rooms.user_rooms import UserRooms
from storage.committer import Committer
from storage.database import Database
from storage.names import Names


@dataclass(frozen=True, slots=True)
class RoomPorts:
    """What rooms need of other services."""

    profiles: MemberProfiles
    invitations: Invitations
    settings: PersonalSettings
    remote: RemoteRooms
    keys: KeyValidity


@dataclass(frozen=True, slots=True)
class Rooms:
    """What users do in rooms and with them."""

    creation: RoomCreation
    memberships: Memberships
    third_party_invites: ThirdPartyInvites
    restricted_joins: RestrictedJoins
    aliases: Aliases
    directory: Directory
    upgrades: Upgrades
    events: UserEvents
    state: ReadableState
    of_users: UserRooms


def build_rooms(
    *,
    db: Database,
    names: Names,
    committer: Committer,
    live: LiveRooms,
    append: Append,
    send: Send,
    clock: Clock,
    settings: Settings,
    key: SigningKey,
    ports: RoomPorts,
) -> Rooms:
    """Put the services together."""
    server_name = ServerName(settings.server.name)
    restricted_joins = RestrictedJoins(db, names, live, server_name)
    successors = Successors(db, names, live, ports.settings)
    third_party = ThirdPartyInvites(
        db, names, live, send, ports.invitations, ports.remote, ports.keys, server_name
    )
    memberships = Memberships(
        db,
        names,
        live,
        send,
        restricted_joins,
        ports.profiles,
        ports.invitations,
        ports.remote,
        third_party,
        successors,
        server_name,
    )
    aliases = Aliases(db, names, committer, live, send, ports.remote, settings.rooms, server_name)
    creation = RoomCreation(
        db,
        names,
        live,
        append,
        send,
        memberships,
        successors,
        ports.invitations,
        settings.rooms,
        clock,
        server_name,
        key,
    )
    return Rooms(
        creation=creation,
        memberships=memberships,
        third_party_invites=third_party,
        restricted_joins=restricted_joins,
        aliases=aliases,
        directory=Directory(db, names, live, ports.remote, settings.rooms, clock, server_name),
        upgrades=Upgrades(db, live, append, send, creation, successors, settings.rooms),
        state=ReadableState(db, names),
        events=UserEvents(db, names, live, send, memberships, aliases, server_name),
        of_users=UserRooms(db, names, memberships, aliases, settings.registration.auto_join_rooms),
    )
