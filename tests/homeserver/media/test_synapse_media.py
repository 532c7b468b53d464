"""Taking over Synapse's media: its layout on disk and its tables."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from homeserver.cli.errors import CommandError
from storage.cluster import Cluster
from tests.conftest import fresh_database
from tests.homeserver.conftest import Homes
from tests.homeserver.media.files import download, kept_files
from tests.homeserver.media.test_media_commands import Commands

TABLES = """
    CREATE TABLE local_media_repository (
        media_id TEXT UNIQUE, media_type TEXT, media_length INTEGER, created_ts BIGINT,
        upload_name TEXT, user_id TEXT, quarantined_by TEXT, url_cache TEXT,
        last_access_ts BIGINT, safe_from_quarantine BOOLEAN NOT NULL DEFAULT false,
        authenticated BOOLEAN NOT NULL DEFAULT false, sha256 TEXT);
    CREATE TABLE remote_media_cache (
        media_origin TEXT, media_id TEXT, media_type TEXT, created_ts BIGINT, upload_name TEXT,
        media_length INTEGER, filesystem_id TEXT, last_access_ts BIGINT, quarantined_by TEXT,
        authenticated BOOLEAN NOT NULL DEFAULT false, sha256 TEXT,
        UNIQUE (media_origin, media_id));
"""


class Synapse:
    """Synapse's directory and database, as it leaves them."""

    def __init__(self, directory: Path, url: str, db: asyncpg.Connection) -> None:
        self.directory = directory
        self.url = url
        self._db = db

    async def has(
        self, media_id: str, data: bytes | None, *, user: str = "@alice:test", **columns: object
    ) -> None:
        self._write(Path("local_content"), media_id, data)
        size = 0 if data is None else len(data)
        values = {
            "media_id": media_id,
            "media_type": "image/png",
            "media_length": size,
            "created_ts": 1000,
            "user_id": user,
            **columns,
        }
        await self._insert("local_media_repository", values)

    async def has_cached(self, origin: str, media_id: str, file_id: str, data: bytes) -> None:
        self._write(Path("remote_content") / origin, file_id, data)
        values = {
            "media_origin": origin,
            "media_id": media_id,
            "media_type": "text/plain",
            "media_length": len(data),
            "created_ts": 2000,
            "filesystem_id": file_id,
            "authenticated": True,
        }
        await self._insert("remote_media_cache", values)

    def _write(self, folder: Path, name: str, data: bytes | None) -> None:
        if data is not None:
            path = self.directory / folder / name[:2] / name[2:4] / name[4:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    async def _insert(self, table: str, values: dict[str, object]) -> None:
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        await self._db.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", *values.values()
        )


@pytest_asyncio.fixture
async def synapse(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Synapse]:
    directory = tmp_path / "media_store"
    (directory / "local_content").mkdir(parents=True)
    async for url in fresh_database(cluster, "template1"):
        db = await asyncpg.connect(url)
        await db.execute(TABLES)
        yield Synapse(directory, url, db)
        await db.close()


async def test_files_are_taken_over_once(homes: Homes, synapse: Synapse, tmp_path: Path) -> None:
    hearth, alice = Commands(homes, tmp_path), await homes.user("alice")
    await synapse.has("GerZNDnDZVjsOtardLuwfIBg", b"mine", upload_name="a.png")
    await synapse.has("AAAAcopy", b"mine", user="@old:test", authenticated=True)
    await synapse.has("BBBBbad", b"bad", quarantined_by="@admin:test")
    await synapse.has("CCCClost", None, media_length=5)
    await synapse.has("DDDDpreview", b"preview", url_cache="https://x")
    await synapse.has("EEEEpending", None, media_length=None)
    await synapse.has("../../../etc/passwd", None, media_length=5)
    await synapse.has_cached("far.test", "abc", "FFFFfile", b"theirs")
    arguments = ("import-synapse", str(synapse.directory), "--database", synapse.url)
    out = await hearth(*arguments)
    assert "4 files are taken over, 0 were here, 1 are missing." in out
    got = await download(alice, "mxc://test/GerZNDnDZVjsOtardLuwfIBg")
    assert (got.body, got.headers["Content-Type"]) == (b"mine", "image/png")
    assert got.headers["Content-Disposition"] == "inline; filename=a.png"
    assert (await download(alice, "mxc://test/AAAAcopy")).body == b"mine"
    assert (await download(alice, "mxc://far.test/abc")).body == b"theirs"
    (await download(alice, "mxc://test/BBBBbad")).refused(404, "M_NOT_FOUND")
    assert len(kept_files(homes)) == 3
    linked = [path for path in kept_files(homes) if path.stat().st_nlink == 2]
    assert len(linked) == 3, "files are linked, not copied"
    assert "0 files are taken over, 4 were here, 1 are missing." in await hearth(*arguments)
    assert "mxc://test/GerZNDnDZVjsOtardLuwfIBg" in await hearth("list", "alice")


async def test_what_is_no_media_directory_is_refused(homes: Homes, tmp_path: Path) -> None:
    hearth = Commands(homes, tmp_path)
    with pytest.raises(CommandError, match="not Synapse's media directory"):
        await hearth("import-synapse", str(tmp_path), "--database", "postgresql://nowhere")
