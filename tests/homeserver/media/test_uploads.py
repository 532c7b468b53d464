"""Uploading: at once and to reserved IDs; what is kept, and what is refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from homeserver.app import running
from homeserver.config.sections.media import UploadLimit
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.homeserver.media.files import (
    CREATE,
    UPLOAD,
    arriving_files,
    create,
    download,
    fetch,
    kept_files,
    path_of,
    upload,
)
from tests.patience import LONG_POLL_MS

MEBIBYTE = 1_048_576


async def chunks_of(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_what_is_uploaded_comes_back(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"hello", "image/png")
    got = await download(alice, uri)
    assert (got.status, got.body) == (200, b"hello")
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Length"] == "5"
    assert uri.startswith("mxc://test/")


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 3_000_001])
async def test_any_size_comes_back_whole(homes: Homes, size: int) -> None:
    alice = await homes.user()
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    assert (await download(alice, await upload(alice, data))).body == data
    # Without Content-Length, in chunks.
    assert (await download(alice, await upload(alice, chunks_of(data)))).body == data


async def test_the_same_content_is_kept_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    first, second = await upload(alice, b"same" * 1000), await upload(bob, b"same" * 1000, "a/b")
    assert first != second
    (kept,) = kept_files(homes)
    assert kept.name.startswith(hashlib.sha256(b"same" * 1000).hexdigest())
    assert (await download(bob, first)).headers["Content-Type"] == "image/png"
    assert (await download(bob, second)).headers["Content-Type"] == "a/b"


async def test_a_file_that_was_lost_is_put_again(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"lost")
    kept_files(homes)[0].unlink()
    assert (await download(alice, uri)).refused(500, "M_UNKNOWN")
    await upload(alice, b"lost")
    assert (await download(alice, uri)).body == b"lost"


async def test_what_is_too_large_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    most = homes.services.media.uploads.max_bytes
    got = await fetch(alice, "GET", "/_matrix/client/v1/media/config")
    assert got.json() == {"m.upload.size": most}
    got = await fetch(
        alice, "POST", UPLOAD, headers={"Content-Length": str(most + 1)}, data=endless()
    )
    got.refused(413, "M_TOO_LARGE")
    assert not arriving_files(homes)


async def test_what_turns_out_to_be_too_large_leaves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(settings, media=replace(settings.media, max_upload_mb=1))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice = await homes.user()
        got = await fetch(alice, "POST", UPLOAD, chunks_of(b"x" * (MEBIBYTE + 1)))
        got.refused(413, "M_TOO_LARGE")
        assert not arriving_files(homes)
        assert not kept_files(homes)
        assert len((await download(alice, await upload(alice, b"x" * MEBIBYTE))).body) == MEBIBYTE


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536


async def test_an_upload_that_is_broken_off_leaves_nothing(homes: Homes) -> None:
    alice = await homes.user()
    reader, writer = await asyncio.open_connection("127.0.0.1", homes.server.port)
    writer.write(
        f"POST {UPLOAD} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {alice.token}\r\n"
        "Content-Length: 5000000\r\n\r\n".encode()
    )
    writer.write(b"x" * 1_000_000)
    await writer.drain()
    while not arriving_files(homes):
        await asyncio.sleep(0.01)
    writer.close()
    while arriving_files(homes):
        await asyncio.sleep(0.01)
    assert not kept_files(homes)
    assert await reader.read() == b""


async def test_only_users_upload(homes: Homes) -> None:
    (await fetch(homes.nobody(), "POST", UPLOAD, b"x")).refused(401, "M_MISSING_TOKEN")
    guest = homes.nobody()
    body = (await guest.post("v3/register", {}, kind="guest")).ok()
    homes.log_in(guest, body)
    (await fetch(guest, "POST", UPLOAD, b"x")).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    uri = await upload(await homes.user(), b"for all")
    assert (await download(guest, uri)).body == b"for all"


@pytest.mark.parametrize("sent", [None, "", "nonsense", "text/plain\x01", "a/" + "b" * 300])
async def test_a_type_that_is_none_becomes_a_stream_of_bytes(
    homes: Homes, sent: str | None
) -> None:
    if sent and "\x01" in sent:
        sent = sent.replace("\x01", "\t;\xff")
    alice = await homes.user()
    got = await download(alice, await upload(alice, b"x", sent))
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == "attachment"


async def test_a_reserved_id_takes_one_upload(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    got = await fetch(alice, "POST", CREATE)
    uri, expires_at = got.json()["content_uri"], got.json()["unused_expires_at"]
    assert expires_at > homes.services.clock()
    (await download(alice, uri, timeout_ms=0)).refused(504, "M_NOT_YET_UPLOADED")
    path = f"{UPLOAD}{path_of(uri)}"
    (await fetch(bob, "PUT", path, b"mine")).refused(403, "M_FORBIDDEN")
    got = await fetch(alice, "PUT", path, b"late", {"Content-Type": "text/plain"}, filename="a.txt")
    assert (got.status, got.json()) == (200, {})
    (await fetch(alice, "PUT", path, b"again")).refused(409, "M_CANNOT_OVERWRITE_MEDIA")
    got = await download(bob, uri)
    assert (got.body, got.headers["Content-Type"]) == (b"late", "text/plain")
    assert got.headers["Content-Disposition"] == "inline; filename=a.txt"


async def test_nobody_uploads_to_an_id_that_was_not_reserved(homes: Homes) -> None:
    alice = await homes.user()
    for uri in ("mxc://test/unknown", "mxc://elsewhere/unknown"):
        (await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"x")).refused(404, "M_NOT_FOUND")


async def test_a_download_waits_for_the_upload(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    uri = await create(alice)
    waiting = asyncio.create_task(download(bob, uri, timeout_ms=LONG_POLL_MS))
    while not homes.services.media.library._awaited._waiting:
        await asyncio.sleep(0.01)
    await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"at last")
    assert (await waiting).body == b"at last"


async def test_a_download_waits_for_an_upload_to_another_process(
    homes: Homes, tmp_path: Path
) -> None:
    settings = homes.services.settings
    async with running(settings) as second, aiohttp.ClientSession() as session:
        others = Homes(second, session)
        alice = await homes.user()
        there = Client(session, others.base_url)
        there.token = alice.token
        uri = await create(alice)
        waiting = asyncio.create_task(download(there, uri, timeout_ms=LONG_POLL_MS))
        while not others.services.media.library._awaited._waiting:
            await asyncio.sleep(0.01)
        await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"over there")
        assert (await waiting).body == b"over there"


async def test_an_expired_reservation_is_no_more(database_url: str, tmp_path: Path) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice = await homes.user()
        uri = await create(alice)
        await homes.services.db.execute("UPDATE media SET expires_ts = 1")
        (await download(alice, uri)).refused(404, "M_NOT_FOUND")
        (await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"x")).refused(404, "M_NOT_FOUND")


async def test_a_user_reserves_so_many_ids_and_no_more(database_url: str, tmp_path: Path) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(settings, media=replace(settings.media, max_reserved=2))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice, bob = await homes.user(), await homes.user()
        uri = await create(alice)
        await create(alice)
        body = (await fetch(alice, "POST", CREATE)).refused(429, "M_LIMIT_EXCEEDED")
        assert body["retry_after_ms"] > 0
        await create(bob)
        await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"x")
        await create(alice)


async def test_a_quota_holds_for_uploads_that_come_together(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    limits = (UploadLimit(max_mb=3), UploadLimit(max_mb=2, period_s=3600))
    settings = replace(settings, media=replace(settings.media, upload_limits=limits))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice, bob = await homes.user(), await homes.user()
        files = [bytes([number]) * (MEBIBYTE - 1) for number in range(4)]
        answers = await asyncio.gather(
            *(fetch(alice, "POST", UPLOAD, chunks_of(file)) for file in files)
        )
        assert sorted(answer.status for answer in answers) == [200, 200, 403, 403]
        refused = next(answer for answer in answers if answer.status == 403)
        body = refused.refused(403, "M_USER_LIMIT_EXCEEDED")
        assert body["info_uri"] == "http://localhost"
        await upload(bob, files[0])
        # An hour later there is room again, but not for ever.
        await homes.services.db.execute("UPDATE media SET created_ts = created_ts - 3600000")
        await upload(alice, files[0])
        (await fetch(alice, "POST", UPLOAD, files[1])).refused(403, "M_USER_LIMIT_EXCEEDED")
