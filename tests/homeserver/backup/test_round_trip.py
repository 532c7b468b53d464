"""What is restored is what was backed up."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import aiohttp
import asyncpg
import pytest

from homeserver.app import running
from homeserver.backup.contents import INDEX
from homeserver.backup.making import Backup, BackupFailed, Extent, Source
from homeserver.backup.restoring import RestoreRefused
from homeserver.backup.restoring import check_space as check_room
from homeserver.backup.target import check_space
from homeserver.building.media import build_store
from homeserver.cli.finding import Finding, State
from homeserver.cli.media_checks import check_media
from homeserver.clock import system_clock
from homeserver.config.sections.media import S3
from homeserver.config.settings import Settings
from homeserver.media.store import Store
from migrations.apply import apply_migrations, load_migrations
from storage.cluster import Cluster
from storage.database import connect
from storage.table_copies import sequences_of
from tests.homeserver.backup.saving import back_up, contents_of, elsewhere, incoming_of, restore
from tests.homeserver.conftest import Client, Homes, settings_for_tests

PICTURE = b"\x89PNG" + bytes(range(256)) * 4_000


async def upload(client: Client, content: bytes) -> str:
    answer = await client.request("POST", "/_matrix/media/v3/upload", raw=content)
    return str(answer.ok()["content_uri"])


async def download(homes: Homes, client: Client, uri: str) -> bytes:
    url = f"{homes.base_url}/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    headers = {"Authorization": f"Bearer {client.token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200
        return await answer.read()


def again(homes: Homes, client: Client) -> Client:
    """A client's session at a server that was restored."""
    other = homes.nobody()
    other.token, other.user_id, other.device_id = client.token, client.user_id, client.device_id
    other._transactions = client._transactions
    return other


async def texts_of(client: Client, room_id: str) -> list[str]:
    """All messages of a room, oldest first."""
    found: list[str] = []
    query: dict[str, Any] = {"dir": "b", "limit": 500}
    while True:
        page = (await client.get(f"v3/rooms/{room_id}/messages", **query)).ok()
        found += [
            one["content"]["body"] for one in page["chunk"] if one["type"] == "m.room.message"
        ]
        if "end" not in page:
            return found[::-1]
        query["from"] = page["end"]


async def test_a_server_is_restored_with_all_that_it_had(
    database_url: str, unmigrated_database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    path = tmp_path / "backup.tar"
    async with aiohttp.ClientSession() as session:
        async with running(settings) as server:
            alice = await Homes(server, session).user("alice")
            room_id = await alice.create_room(name="Tea")
            await alice.send(room_id, "kept")
            uri = await upload(alice, PICTURE)
            checked = await back_up(settings, path)
            await alice.send(room_id, "lost")
        assert checked.manifest.media_files == 1
        other = elsewhere(settings, tmp_path / "other", unmigrated_database_url)
        await restore(path, other)
        async with running(other) as server:
            homes = Homes(server, session)
            back = again(homes, alice)
            assert await texts_of(back, room_id) == ["kept"]
            assert await download(homes, back, uri) == PICTURE
            await back.send(room_id, "and on")
            assert await texts_of(back, room_id) == ["kept", "and on"]


async def test_every_row_comes_back_if_nothing_was_lost(
    database_url: str, unmigrated_database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice, bob = await homes.user("alice"), await homes.user("bob")
        room_id = await alice.create_room(invite=[bob.user_id])
        await bob.join(room_id)
        await alice.send(room_id, "what is left of it")
        (await bob.post("v3/search", SEARCH)).ok()
        await upload(alice, PICTURE)
    path = tmp_path / "backup.tar"
    await back_up(settings, path)
    other = elsewhere(settings, tmp_path / "other", unmigrated_database_url)
    await restore(path, other, nothing_lost=True)
    assert await contents_of(other.database.url) == await contents_of(database_url)
    assert await sequences_at(other.database.url) == await sequences_at(database_url)
    assert await shape_of(other.database.url) == await shape_of(database_url)


SEARCH = {"search_categories": {"room_events": {"search_term": "left"}}}


async def sequences_at(url: str) -> dict[str, int | None]:
    connection = await asyncpg.connect(url)
    try:
        return await sequences_of(connection)
    finally:
        await connection.close()


async def shape_of(url: str) -> list[tuple[str, ...]]:
    """Indexes and constraints, which are made anew when tables are filled."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL"
            " SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            "  WHERE connamespace = 'public'::regnamespace"
        )
        return sorted(map(tuple, rows))
    finally:
        await connection.close()


async def test_an_older_database_gets_the_shape_of_this_version(
    cluster: Cluster, unmigrated_database_url: str, database_url: str, tmp_path: Path
) -> None:
    """`database_url` is only a place: it is emptied first."""
    steps = load_migrations()
    connection = await connect(unmigrated_database_url)
    await apply_migrations(connection, steps[:19])
    await connection.execute("INSERT INTO users (user_id) VALUES ('@alice:test')")
    await connection.close()
    settings = settings_for_tests(unmigrated_database_url, tmp_path)
    path = tmp_path / "backup.tar"
    checked = await back_up(settings, path)
    assert len(checked.head.migrations) == 19
    other = elsewhere(settings, tmp_path / "other", database_url)
    await restore(path, other, overwrite=True)
    connection = await connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM migrations") == len(steps)
        assert await connection.fetchval("SELECT user_id FROM users") == "@alice:test"
    finally:
        await connection.close()


async def test_what_was_acknowledged_before_is_there_although_many_write(
    database_url: str, unmigrated_database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    path = tmp_path / "backup.tar"
    async with aiohttp.ClientSession() as session:
        async with running(settings) as server:
            homes = Homes(server, session)
            writers = [await homes.user(f"writer{number}") for number in range(4)]
            rooms = [await writer.create_room() for writer in writers]
            acknowledged: dict[str, list[str]] = {room_id: [] for room_id in rooms}
            is_over = asyncio.Event()

            async def write(writer: Client, room_id: str) -> None:
                while not is_over.is_set():
                    text = f"text {len(acknowledged[room_id])}"
                    await writer.send(room_id, text)
                    acknowledged[room_id].append(text)
                    await upload(writer, text.encode() + room_id.encode())

            async with asyncio.TaskGroup() as tasks:
                for writer, room_id in zip(writers, rooms, strict=True):
                    tasks.create_task(write(writer, room_id))
                while not all(len(texts) > 20 for texts in acknowledged.values()):
                    await asyncio.sleep(0.01)
                before = {room_id: list(texts) for room_id, texts in acknowledged.items()}
                checked = await back_up(settings, path)
                is_over.set()
        assert not checked.manifest.media_missing
        other = elsewhere(settings, tmp_path / "other", unmigrated_database_url)
        await restore(path, other)
        async with running(other) as server:
            homes = Homes(server, session)
            assert not (await server.services.media.upkeep.compare(lambda _count: None)).missing
            for writer, room_id in zip(writers, rooms, strict=True):
                texts = await texts_of(again(homes, writer), room_id)
                assert texts[: len(before[room_id])] == before[room_id]
                assert texts == acknowledged[room_id][: len(texts)]


async def test_files_are_not_deleted_while_a_backup_is_made(homes: Homes, tmp_path: Path) -> None:
    alice = await homes.user("alice")
    uri = await upload(alice, PICTURE)
    origin, media_id = uri.removeprefix("mxc://").split("/")
    upkeep, settings = homes.services.media.upkeep, homes.services.settings
    assert origin == settings.server.name
    stopped, go_on = asyncio.Event(), asyncio.Event()
    making = asyncio.create_task(back_up_slowly(settings, tmp_path / "slow.tar", stopped, go_on))
    await stopped.wait()
    await upkeep.delete_named("", media_id)
    assert await upkeep.delete_files(grace_ms=-1_000) == 0
    go_on.set()
    missing = await making
    assert missing == []
    assert await upkeep.delete_files(grace_ms=-1_000) == 1


async def back_up_slowly(
    settings: Settings, path: Path, stopped: asyncio.Event, go_on: asyncio.Event
) -> list[str]:
    """A backup that waits before the files of media are copied; keys of those that were missing."""

    class SlowStore:
        """The store, which waits for the test."""

        def __init__(self) -> None:
            self._store = build_store(settings.media, incoming_of(settings))

        async def read(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
            stopped.set()
            await go_on.wait()
            async for chunk in self._store.read(key, start, length):
                yield chunk

    config_file = path.with_suffix(".toml")
    config_file.write_text("")
    connection = await connect(settings.database.url)
    try:
        # Nothing else is asked of it.
        store = cast(Store, SlowStore())
        source = Source(settings, config_file, connection, store, system_clock, "all")
        with path.open("wb") as file:
            backup = Backup(source, file.write, lambda _step: None)
            await backup.make()
    finally:
        await connection.close()
    assert backup.manifest.media_files == 1
    return backup.manifest.media_missing


async def test_a_file_that_is_not_in_the_store_is_named_and_the_rest_is_kept(
    homes: Homes, tmp_path: Path
) -> None:
    alice = await homes.user("alice")
    await upload(alice, PICTURE)
    await upload(alice, b"another file")
    settings = homes.services.settings
    (gone,) = (settings.media.directory / "content").rglob(f"{sha256(PICTURE).hexdigest()}-*")
    gone.unlink()
    checked = await back_up(settings, tmp_path / "backup.tar")
    assert checked.manifest.media_missing == [gone.name]
    assert checked.manifest.media_files == 1


async def test_a_store_may_be_left_out(
    homes: Homes, unmigrated_database_url: str, tmp_path: Path
) -> None:
    await upload(await homes.user("alice"), PICTURE)
    settings = homes.services.settings
    checked = await back_up(settings, tmp_path / "backup.tar", INDEX)
    assert checked.manifest.media_files == 0
    assert checked.manifest.parts["database/media_contents"].rows == 1
    other = elsewhere(settings, tmp_path / "other", unmigrated_database_url)
    await restore(tmp_path / "backup.tar", other)
    found = await look_for_media(other)
    assert found.state is State.FAIL
    assert found.message.startswith("1 of the 1 newest files are not in")
    shutil.copytree(settings.media.directory, other.media.directory, dirs_exist_ok=True)
    assert (await look_for_media(other)).state is State.OK


async def look_for_media(settings: Settings) -> Finding:
    """What the doctor says of media."""
    connection = await connect(settings.database.url)
    try:
        return await check_media(settings, connection)
    finally:
        await connection.close()


async def test_a_disk_that_is_too_small_is_refused_beforehand(homes: Homes, tmp_path: Path) -> None:
    await upload(await homes.user("alice"), PICTURE)
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path, Extent(tables=1_000, media=1_000))
    with pytest.raises(BackupFailed, match="make room"):
        check_space(tmp_path, Extent(tables=0, media=2 * free))
    checked = await back_up(homes.services.settings, tmp_path / "backup.tar")
    settings = homes.services.settings
    check_room(checked, settings)
    too_large = replace(checked, manifest=replace(checked.manifest, media_bytes=2 * free))
    with pytest.raises(RestoreRefused, match="are needed"):
        check_room(too_large, settings)
    in_a_bucket = replace(settings, media=replace(settings.media, s3=S3("media")))
    check_room(too_large, in_a_bucket)
