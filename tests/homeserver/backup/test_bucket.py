"""Backups of a server whose media are in a bucket, and their way into another store."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from homeserver.app import running
from homeserver.cli.finding import State
from homeserver.config.keys import create_signing_key
from homeserver.config.sections.media import S3
from homeserver.config.settings import Settings
from tests.homeserver.backup.saving import back_up, elsewhere, hearth, restore
from tests.homeserver.backup.test_round_trip import (
    PICTURE,
    again,
    download,
    look_for_media,
    upload,
)
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.homeserver.media.test_object_store import PROGRAM, bucket

__all__ = ["bucket"]

pytestmark = pytest.mark.skipif(not PROGRAM, reason="MOTO_SERVER does not name moto's server")


def keeping(settings: Settings, s3: S3) -> Settings:
    """The same server, with its media elsewhere."""
    return replace(settings, media=replace(settings.media, s3=s3))


@asynccontextmanager
async def at(settings: Settings) -> AsyncIterator[Homes]:
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


async def upload_there(settings: Settings) -> tuple[Client, str]:
    """A picture that a user has uploaded to a server, which has stopped again."""
    async with at(settings) as homes:
        alice = await homes.user("alice")
        return alice, await upload(alice, PICTURE)


async def check_there(settings: Settings, alice: Client, uri: str) -> None:
    """The picture is there again, and nothing else."""
    assert (await look_for_media(settings)).state is State.OK
    async with at(settings) as homes:
        assert await download(homes, again(homes, alice), uri) == PICTURE
        compared = await homes.services.media.upkeep.compare(lambda _count: None)
        assert (compared.missing, compared.stray) == ([], [])


@pytest.mark.parametrize("there", ["a directory", "a bucket"])
async def test_all_media_of_a_bucket_go_elsewhere(
    database_url: str, unmigrated_database_url: str, tmp_path: Path, bucket: S3, there: str
) -> None:
    plain = settings_for_tests(database_url, tmp_path)
    settings = keeping(plain, replace(bucket, prefix=f"{tmp_path.name}/from/"))
    alice, uri = await upload_there(settings)
    checked = await back_up(settings, tmp_path / "backup.tar", "all")
    assert checked.manifest.media_files == 1
    other = elsewhere(plain, tmp_path / "other", unmigrated_database_url)
    if there == "a bucket":
        other = keeping(other, replace(bucket, prefix=f"{tmp_path.name}/to/"))
    await restore(tmp_path / "backup.tar", other)
    await check_there(other, alice, uri)


async def test_media_of_a_directory_go_into_a_bucket(
    database_url: str, unmigrated_database_url: str, tmp_path: Path, bucket: S3
) -> None:
    plain = settings_for_tests(database_url, tmp_path)
    alice, uri = await upload_there(plain)
    await back_up(plain, tmp_path / "backup.tar", "all")
    other = elsewhere(plain, tmp_path / "other", unmigrated_database_url)
    other = keeping(other, replace(bucket, prefix=f"{tmp_path.name}/"))
    await restore(tmp_path / "backup.tar", other)
    await check_there(other, alice, uri)
    assert not (other.media.directory / "content").exists()


async def test_an_index_needs_the_bucket_that_it_is_of(
    database_url: str, unmigrated_database_url: str, tmp_path: Path, bucket: S3
) -> None:
    plain = settings_for_tests(database_url, tmp_path)
    settings = keeping(plain, replace(bucket, prefix=f"{tmp_path.name}/"))
    alice, uri = await upload_there(settings)
    checked = await back_up(settings, tmp_path / "backup.tar", "index")
    assert checked.manifest.media_files == 0
    other = elsewhere(settings, tmp_path / "other", unmigrated_database_url)
    await restore(tmp_path / "backup.tar", other)
    await check_there(other, alice, uri)
    without = await look_for_media(keeping(other, S3()))
    assert without.state is State.FAIL
    assert without.message.startswith("1 of the 1 newest files are not in")
    nowhere = await look_for_media(keeping(other, replace(bucket, bucket="another")))
    assert nowhere.state is State.FAIL


async def test_the_commands_leave_a_bucket_alone_unless_told_otherwise(
    database_url: str, unmigrated_database_url: str, tmp_path: Path, bucket: S3
) -> None:
    s3 = replace(bucket, prefix=f"{tmp_path.name}/")
    settings = keeping(settings_for_tests(database_url, tmp_path), s3)
    await upload_there(settings)
    here, fresh = tmp_path / "here", tmp_path / "fresh"
    here.mkdir()
    fresh.mkdir()
    create_signing_key(here / "data" / "signing.key")
    (here / "hearth.toml").write_text(configuration(settings))
    for arguments, said in (
        (("index.tar",), "of media only the index, no files"),
        (("all.tar", "--media", "all"), "Wrote all.tar"),
    ):
        done = await hearth("backup", *arguments, cwd=here)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    said = (await hearth("backup", "verify", here / "index.tar", cwd=here)).stdout
    assert "media      only the index, no files" in said
    url = {"HEARTH_DATABASE__URL": unmigrated_database_url}
    done = await hearth("restore", here / "index.tar", cwd=fresh, **url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the bucket {s3.bucket}: the 1 newest files are there" in done.stdout
    # Without the bucket an index is of no use, and all.tar is.
    local = url | {"HEARTH_MEDIA__S3__BUCKET": ""}
    done = await hearth("restore", here / "index.tar", "--overwrite", cwd=fresh, **local)
    assert done.returncode == 0
    assert "1 of the 1 newest files are not in" in done.stderr
    assert (await hearth("media", "check", cwd=fresh, **local)).returncode == 1
    done = await hearth("restore", here / "all.tar", "--overwrite", cwd=fresh, **local)
    assert (done.returncode, done.stderr) == (0, "")
    assert (await hearth("media", "check", cwd=fresh, **local)).returncode == 0
    told = await hearth("doctor", cwd=fresh, **local)
    assert "the 1 newest files are there" in told.stdout


def configuration(settings: Settings) -> str:
    s3 = settings.media.s3
    names = ("bucket", "prefix", "endpoint", "region", "access_key_id", "secret_access_key")
    values = "".join(f"{name} = {json.dumps(getattr(s3, name))}\n" for name in names)
    url = json.dumps(settings.database.url)
    return f'[server]\nname = "test"\n[database]\nurl = {url}\n[media.s3]\n{values}'
