"""`hearth media`, beside a running server."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from homeserver.cli.errors import CommandError
from homeserver.cli.main import app
from homeserver.cli.media import in_units
from tests.homeserver.conftest import Homes
from tests.homeserver.media.files import download, kept_files, upload


class Commands:
    """Runs commands for the configuration of a server."""

    def __init__(self, homes: Homes, directory: Path) -> None:
        settings = homes.services.settings
        self.config = directory / "hearth.toml"
        self.config.write_text(
            f'[server]\nname = "test"\ndata_dir = "{settings.server.data_dir}"\n'
            f'[database]\nurl = "{settings.database.url}"\n'
            f'[media]\ndirectory = "{settings.media.directory}"\n'
        )

    async def __call__(self, *arguments: str, status: int = 0) -> str:
        line = ["media", *arguments, "--config", str(self.config)]
        result = await asyncio.to_thread(CliRunner().invoke, app, line)
        if isinstance(result.exception, CommandError):
            raise result.exception
        assert result.exit_code == status, (result.output, result.exception)
        return result.output


@pytest.fixture
def hearth(homes: Homes, tmp_path: Path) -> Commands:
    return Commands(homes, tmp_path)


async def test_usage_and_lists(homes: Homes, hearth: Commands) -> None:
    alice = await homes.user("alice")
    uri = await upload(alice, b"x" * 2048, "text/plain", filename="a.txt")
    await upload(alice, b"x" * 2048)
    assert (await hearth("usage")).splitlines() == [
        "own\t2\t4.0 KiB",
        "of other servers\t0\t0 B",
        "in the store\t1\t2.0 KiB",
        "@alice:test\t2\t4.0 KiB",
    ]
    assert f"{uri}\t" in (await hearth("list", "alice"))
    with pytest.raises(CommandError, match="no user @bob:test"):
        await hearth("list", "bob")


async def test_quarantine_release_and_protection(homes: Homes, hearth: Commands) -> None:
    alice = await homes.user("alice")
    uri = await upload(alice, b"bad")
    assert await hearth("quarantine", uri) == "1 files are quarantined.\n"
    (await download(alice, uri)).refused(404, "M_NOT_FOUND")
    assert "quarantined by" in await hearth("list", "@alice:test")
    await hearth("release", uri)
    assert (await download(alice, uri)).body == b"bad"
    await hearth("protect", uri)
    assert await hearth("quarantine", "@alice:test") == "0 files are quarantined.\n"
    await hearth("protect", uri, "--off")
    assert await hearth("quarantine", "@alice:test") == "1 files are quarantined.\n"
    with pytest.raises(CommandError, match="not a Matrix Content URI"):
        await hearth("quarantine", "nonsense")


async def test_deletion_and_comparison(homes: Homes, hearth: Commands) -> None:
    alice = await homes.user("alice")
    first, second = await upload(alice, b"1"), await upload(alice, b"2")
    assert "0 files are missing" in await hearth("check")
    assert (await hearth("delete", first, "--yes")).startswith("1 files are deleted")
    (await download(alice, first)).refused(404, "M_NOT_FOUND")
    for path in kept_files(homes):
        path.unlink()
    assert "2 files are missing" in await hearth("check", status=1)
    assert (await hearth("delete", "@alice:test", "--yes")).startswith("1 files are deleted")
    (await download(alice, second)).refused(404, "M_NOT_FOUND")
    assert (await hearth("purge-remote", "--unused-days", "0")).startswith("0 files")


def test_sizes_are_told_for_people() -> None:
    assert [in_units(size) for size in (0, 1023, 1024, 5 << 30, 9 << 50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 GiB",
        "9216.0 TiB",
    ]
