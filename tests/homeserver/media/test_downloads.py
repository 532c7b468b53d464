"""Downloading: headers, names, ranges, conditions, and who may."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from homeserver.app import running
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.homeserver.media.files import (
    DOWNLOAD,
    LEGACY_DOWNLOAD,
    download,
    fetch,
    path_of,
    upload,
)

DATA = bytes(range(256)) * 2000


async def test_headers_keep_content_from_doing_harm(homes: Homes) -> None:
    alice = await homes.user()
    headers = (await download(alice, await upload(alice, b"x"))).headers
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, max-age=86400, immutable"
    assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("content_type", "name", "expected"),
    [
        ("image/png", "", "inline"),
        ("Text/Plain; charset=utf-8", "", "inline"),
        ("text/html", "", "attachment"),
        ("image/svg+xml", "", "attachment"),
        ("application/pdf", "a.pdf", "attachment; filename=a.pdf"),
        ("image/png", "name with spaces", 'inline; filename="name with spaces"'),
        ("image/png", 'a";b\\', 'inline; filename="a\\";b\\\\"'),
        ("image/png", "🐔", "inline; filename*=utf-8''%F0%9F%90%94"),
        ("image/png", "a\r\nSet-Cookie: b", 'inline; filename="aSet-Cookie: b"'),
    ],
)
async def test_only_what_is_safe_is_shown_inline(
    homes: Homes, content_type: str, name: str, expected: str
) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"x", content_type, filename=name)
    got = await download(alice, uri)
    assert got.headers["Content-Disposition"] == expected
    assert got.headers["Content-Type"] == content_type


async def test_the_name_in_the_path_goes_before_the_uploaded_one(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"x", filename="first.png")
    got = await download(alice, uri, "☕")
    assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''%E2%98%95"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, len(DATA)),
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=300000-400000", 300_000, 400_001),
        ("bytes=511999-", len(DATA) - 1, len(DATA)),
        ("bytes=10-99999999", 10, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=-99999999", 0, len(DATA)),
    ],
)
async def test_a_part_is_given(homes: Homes, asked: str, start: int, end: int) -> None:
    alice = await homes.user()
    uri = await upload(alice, DATA)
    got = await download(alice, uri, headers={"Range": asked})
    assert got.status == 206
    assert got.body == DATA[start:end]
    assert got.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=512000-", "bytes=-0", "bytes=999999-1999999"])
async def test_a_part_beyond_the_end_is_refused(homes: Homes, asked: str) -> None:
    alice = await homes.user()
    got = await download(alice, await upload(alice, DATA), headers={"Range": asked})
    assert (got.status, got.body) == (416, b"")
    assert got.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-2", "bytes=-", "x"])
async def test_what_is_no_range_of_ours_gets_the_whole(homes: Homes, asked: str) -> None:
    alice = await homes.user()
    got = await download(alice, await upload(alice, DATA), headers={"Range": asked})
    assert (got.status, got.body) == (200, DATA)


async def test_conditions_are_respected(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, DATA)
    etag = (await download(alice, uri)).headers["ETag"]

    async def status(**headers: str) -> int:
        given: Mapping[str, str] = {k.replace("_", "-"): v for k, v in headers.items()}
        return (await download(alice, uri, headers=given)).status

    assert await status(If_None_Match=etag) == 304
    assert await status(If_None_Match=f'"other", W/{etag}') == 304
    assert await status(If_None_Match='"other"') == 200
    assert await status(If_Range=etag, Range="bytes=0-9") == 206
    assert await status(If_Range='"other"', Range="bytes=0-9") == 200


async def test_head_tells_without_giving(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, DATA)
    got = await fetch(alice, "HEAD", f"{DOWNLOAD}{path_of(uri)}")
    assert (got.status, got.body) == (200, b"")
    assert got.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize(
    "path", ["/test/..%2F..%2Fetc", "/te%20st/abc", "/test/" + "a" * 300, "/test/nothing", "/x/y"]
)
async def test_what_is_no_name_of_media_is_not_found(homes: Homes, path: str) -> None:
    alice = await homes.user()
    async with alice._session.get(
        URL(f"{homes.base_url}{DOWNLOAD}{path}", encoded=True),
        headers={"Authorization": f"Bearer {alice.token}"},
    ) as response:
        assert response.status == 404
        assert (await response.json())["errcode"] == "M_NOT_FOUND"


async def test_downloads_need_a_token(homes: Homes) -> None:
    uri = await upload(await homes.user(), b"x")
    (await download(homes.nobody(), uri)).refused(401, "M_MISSING_TOKEN")


async def test_the_freeze_keeps_what_is_newer_from_those_without_a_token(
    database_url: str, tmp_path: Path
) -> None:
    frozen = settings_for_tests(database_url, tmp_path)
    open_to_all = replace(frozen, media=replace(frozen.media, freeze_unauthenticated=False))
    async with running(open_to_all) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice = await homes.user()
        old = await upload(alice, b"old")
        got = await fetch(homes.nobody(), "GET", f"{LEGACY_DOWNLOAD}{path_of(old)}")
        assert (got.status, got.body) == (200, b"old")
    async with running(frozen) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        bob = await homes.user("bob")
        new = await upload(bob, b"new")
        for version in ("v1", "r0", "v3"):
            path = f"/_matrix/media/{version}/download"
            got = await fetch(homes.nobody(), "GET", f"{path}{path_of(old)}")
            assert (got.status, got.body) == (200, b"old")
            got = await fetch(homes.nobody(), "GET", f"{path}{path_of(new)}")
            got.refused(404, "M_NOT_FOUND")
