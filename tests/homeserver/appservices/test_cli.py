"""`hearth appservice`, and what `config check` and `doctor` say of registrations."""

import asyncio
import sys
from pathlib import Path

from homeserver.cli.checks import check_appservices
from homeserver.cli.finding import State
from homeserver.config.load import load_settings
from tests.homeserver.appservices.bridge import Bridge, bridged
from tests.homeserver.server_process import ROOT


def configure(directory: Path, database_url: str, *files: Path) -> Path:
    config = directory / "hearth.toml"
    listed = ", ".join(f'"{file.name}"' for file in files)
    config.write_text(
        f'[server]\nname = "test"\n[database]\nurl = "{database_url}"\n'
        f"[appservices]\nfiles = [{listed}]\n"
    )
    return config


async def hearth(config: Path, *arguments: str) -> tuple[int, str]:
    """Exit status of a command, and all that it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "homeserver", *arguments, "--config", str(config)),
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_services_are_listed_with_what_waits_for_them(
    database_url: str, tmp_path: Path
) -> None:
    bridge, quiet = Bridge(), Bridge("quiet", "a2", "h2", fields={"url": None})
    async with bridge.running(), bridged(database_url, tmp_path, bridge, quiet) as homes:
        config = configure(tmp_path, database_url, tmp_path / "irc.yaml", tmp_path / "quiet.yaml")
        alice = await homes.user("alice")
        await alice.create_room(invite=[bridge.sender])
        await bridge.wait_for(lambda: bridge.events)
        said = ""
        while "has been told everything" not in said:
            status, said = await hearth(config, "appservice", "list")
            assert status == 0
        assert f"irc  @ircbot:test  http://127.0.0.1:{bridge.port}" in said
        assert "only its users: @irc_.*" in said
        assert "has been told everything; 1 transactions" in said
        assert "quiet  @quietbot:test  is told nothing" in said
        bridge.statuses = [500] * 1_000
        await alice.create_room(invite=[bridge.sender])
        await bridge.wait_for(lambda: "500" in bridge.headers)
        _, said = await hearth(config, "appservice", "list")
        assert "waits to take transaction 2" in said
        bridge.statuses = []


async def test_services_are_listed_before_the_first_start(
    unmigrated_database_url: str, tmp_path: Path
) -> None:
    config = configure(tmp_path, unmigrated_database_url, Bridge().write_to(tmp_path))
    status, said = await hearth(config, "appservice", "list")
    assert (status, "has not been started with it yet" in said) == (0, True)


async def test_a_service_is_pinged(database_url: str, tmp_path: Path) -> None:
    async with Bridge().running() as bridge:
        config = configure(tmp_path, database_url, bridge.write_to(tmp_path))
        status, said = await hearth(config, "appservice", "ping", "irc")
        assert (status, "has answered after" in said) == (0, True)
        status, said = await hearth(config, "appservice", "ping", "xmpp")
        assert (status, "there are: irc" in said) == (1, True)
        bridge.hs_token = "another"
        status, said = await hearth(config, "appservice", "ping", "irc")
        assert (status, "is hs_token the same" in said) == (1, True)
        await bridge.stop()
        status, said = await hearth(config, "appservice", "ping", "irc")
        assert (status, "Is it running at" in said) == (1, True)


async def test_a_wrong_registration_is_found_before_the_server_starts(
    database_url: str, tmp_path: Path
) -> None:
    file = Bridge(fields={"url": "nonsense"}).write_to(tmp_path)
    config = configure(tmp_path, database_url, file)
    for command in (("config", "check"), ("run",), ("appservice", "list")):
        status, said = await hearth(config, *command)
        assert status == 1
        assert "url must begin with http://" in said
        assert "Traceback" not in said


def test_the_doctor_looks_at_registrations(database_url: str, tmp_path: Path) -> None:
    bridge = Bridge(fields={"namespaces": {"users": [{"regex": "@.*", "exclusive": True}]}})
    file = bridge.write_to(tmp_path)
    file.chmod(0o644)
    settings = load_settings(configure(tmp_path, database_url, file))
    found = list(check_appservices(settings))
    assert [one.state for one in found] == [State.OK, State.WARN, State.WARN]
    assert f"chmod o-r {file}" in found[1].message
    assert "nobody else can register" in found[2].message
    file.write_text("id: 1")
    assert {one.state for one in check_appservices(settings)} == {State.FAIL}
