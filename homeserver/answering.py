"""What questions of other servers are answered from, put together."""

from federation.inbound.reading_ports import Answering
from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.encryption.served_devices import ServedDevices
from homeserver.rooms.auth_chains import AuthChains
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.served_directory import ServedDirectory
from homeserver.rooms.served_events import ServedEvents
from homeserver.rooms.served_spaces import ServedSpaces
from homeserver.rooms.server_access import ServerAccess
from homeserver.users.profiles import Profiles
from homeserver.users.served_users import ServedProfiles
from homeserver.users.short_lived_tokens import ShortLivedTokens
from storage.database import Database
from storage.names import Names


def build_answering(
    *,
    db: Database,
    names: Names,
    clock: Clock,
    settings: Settings,
    access: ServerAccess,
    rooms: Rooms,
    profiles: Profiles,
    tokens: ShortLivedTokens,
    devices: ServedDevices,
    cache_bytes: int,
) -> Answering:
    """Put the services together."""
    server_name = ServerName(settings.server.name)
    return Answering(
        server_name=server_name,
        clock=clock,
        events=ServedEvents(db, names, access, AuthChains(db), cache_bytes),
        spaces=ServedSpaces(db, names, access),
        directory=ServedDirectory(rooms.directory, rooms.aliases, settings.rooms, server_name),
        profiles=ServedProfiles(profiles, settings.federation, server_name),
        devices=devices,
        openid=tokens,
    )
