"""What nobody uses any more goes, what is used stays, and the disk agrees with the database."""

import os
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from federation.protocol.identifiers import UserId
from homeserver.app import running
from homeserver.media.store import new_key
from homeserver.media.upkeep import DAY_MS
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    THUMBNAIL,
    create,
    download,
    fetch,
    kept_files,
    media_directory,
    path_of,
    upload,
)


async def test_a_content_stays_while_anything_refers_to_it(homes: Homes) -> None:
    alice, upkeep = await homes.user(), homes.services.media.upkeep
    first, second = await upload(alice, b"same"), await upload(alice, b"same")
    quarantine = homes.services.media.quarantine
    assert await upkeep.delete_named(*quarantine.name_of(first))
    assert await upkeep.delete_files(grace_ms=-1) == 0
    assert (await download(alice, second)).body == b"same"
    assert await upkeep.delete_named(*quarantine.name_of(second))
    assert not await upkeep.delete_named(*quarantine.name_of(second))
    assert await upkeep.delete_files() == 0, "somebody may be about to name it"
    assert await upkeep.delete_files(grace_ms=-1) == 1
    assert not kept_files(homes)


async def test_thumbnails_go_with_their_picture(homes: Homes) -> None:
    alice, upkeep = await homes.user(), homes.services.media.upkeep
    large, small = pictures.png(600, 600), pictures.png(20, 20)
    for data in (large, small):
        uri = await upload(alice, data)
        path = f"{THUMBNAIL}{path_of(uri)}"
        assert (await fetch(alice, "GET", path, width=96, height=96)).status == 200
    assert len(kept_files(homes)) == 3
    assert await upkeep.delete_of_user(UserId(alice.user_id)) == 2
    await upkeep.delete_files(grace_ms=-1)
    await upkeep.delete_files(grace_ms=-1)
    assert not kept_files(homes)


@pytest.mark.parametrize("ours", [True, False])
async def test_what_nobody_asks_for_is_forgotten(
    database_url: str, tmp_path: Path, ours: bool
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    rules = replace(settings.media, local_unused_days=5 * ours, remote_unused_days=5 * (not ours))
    settings = replace(settings, media=rules)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice, media = await homes.user(), homes.services.media
        unused, used, protected = [await upload(alice, name.encode()) for name in "abc"]
        if not ours:
            await homes.services.db.execute("UPDATE media SET origin = 'far.test', user_nid = NULL")
            unused, used, protected = [
                uri.replace("//test/", "//far.test/") for uri in (unused, used, protected)
            ]
        await media.quarantine.protect(protected, is_protected=True)
        await homes.services.db.execute(
            "UPDATE media SET last_access_ts = last_access_ts - $1", 6 * DAY_MS
        )
        assert (await download(alice, used)).body == b"b"
        await media.access_times.write()
        await media.upkeep.delete_unused()
        (await download(alice, unused)).refused(404, "M_NOT_FOUND")
        assert (await download(alice, used)).body == b"b"
        assert (await download(alice, protected)).body == b"c"


async def test_other_servers_files_take_no_more_than_they_may(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(settings, media=replace(settings.media, remote_cache_mb=1))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice = await homes.user()
        uris = [await upload(alice, bytes([n]) * 400_000) for n in range(4)]
        kept = await upload(alice, b"mine" * 200_000)
        for age, uri in enumerate(reversed(uris)):
            await homes.services.db.execute(
                "UPDATE media SET origin = 'far.test', last_access_ts = last_access_ts - $2"
                " WHERE media_id = $1",
                uri.rpartition("/")[2],
                age * 1000,
            )
        await homes.services.media.upkeep.delete_unused()
        far = [uri.replace("//test/", "//far.test/") for uri in uris]
        assert [(await download(alice, uri)).status for uri in far] == [404, 404, 200, 200]
        assert (await download(alice, kept)).status == 200


async def test_reservations_that_expired_are_forgotten(homes: Homes) -> None:
    alice, db = await homes.user(), homes.services.db
    await create(alice)
    await homes.services.media.upkeep.delete_unused()
    assert await db.fetchval("SELECT count(*) FROM media") == 1
    await db.execute("UPDATE media SET expires_ts = 1")
    await homes.services.media.upkeep.delete_unused()
    assert await db.fetchval("SELECT count(*) FROM media") == 0


async def test_files_that_a_crash_has_left_are_swept_away(homes: Homes) -> None:
    alice, upkeep = await homes.user(), homes.services.media.upkeep
    uri = await upload(alice, b"used")
    directory = media_directory(homes)
    stray = directory / "content" / "ab" / new_key(b"\xab" * 32)
    fresh = directory / "content" / "cd" / new_key(b"\xcd" * 32)
    partial = directory / "incoming" / "tmpabc"
    for path in (stray, fresh, partial):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    for path in (stray, partial, *kept_files(homes)):
        if path != fresh:
            os.utime(path, (1, 1))
    found = await upkeep.compare(lambda _count: None)
    assert sorted(found.stray) == sorted([stray.name, fresh.name])
    assert not found.missing
    assert await upkeep.sweep() == ""
    assert not stray.exists()
    assert not partial.exists()
    assert fresh.exists(), "its row may be on the way"
    assert (await download(alice, uri)).body == b"used"


async def test_a_missing_file_is_found(homes: Homes) -> None:
    alice = await homes.user()
    await upload(alice, b"lost")
    (lost,) = kept_files(homes)
    lost.unlink()
    found = await homes.services.media.upkeep.compare(lambda _count: None)
    assert found.missing == [lost.name]


async def test_access_costs_a_write_at_most_once_an_hour(homes: Homes) -> None:
    alice, media = await homes.user(), homes.services.media
    uri = await upload(alice, b"x")
    await download(alice, uri)
    assert not media.access_times._noted
    await homes.services.db.execute("UPDATE media SET last_access_ts = 5")
    await download(alice, uri)
    assert len(media.access_times._noted) == 1
    await media.access_times.write()
    assert await homes.services.db.fetchval("SELECT last_access_ts FROM media") > 5
