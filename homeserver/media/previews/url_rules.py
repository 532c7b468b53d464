"""Which URLs may be fetched. Addresses are the connection's business (`AddressGuard`)."""

from yarl import URL

from federation.protocol.errors import InvalidParam
from federation.protocol.glob import GlobSet
from homeserver.config.sections.media import UrlPreviews
from homeserver.media.previews.errors import UrlNotAllowed

SCHEMES = frozenset({"http", "https"})
MAX_LENGTH = 2048


class UrlRules:
    """The rules that the operator sets, and those that always hold."""

    __slots__ = ("_allowed", "_denied", "_has_allowed", "_ports")

    def __init__(self, settings: UrlPreviews) -> None:
        self._allowed = GlobSet(settings.allowed_urls, question_mark=False)
        self._has_allowed = bool(settings.allowed_urls)
        self._denied = GlobSet(settings.denied_urls, question_mark=False)
        self._ports = frozenset(settings.ports)

    def read(self, text: str) -> URL:
        """The URL that a client asks for. Raises `InvalidParam`, `UrlNotAllowed`."""
        url = parse_url(text)
        if url is None:
            raise InvalidParam("'url' must be an absolute URL of HTTP or HTTPS")
        self.check(url)
        return url

    def check(self, url: URL) -> None:
        """Raises `UrlNotAllowed`. Whatever is fetched is checked: redirects and pictures too."""
        text = str(url)
        is_plain = url.scheme in SCHEMES and url.host and not url.user and not url.password
        if not is_plain or (self._ports and url.port not in self._ports):
            raise UrlNotAllowed
        if self._denied.matches(text) or (self._has_allowed and not self._allowed.matches(text)):
            raise UrlNotAllowed


def parse_url(text: str, base: URL | None = None) -> URL | None:
    """The absolute URL of HTTP that a text means, without fragment; None if it means none."""
    try:
        url = URL(text.strip())
        if base is not None:
            url = base.join(url)
        is_http = url.absolute and url.scheme in SCHEMES and bool(url.host) and url.port is not None
    except ValueError:
        return None
    plain = url.with_fragment(None)
    return plain if is_http and len(str(plain)) <= MAX_LENGTH else None
