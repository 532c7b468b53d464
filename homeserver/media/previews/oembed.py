"""oEmbed: what sites tell of a page in JSON, at a place of its own.

A page may say where; of some large sites it is known, whose pages say little to who is no browser.
Source: oEmbed, oembed.com.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from yarl import URL

from federation.protocol.glob import GlobSet
from homeserver.media.previews.open_graph import Preview

MAX_BYTES = 262_144
MAX_VALUE = 2000


@dataclass(frozen=True, slots=True)
class Provider:
    """A site and its service."""

    service: str
    pages: GlobSet


PROVIDERS = tuple(
    Provider(service, GlobSet(pages, question_mark=False))
    for service, pages in (
        (
            "https://publish.twitter.com/oembed",
            [
                f"https://{host}/*/{kind}/*"
                for host in ("twitter.com", "*.twitter.com", "x.com", "*.x.com")
                for kind in ("status", "moments")
            ],
        ),
        (
            "https://www.youtube.com/oembed",
            [
                "https://*.youtube.com/watch*",
                "https://*.youtube.com/shorts/*",
                "https://youtube.com/shorts/*",
                "https://youtu.be/*",
            ],
        ),
        ("https://vimeo.com/api/oembed.json", ["https://vimeo.com/*"]),
        ("https://soundcloud.com/oembed", ["https://soundcloud.com/*"]),
        ("https://www.tiktok.com/oembed", ["https://www.tiktok.com/*/video/*"]),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a service told; `html` may be all that there is to read."""

    preview: Preview
    html: str | None


def service_of(url: URL) -> URL | None:
    """Where a known site tells of the page, or None."""
    text = str(url)
    for provider in PROVIDERS:
        if provider.pages.matches(text):
            return URL(provider.service).with_query(url=text, format="json")
    return None


def read_oembed(body: bytes) -> Embedded | None:
    """What an answer tells; None if it is none of oEmbed 1.0."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or str(told.get("version")) not in {"1.0", "1"}:
        return None
    kind = text_of(told, "type")
    fields = {
        "og:title": text_of(told, "title") or text_of(told, "author_name"),
        "og:site_name": text_of(told, "provider_name"),
        "og:author": text_of(told, "author_name"),
        "og:type": "video.other" if kind == "video" else None,
    }
    photo = text_of(told, "url") if kind == "photo" else None
    preview = Preview(
        {name: value for name, value in fields.items() if value is not None},
        photo or text_of(told, "thumbnail_url"),
    )
    html = told.get("html")
    return Embedded(preview, html if kind == "rich" and isinstance(html, str) else None)


def text_of(told: dict[str, Any], name: str) -> str | None:
    """A value that is text."""
    value = told.get(name)
    return value.strip()[:MAX_VALUE] or None if isinstance(value, str) else None
