"""Media: uploads, downloads, thumbnails, and where they are kept."""

from federation.outbound.media import MediaFetch
from homeserver.building.core import Core
from homeserver.config.sections.media import Media
from homeserver.media.access_times import AccessTimes
from homeserver.media.awaited_uploads import AwaitedUploads
from homeserver.media.contents import Contents
from homeserver.media.directory_store import DirectoryStore
from homeserver.media.incoming import Incoming
from homeserver.media.library import Library, NoRemoteMedia, RemoteMedia
from homeserver.media.previews.fetching import Fetcher
from homeserver.media.previews.page_reader import build_page_reader
from homeserver.media.previews.preview_images import PreviewImages
from homeserver.media.previews.url_previews import UrlPreviews
from homeserver.media.previews.url_rules import UrlRules
from homeserver.media.quarantine import Quarantine
from homeserver.media.quotas import Quotas
from homeserver.media.remote import RemoteFiles
from homeserver.media.repository import MediaRepository
from homeserver.media.store import Store
from homeserver.media.thumbnail_cache import Thumbnails
from homeserver.media.thumbnails import Thumbnailer, build_thumbnailer
from homeserver.media.upkeep import Upkeep
from homeserver.media.uploads import Uploads

UPLOADED = "uploaded"


def build_media(core: Core) -> MediaRepository:
    """The content repository."""
    settings = core.settings.media
    incoming = Incoming(settings.directory / "incoming")
    store = build_store(settings, incoming)
    contents = Contents(core.db, core.clock, store, incoming)
    awaited = AwaitedUploads(core.announcer(UPLOADED))
    core.hear(UPLOADED, awaited.hear, awaited.look_again)
    access_times = AccessTimes(core.db, core.clock)
    quotas = Quotas(core.db, core.clock, settings, core.settings.server.public_baseurl)
    uploads = Uploads(core.db, core.clock, contents, awaited, quotas, settings, core.server_name)
    thumbnailer = build_thumbnailer(settings)
    return MediaRepository(
        contents=contents,
        uploads=uploads,
        library=Library(
            core.db,
            core.clock,
            awaited,
            access_times,
            build_remote(core, contents),
            core.server_name,
        ),
        thumbnails=Thumbnails(
            core.db, core.clock, contents, thumbnailer, settings.thumbnails_at_a_time
        ),
        access_times=access_times,
        quarantine=Quarantine(core.db, core.names, core.clock, core.server_name),
        upkeep=Upkeep(core.db, core.names, core.clock, store, incoming, settings),
        previews=build_previews(core, contents, uploads, thumbnailer),
    )


def build_remote(core: Core, contents: Contents) -> RemoteMedia:
    """What gets other servers' media."""
    if not core.settings.federation.enabled:
        return NoRemoteMedia()
    fetch = MediaFetch(core.links.client, core.links.connections)
    return RemoteFiles(core.db, core.clock, contents, fetch, core.settings.media)


def build_previews(
    core: Core, contents: Contents, uploads: Uploads, thumbnailer: Thumbnailer
) -> UrlPreviews:
    """Previews of URLs, as configured."""
    settings = core.settings.url_previews
    fetcher = Fetcher(core.links.connections, UrlRules(settings), settings.accept_language)
    images = PreviewImages(fetcher, contents, uploads, thumbnailer, settings.max_image_mb)
    return UrlPreviews(core.db, core.clock, settings, fetcher, build_page_reader(), images)


def build_store(settings: Media, incoming: Incoming) -> Store:
    """Where files are kept, as configured."""
    if not settings.s3.bucket:
        return DirectoryStore(settings.directory / "content")
    # Loaded only where it is used: it takes several megabytes.
    from homeserver.media.object_store import ObjectStore, open_bucket

    return ObjectStore(open_bucket(settings.s3), incoming)
