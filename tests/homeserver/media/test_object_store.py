"""The store in a bucket, against a server that speaks S3 (moto's).

`MOTO_SERVER` names its program; without it the tests are left out.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from homeserver.app import running
from homeserver.config.sections.media import S3
from homeserver.media.store import new_key
from tests.homeserver.conftest import Homes, settings_for_tests
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    THUMBNAIL,
    arriving_files,
    download,
    fetch,
    kept_files,
    path_of,
    upload,
)
from tests.ports import free_port

PROGRAM = os.environ.get("MOTO_SERVER", "")
LARGE = bytes(range(256)) * 100_000

pytestmark = pytest.mark.skipif(not PROGRAM, reason="MOTO_SERVER does not name moto's server")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bucket() -> AsyncIterator[S3]:
    """A bucket at a server of its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.put(f"{endpoint}/media") as response:
                        assert response.status == 200
                        break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
        yield S3("media", "hearth/", endpoint, "us-east-1", "somebody", "a secret")
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture
async def homes(database_url: str, tmp_path: Path, bucket: S3) -> AsyncIterator[Homes]:
    settings = settings_for_tests(database_url, tmp_path)
    s3 = replace(bucket, prefix=f"{tmp_path.name}/")
    settings = replace(settings, media=replace(settings.media, s3=s3))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=len)
async def test_what_is_uploaded_comes_back(homes: Homes, data: bytes) -> None:
    alice = await homes.user()
    uri = await upload(alice, data)
    assert (await download(alice, uri)).body == data
    assert not arriving_files(homes)
    assert not kept_files(homes)


async def test_parts_and_thumbnails(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, LARGE)
    part = await download(alice, uri, headers={"Range": "bytes=5000000-5000009"})
    assert part.body == LARGE[5_000_000:5_000_010]
    uri = await upload(alice, pictures.png(500, 500))
    path = f"{THUMBNAIL}{path_of(uri)}"
    assert (await fetch(alice, "GET", path, width=32, height=32)).status == 200
    assert not arriving_files(homes)


async def test_what_is_deleted_is_gone_and_strays_are_found(homes: Homes) -> None:
    alice, media = await homes.user(), homes.services.media
    first, second = await upload(alice, b"1"), await upload(alice, b"2")
    stray = new_key(b"\xab" * 32)
    file = homes.services.settings.media.directory / "stray"
    file.write_bytes(b"x")
    await media.upkeep._store.put(file, stray)
    assert (await media.upkeep.compare(lambda _count: None)).stray == [stray]
    assert await media.upkeep.sweep() == "", "it is too young to go"
    await media.upkeep.delete_named(*media.quarantine.name_of(first))
    assert await media.upkeep.delete_files(grace_ms=-1) == 1
    assert (await media.upkeep.compare(lambda _count: None)).missing == []
    assert (await download(alice, second)).body == b"2"


async def test_a_lost_object_is_an_error_and_put_again(homes: Homes) -> None:
    alice, media = await homes.user(), homes.services.media
    uri = await upload(alice, b"lost")
    key = await homes.services.db.fetchval("SELECT store_key FROM media_contents")
    await media.upkeep._store.delete([key, key])
    (await download(alice, uri)).refused(500, "M_UNKNOWN")
    assert (await media.upkeep.compare(lambda _count: None)).missing == [key]
    await upload(alice, b"lost")
    assert (await download(alice, uri)).body == b"lost"
