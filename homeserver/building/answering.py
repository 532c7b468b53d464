"""What questions of other servers are answered from, put together."""

from typing import TYPE_CHECKING

from federation.inbound.reading_ports import Answering
from homeserver.building.core import Core
from homeserver.encryption.encryption import Encryption
from homeserver.media.repository import MediaRepository
from homeserver.media.served_media import ServedMediaFiles
from homeserver.rooms.auth_chains import AuthChains
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.served_directory import ServedDirectory
from homeserver.rooms.served_events import ServedEvents
from homeserver.rooms.served_spaces import ServedSpaces
from homeserver.users.personal import Personal
from homeserver.users.served_users import ServedProfiles
from homeserver.users.users import Users

if TYPE_CHECKING:
    from homeserver.calls.calls import Calls


def build_answering(
    core: Core,
    rooms: Rooms,
    users: Users,
    personal: Personal,
    encryption: Encryption,
    media: MediaRepository,
    calls: "Calls | None",
) -> Answering:
    """Put the services together."""
    db, names, name = core.db, core.names, core.server_name
    return Answering(
        server_name=name,
        clock=core.clock,
        events=ServedEvents(db, names, core.access, AuthChains(db), core.cache_part),
        spaces=ServedSpaces(db, names, core.access),
        directory=ServedDirectory(rooms.directory, rooms.aliases, core.settings.rooms, name),
        profiles=ServedProfiles(personal.profiles, core.settings.federation, name),
        devices=encryption.served,
        openid=users.short_lived_tokens,
        media=ServedMediaFiles(media.library, media.contents, media.thumbnails),
        call_tokens=calls.homeserver_tokens if calls else None,
    )
