"""Hostile files over HTTP: given out so that no browser runs them, and never the server's end."""

import pytest

from tests.homeserver.conftest import Homes
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    DOWNLOAD,
    LEGACY_DOWNLOAD,
    THUMBNAIL,
    fetch,
    path_of,
    upload,
)

SCRIPT = b"<script>alert(document.domain)</script>"
FILES = {
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>", "image/svg+xml"),
    "svg as png": (b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>", "image/png"),
    "html as png": (b"<html>" + SCRIPT, "image/png"),
    "html": (b"<html>" + SCRIPT, "text/html"),
    "gif and script": (b"GIF89a/*" + bytes(40) + b"*/=1;alert(1)", "image/gif"),
    "pdf, jpeg and html": (b"\xff\xd8\xff\xfe\x00\x20%PDF-1.4 <html>" + SCRIPT, "image/jpeg"),
    "script": (b"alert(1)", "application/javascript"),
}
BOMBS = {
    "900 megapixels": pictures.png_of(30_000, 30_000, bytes(1000)),
    "16 bits interlaced": pictures.png_of(
        6_900, 6_900, bytes(1000), depth=16, colour_type=6, interlaced=1
    ),
    "truncated": pictures.gif(400, 300, 1)[:30],
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("path", [DOWNLOAD, LEGACY_DOWNLOAD])
async def test_no_browser_runs_what_it_is_given(homes: Homes, kind: str, path: str) -> None:
    alice = await homes.user()
    data, content_type = FILES[kind]
    uri = await upload(alice, data, content_type)
    if path == LEGACY_DOWNLOAD:
        # Where the freeze is off, anybody gets it.
        await homes.services.db.execute("UPDATE media SET needs_token = false")
    got = await fetch(alice, "GET", f"{path}{path_of(uri)}")
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, data, content_type)
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    # What is shown inline has the type of a picture, and is shown as one or not at all.
    is_inline = got.headers["Content-Disposition"].startswith("inline")
    assert is_inline == (content_type in {"image/png", "image/gif", "image/jpeg"})


@pytest.mark.parametrize("kind", FILES)
async def test_there_is_no_thumbnail_of_what_is_no_picture(homes: Homes, kind: str) -> None:
    alice = await homes.user()
    uri = await upload(alice, *FILES[kind])
    got = await fetch(alice, "GET", f"{THUMBNAIL}{path_of(uri)}", width=32, height=32)
    assert (got.status, got.json()["errcode"]) == (400, "M_UNKNOWN")


@pytest.mark.parametrize("kind", BOMBS)
async def test_what_cannot_be_decoded_is_refused_and_the_next_picture_is_not(
    homes: Homes, kind: str
) -> None:
    alice = await homes.user()
    uri = await upload(alice, BOMBS[kind], "image/png")
    got = await fetch(alice, "GET", f"{THUMBNAIL}{path_of(uri)}", width=32, height=32)
    assert (got.status, got.json()["errcode"]) in {(400, "M_UNKNOWN"), (413, "M_TOO_LARGE")}
    good = await upload(alice, pictures.png(100, 100), "image/png")
    got = await fetch(alice, "GET", f"{THUMBNAIL}{path_of(good)}", width=32, height=32)
    assert (got.status, got.headers["Content-Type"]) == (200, "image/png")
