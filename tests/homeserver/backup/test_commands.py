"""`hearth backup` and `hearth restore` as operators run them, also when all goes wrong."""

import asyncio
import hashlib
import json
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from homeserver.backup import contents
from homeserver.backup.archive import ArchiveReader, ArchiveWriter
from homeserver.backup.checking import check_backup
from migrations.apply import LOCK
from tests.homeserver.backup.saving import ENVIRONMENT, command, hearth, run
from tests.homeserver.backup.test_round_trip import texts_of, upload
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.server_process import ServerProcess
from tests.ports import free_port
from tests.processes import wait_for_end

PASSWORD = "a password that is long"
DUMMY = {"auth": {"type": "m.login.dummy"}}
MORE_CONFIG = """
[appservices]
files = ["bridge.yaml"]
"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""Has a shell run a program to which a directory is read-only."""
BRIDGE = """\
id: bridge
url: null
as_token: one
hs_token: two
sender_localpart: bridge
namespaces: {}
"""


@dataclass
class Running:
    """A server process, its directory and a user of it who has said something."""

    process: ServerProcess
    directory: Path
    config: Path
    alice: Client
    room_id: str
    session: aiohttp.ClientSession
    database_url: str


@pytest_asyncio.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[Running]:
    directory = tmp_path / "server"
    directory.mkdir()
    process = ServerProcess(directory, database_url, MORE_CONFIG)
    (directory / "bridge.yaml").write_text(BRIDGE)
    try:
        async with aiohttp.ClientSession() as session:
            await process.start(session)
            alice = Client(session, process.base_url)
            body = {"username": "alice", "password": PASSWORD} | DUMMY
            Homes.log_in(alice, (await alice.post("v3/register", body)).ok())
            room_id = await alice.create_room()
            await alice.send(room_id, "kept")
            yield Running(process, directory, process.config, alice, room_id, session, database_url)
    finally:
        await process.stop()


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


async def test_a_server_moves_into_an_empty_directory(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.tar"
    done = await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Wrote {backup}")
    assert backup.stat().st_mode & 0o777 == 0o600
    verified = await hearth("backup", "verify", backup, cwd=tmp_path)
    assert verified.stdout.startswith("It is whole: test, ")
    assert "bridge.yaml" in verified.stdout
    await server.process.stop()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    port = free_port()
    environment = {
        "HEARTH_DATABASE__URL": unmigrated_database_url,
        "HEARTH_LISTEN": json.dumps([{"port": port}]),
    }
    restored = await hearth("restore", backup, cwd=fresh, **environment)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert files_below(fresh) == {"hearth.toml", "bridge.yaml", "data/signing.key"}
    for name in files_below(fresh):
        original = server.config if name == "hearth.toml" else server.directory / name
        assert (fresh / name).read_bytes() == original.read_bytes()
        assert (fresh / name).stat().st_mode & 0o777 == 0o600
    other = ServerProcess(tmp_path)
    other.port, other.base_url = port, f"http://127.0.0.1:{port}"
    other.config = fresh / "hearth.toml"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        await other.start(server.session)
    try:
        alice = Client(server.session, other.base_url)
        alice.token = server.alice.token
        assert await texts_of(alice, server.room_id) == ["kept"]
    finally:
        await other.stop()


async def test_settings_of_the_environment_are_kept(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.tar"
    await hearth(
        "backup", backup, "--config", server.config, cwd=tmp_path, HEARTH_AUTH__PEPPER="another"
    )
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    restored = await hearth(
        "restore", backup, cwd=fresh, HEARTH_DATABASE__URL=unmigrated_database_url
    )
    assert restored.returncode == 0, restored.stderr
    assert (fresh / "hearth.env").read_text() == "HEARTH_AUTH__PEPPER=another\n"
    assert (fresh / "hearth.env").stat().st_mode & 0o777 == 0o600


async def test_a_backup_goes_down_a_pipe(server: Running, tmp_path: Path) -> None:
    backup = tmp_path / "piped.tar"
    with backup.open("wb") as file:
        process = subprocess.Popen(
            command("backup", "-", "--config", str(server.config)), stdout=file, env=ENVIRONMENT
        )
        assert await asyncio.to_thread(wait_for_end, process) == 0
    assert check_backup(backup, lambda _step: None).head.server_name == "test"


async def test_a_database_that_is_in_use_is_left_alone(server: Running, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    for flags, reason in ((), "A server runs"), (("--overwrite",), "A server runs"):
        refused = await hearth("restore", backup, *flags, "--config", server.config, cwd=tmp_path)
        assert refused.returncode == 1
        assert reason in refused.stderr
    await server.process.stop()
    refused = await hearth("restore", backup, "--config", server.config, cwd=tmp_path)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    done = await hearth("restore", backup, "--overwrite", "--config", server.config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


async def test_another_signing_key_is_not_replaced(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup, fresh = tmp_path / "backup.tar", tmp_path / "fresh"
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    (fresh / "data").mkdir(parents=True)
    key = "ed25519 a_other 3VVnsLnIAxMnkF2NpnXAy7nmDmq5Ye0ydHKb9t8fvxE\n"
    (fresh / "data" / "signing.key").write_text(key)
    url = {"HEARTH_DATABASE__URL": unmigrated_database_url}
    refused = await hearth("restore", backup, cwd=fresh, **url)
    assert refused.returncode == 1
    assert "another signing key" in refused.stderr
    assert (fresh / "data" / "signing.key").read_text() == key
    done = await hearth("restore", backup, "--overwrite", cwd=fresh, **url)
    assert done.returncode == 0, done.stderr
    assert (fresh / "data" / "signing.key.before-restore").read_text() == key


async def test_a_container_whose_configuration_is_read_only_is_restored(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup, fresh = tmp_path / "backup.tar", tmp_path / "fresh"
    data = {"HEARTH_SERVER__DATA_DIR": str(tmp_path / "data")}
    await server.process.stop()
    (server.directory / "data").rename(tmp_path / "data")
    made = await hearth("backup", backup, "--config", server.config, cwd=tmp_path, **data)
    assert made.returncode == 0, made.stderr
    fresh.mkdir()
    shutil.copy(server.config, fresh / "hearth.toml")
    (fresh / "bridge.yaml").write_text(BRIDGE.replace("as_token: one", "as_token: other"))
    environment = {**data, "HEARTH_DATABASE__URL": unmigrated_database_url}
    config = fresh / "hearth.toml"
    restore = command("restore", str(backup), "--overwrite", "--config", str(config))
    program = ["unshare", "-m", "sh", "-c", READ_ONLY, str(fresh), *restore]
    done = await asyncio.to_thread(run, program, tmp_path, environment)
    if "unshare: " in done.stderr:
        pytest.skip("namespaces cannot be made here")
    assert done.returncode == 0, done.stderr
    assert "bridge.yaml cannot be written here, and is not as in the backup." in done.stderr
    assert files_below(fresh) == {"hearth.toml", "bridge.yaml"}


async def test_a_damaged_backup_is_refused_before_anything_is_touched(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup, fresh = tmp_path / "backup.tar", tmp_path / "fresh"
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    whole = backup.read_bytes()
    fresh.mkdir()
    for damaged in (whole[:-5_000], whole[:50_000] + b"?" + whole[50_001:]):
        backup.write_bytes(damaged)
        refused = await hearth(
            "restore", backup, cwd=fresh, HEARTH_DATABASE__URL=unmigrated_database_url
        )
        assert refused.returncode == 1
        assert "damaged" in refused.stderr or "not whole" in refused.stderr
    assert not files_below(fresh)
    connection = await asyncpg.connect(unmigrated_database_url)
    tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert tables == 0


def is_there(directory: Path, suffix: str) -> bool:
    return any(path.name.endswith(suffix) for path in directory.iterdir())


async def test_a_killed_backup_leaves_no_backup_and_its_rest_goes_with_the_next(
    server: Running, tmp_path: Path
) -> None:
    for number in range(20):
        await upload(server.alice, bytes([number]) * 2_000_000)
    directory = tmp_path / "backups"
    directory.mkdir()
    process = subprocess.Popen(
        command("backup", str(directory), "--config", str(server.config)), env=ENVIRONMENT
    )
    while not is_there(directory, ".part"):
        assert process.poll() is None
        await asyncio.sleep(0.001)
    process.kill()
    await asyncio.to_thread(process.wait)
    assert is_there(directory, ".part")
    assert not is_there(directory, ".tar")
    await server.alice.send(server.room_id, "it runs on")
    done = await hearth("backup", directory, "--config", server.config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (backup,) = directory.iterdir()
    assert check_backup(backup, lambda _step: None).manifest.media_files == 20


async def test_the_server_may_be_killed_while_it_is_backed_up(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    for number in range(4):
        await upload(server.alice, bytes([number]) * 500_000)
    backup = tmp_path / "backup.tar"
    process = await asyncio.create_subprocess_exec(
        *command("backup", "-", "--config", str(server.config)),
        stdout=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    # The pipe holds less than the backup has: it cannot be over before the rest is read.
    first = await process.stdout.readexactly(1)
    await server.process.kill()
    backup.write_bytes(first + await process.stdout.read())
    assert await process.wait() == 0
    assert check_backup(backup, lambda _step: None).manifest.media_files == 4
    url = {"HEARTH_DATABASE__URL": unmigrated_database_url}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    restored = await hearth("restore", backup, cwd=fresh, **url)
    assert restored.returncode == 0, restored.stderr
    connection = await asyncpg.connect(unmigrated_database_url)
    assert await connection.fetchval("SELECT count(*) FROM media") == 4
    await connection.close()


async def test_two_backups_are_made_one_after_the_other(server: Running, tmp_path: Path) -> None:
    for number in range(4):
        await upload(server.alice, bytes([number]) * 500_000)
    first = await asyncio.create_subprocess_exec(
        *command("backup", "-", "--config", str(server.config)),
        stdout=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert first.stdout is not None
    begun = await first.stdout.readexactly(1)
    path = tmp_path / "second.tar"
    second = asyncio.create_task(hearth("backup", path, "--config", server.config, cwd=tmp_path))
    db = await asyncpg.connect(server.database_url)
    while not await db.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    ):
        assert not second.done()
        await asyncio.sleep(0.01)
    await db.close()
    (tmp_path / "first.tar").write_bytes(begun + await first.stdout.read())
    assert await first.wait() == 0
    assert (await second).returncode == 0
    for name in ("first.tar", "second.tar"):
        assert check_backup(tmp_path / name, lambda _step: None).manifest.media_files == 4


async def test_a_full_disk_leaves_no_half_of_a_backup(server: Running, tmp_path: Path) -> None:
    await upload(server.alice, bytes(1_000_000))
    directory = tmp_path / "backups"
    directory.mkdir()

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    process = subprocess.run(
        command("backup", str(directory), "--config", str(server.config)),
        env=ENVIRONMENT,
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "File too large" in process.stderr
    assert not list(directory.iterdir())
    done = await hearth("backup", directory, "--config", server.config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


async def test_an_interrupted_restore_keeps_the_server_from_starting_and_is_run_again(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    await upload(server.alice, b"a file")
    backup, fresh = tmp_path / "backup.tar", tmp_path / "fresh"
    fresh.mkdir()
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    await server.process.stop()
    url = {"HEARTH_DATABASE__URL": unmigrated_database_url}
    # The restore waits here, with its files in place and the database yet to come.
    blocking = await asyncpg.connect(unmigrated_database_url)
    await blocking.execute("SELECT pg_advisory_lock($1)", LOCK)
    process = subprocess.Popen(command("restore", str(backup)), cwd=fresh, env=ENVIRONMENT | url)
    while not await blocking.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    ):
        assert process.poll() is None
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    await blocking.close()
    refused = await hearth("run", cwd=fresh, **url)
    assert refused.returncode == 1
    assert "hearth restore" in refused.stderr
    in_use = {"HEARTH_DATABASE__URL": server.database_url}
    refused = await hearth("restore", backup, cwd=fresh, **in_use)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    done = await hearth("restore", backup, cwd=fresh, **url)
    assert done.returncode == 0, done.stderr
    checked = await hearth("media", "check", cwd=fresh, **url)
    assert checked.stdout.startswith("0 files are missing"), checked
    assert not (fresh / "data" / "restore-under-way").exists()


async def test_a_directory_keeps_the_newest_backups(server: Running, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    (directory / "hearth-test-20200101T000000Z.tar").write_text("oldest")
    (directory / "hearth-test-20210101T000000Z.tar").write_text("older")
    others = {"hearth-test-20190101T000000Z.tar.age", "hearth-other-20190101T000000Z.tar", "notes"}
    for name in others:
        (directory / name).write_text("not one of them")
    done = await hearth("backup", directory, "--keep", "2", "--config", server.config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    left = files_below(directory) - others
    assert "hearth-test-20200101T000000Z.tar" not in left
    assert "hearth-test-20210101T000000Z.tar" in left
    assert len(left) == 2
    assert others <= files_below(directory)


async def test_a_directory_is_made_where_its_name_ends_with_a_slash(
    server: Running, tmp_path: Path
) -> None:
    directory = tmp_path / "backups"
    command = ("backup", f"{directory}/", "--keep", "1", "--config", server.config)
    for _ in range(2):
        done = await hearth(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(files_below(directory)) == 1
    nowhere = tmp_path / "not" / "there"
    refused = await hearth("backup", f"{nowhere}/", "--config", server.config, cwd=tmp_path)
    assert refused.returncode == 1
    assert f"{nowhere} cannot be made: No such file or directory." in refused.stderr


async def test_a_newer_backup_is_refused(
    server: Running, unmigrated_database_url: str, tmp_path: Path
) -> None:
    backup, newer, fresh = tmp_path / "a.tar", tmp_path / "b.tar", tmp_path / "fresh"
    fresh.mkdir()
    await hearth("backup", backup, "--config", server.config, cwd=tmp_path)
    with backup.open("rb") as file, newer.open("wb") as written:
        reader, writer = ArchiveReader(file), ArchiveWriter(written.write)
        for member in reader.members():
            content = reader.read(member, 1 << 30)
            if member.name == contents.HEAD:
                content = content.replace(b'"migrations": {', b'"migrations": {"9999": "later",')
                head = content
            if member.name == contents.MANIFEST:
                content = rehashed(content, contents.HEAD, head)
                manifest = content
            if member.name == contents.MANIFEST_SUM:
                content = sha256(manifest).encode()
            writer.add(member.name, content, 0)
        writer.close()
    refused = await hearth(
        "restore", newer, cwd=fresh, HEARTH_DATABASE__URL=unmigrated_database_url
    )
    assert refused.returncode == 1
    assert "migration 9999" in refused.stderr
    assert not files_below(fresh)


def rehashed(manifest: bytes, name: str, content: bytes) -> bytes:
    values = json.loads(manifest)
    values["parts"][name] |= {"sha256": sha256(content), "size": len(content)}
    return json.dumps(values).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
