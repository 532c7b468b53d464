"""Media: uploads, downloads, thumbnails, and where they are kept."""

from federation.outbound.media import MediaFetch
from homeserver.building.core import Core
from homeserver.config.settings import Settings
from homeserver.media.access_times import AccessTimes
from homeserver.media.awaited_uploads import AwaitedUploads
from homeserver.media.contents import Contents
from homeserver.media.directory_store import DirectoryStore
from homeserver.media.incoming import Incoming
from homeserver.media.library import Library, NoRemoteMedia, RemoteMedia
from homeserver.media.quarantine import Quarantine
from homeserver.media.quotas import Quotas
from homeserver.media.remote import RemoteFiles
from homeserver.media.repository import MediaRepository
from homeserver.media.store import Store
from homeserver.media.thumbnail_cache import Thumbnails
from homeserver.media.thumbnails import build_thumbnailer
from homeserver.media.upkeep import Upkeep
from homeserver.media.uploads import Uploads

UPLOADED = "uploaded"


def build_media(core: Core) -> MediaRepository:
    """The content repository."""
    settings = core.settings.media
    incoming = Incoming(settings.directory / "incoming")
    store = build_store(core.settings)
    contents = Contents(core.db, core.clock, store, incoming)
    awaited = AwaitedUploads(core.announcer(UPLOADED))
    core.hear(UPLOADED, awaited.hear, awaited.look_again)
    access_times = AccessTimes(core.db, core.clock)
    quotas = Quotas(core.db, core.clock, settings, core.settings.server.public_baseurl)
    return MediaRepository(
        contents=contents,
        uploads=Uploads(core.db, core.clock, contents, awaited, quotas, settings, core.server_name),
        library=Library(
            core.db,
            core.clock,
            awaited,
            access_times,
            build_remote(core, contents),
            core.server_name,
        ),
        thumbnails=Thumbnails(core.db, contents, build_thumbnailer(settings)),
        access_times=access_times,
        quarantine=Quarantine(core.db, core.names, core.clock, core.server_name),
        upkeep=Upkeep(core.db, core.names, core.clock, store, incoming, settings),
    )


def build_remote(core: Core, contents: Contents) -> RemoteMedia:
    """What gets other servers' media."""
    if not core.settings.federation.enabled:
        return NoRemoteMedia()
    fetch = MediaFetch(core.links.client, core.links.connections)
    return RemoteFiles(core.db, core.clock, contents, fetch, core.settings.media)


def build_store(settings: Settings) -> Store:
    """Where files are kept, as configured."""
    return DirectoryStore(settings.media.directory / "content")
