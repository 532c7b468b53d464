"""Files that users send."""

from dataclasses import dataclass, field
from pathlib import Path

from homeserver.config.sections.ranges import Count, Port, Positive


@dataclass(frozen=True, slots=True)
class UploadLimit:
    """How much a user may upload."""

    max_mb: Positive = 1_024
    """How much in all, in MiB."""
    period_s: Count = 0
    """Within how many seconds; 0 is what the user has here altogether."""


@dataclass(frozen=True, slots=True)
class S3:
    """A bucket that speaks S3, instead of the directory."""

    bucket: str = ""
    """Its name. Empty: files are kept in the directory."""
    prefix: str = ""
    """What the names of all objects begin with, for instance "media/"."""
    endpoint: str = ""
    """The URL of a server that is not Amazon's, for instance "https://s3.example.org"."""
    region: str = ""
    """The region, where the server wants one."""
    access_key_id: str = ""
    """Who we are there. Empty: what the environment says, as for other S3 programs."""
    secret_access_key: str = ""
    """How we prove it."""
    bucket_in_host_name: bool = False
    """Whether the bucket is a part of the host name, instead of the path."""


@dataclass(frozen=True, slots=True)
class Media:
    """Files that users send."""

    directory: Path = Path("media")
    """Where they are kept. Relative to `server.data_dir`. What is arriving is there too if they
    are kept in a bucket."""
    s3: S3 = field(default_factory=S3)
    """Keep them in a bucket."""
    max_upload_mb: Positive = 50
    """The largest file that may be uploaded, in MiB."""
    max_remote_mb: Positive = 100
    """The largest file that is fetched from another server, in MiB."""
    remote_unused_days: Count = 30
    """Forget files of other servers that nobody has asked for in so many days; they are fetched
    again when somebody does. 0 keeps them for ever."""
    remote_cache_mb: Count = 0
    """How much other servers' files may take in all, in MiB: those that were asked for longest ago
    make room. 0 is no limit."""
    local_unused_days: Count = 0
    """Delete files of this server's users that nobody has asked for in so many days; nobody gets
    them back. 0 keeps them for ever."""
    freeze_unauthenticated: bool = True
    """Give what is uploaded or fetched from now on to nobody without an access token, as the
    specification recommends. Older files stay reachable by the old endpoints."""
    max_reserved: Positive = 50
    """How many files one user may announce that have not been uploaded yet."""
    reservation_lifetime_s: Positive = 86_400
    """How long such an announcement is good."""
    upload_limits: tuple[UploadLimit, ...] = ()
    """How much one user may upload: `max_mb` within `period_s` seconds, or in all without a
    period."""
    upload_limit_info_url: str = ""
    """A page that tells users who have reached a limit more. Empty: `server.public_baseurl`."""
    max_megapixels: Positive = 50
    """Of a picture that a thumbnail is made of."""
    thumbnail_memory_mb: Positive = 192
    """What decoding one picture may take. More, and there is no thumbnail of it."""
    thumbnail_timeout_s: Positive = 30
    """How long it may take."""
    thumbnails_at_a_time: Positive = 2
    """How many are made side by side; up to 64 more wait."""


@dataclass(frozen=True, slots=True)
class UrlPreviews:
    """Showing what messages link to.

    The server fetches it for its users, so that pages do not learn who reads of them. It reaches
    no network of `outgoing.deny_ip_ranges`.
    """

    enabled: bool = False
    """Fetch pages that users' clients ask for."""
    allowed_urls: tuple[str, ...] = ()
    """The only URLs to fetch, with `*` for any characters; empty: all. Example:
    `https://*.example.org/*`."""
    denied_urls: tuple[str, ...] = ()
    """URLs that are never fetched, nor redirected to."""
    ports: tuple[Port, ...] = (80, 443)
    """Ports that may be connected to; empty: all."""
    accept_language: str = "en;q=0.9, *;q=0.5"
    """The languages that pages are asked for, as HTTP has them."""
    oembed: bool = True
    """Ask the oEmbed services of video and other sites, which say more than their pages do."""
    timeout_s: Positive = 20
    """How long a preview may take to come about."""
    max_page_kb: Positive = 1_024
    """How much of a page is read, in KiB."""
    max_image_mb: Positive = 10
    """The largest picture that is kept for a preview, in MiB."""
    lifetime_s: Positive = 86_400
    """How long a preview is shown before its page is fetched anew. Two days later it is deleted
    with its picture."""
