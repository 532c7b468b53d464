"""All services around rooms that users act in."""

from dataclasses import dataclass

from homeserver.rooms.aliases import Aliases
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.directory import Directory
from homeserver.rooms.membership import Memberships
from homeserver.rooms.readable_state import ReadableState
from homeserver.rooms.related_redactions import RelatedRedactions
from homeserver.rooms.restricted_join import RestrictedJoins
from homeserver.rooms.third_party_invites import ThirdPartyInvites
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.user_events import UserEvents
from homeserver.rooms.user_rooms import UserRooms


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
    related_redactions: RelatedRedactions
    state: ReadableState
    of_users: UserRooms
