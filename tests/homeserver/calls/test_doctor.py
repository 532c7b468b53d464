"""What `hearth doctor` says of calls."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from homeserver.cli.call_checks import check_calls
from homeserver.cli.finding import State
from homeserver.config.settings import Settings
from tests.homeserver.calls.conftest import CallingHomes
from tests.homeserver.calls.played_livekit import SERVICE, PlayedLiveKit
from tests.homeserver.conftest import settings_for_tests


def with_calls(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, calls=replace(settings.calls, **changes))


async def test_there_need_not_be_calls(tmp_path: Path) -> None:
    (finding,) = await check_calls(settings_for_tests("", tmp_path))
    assert (finding.state, finding.subject) == (State.OK, "calls")


async def test_all_is_well_where_livekit_and_the_server_run(calling: CallingHomes) -> None:
    settings = with_calls(
        calling.homes.services.settings,
        livekit_url=f"ws://127.0.0.1:{calling.livekit.port}",
        service_url=calling.homes.base_url + SERVICE,
    )
    assert {finding.state for finding in await check_calls(settings)} == {State.OK}


async def test_what_is_wrong_is_said(calling_settings: Settings, livekit: PlayedLiveKit) -> None:
    livekit.is_broken = True
    api, *ways = await check_calls(with_calls(calling_settings, service_url="http://127.0.0.1:9"))
    assert api.state is State.FAIL
    assert "500 broken" in api.message
    assert {finding.state for finding in ways} == {State.WARN}
    settings = with_calls(calling_settings, livekit_api_url="http://127.0.0.1:9")
    api, *_ = await check_calls(settings)
    assert "Connection refused" in api.message


async def test_the_secret_is_not_for_others(calling_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(0o644)
    settings = with_calls(calling_settings, api_secret_file=str(file))
    warning, *_ = await check_calls(settings)
    assert (warning.state, "chmod 600" in warning.message) == (State.WARN, True)
    file.chmod(0o600)
    assert "chmod" not in (await check_calls(settings))[0].message
