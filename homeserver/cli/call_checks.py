"""The checks of `hearth doctor` for calls: LiveKit, and the ways to it and to its tokens."""

import asyncio
import stat
from pathlib import Path

from homeserver.cli.finding import Finding, State
from homeserver.cli.network_checks import fetch, is_local
from homeserver.clock import system_clock
from homeserver.config.settings import Settings

SUBJECT = "calls"


async def check_calls(settings: Settings) -> list[Finding]:
    """LiveKit knows the key, and clients find LiveKit and its tokens where they are told to."""
    if not settings.calls.livekit_url:
        message = "No LiveKit server is configured; there are no group calls."
        return [Finding(SUBJECT, State.OK, message)]
    found = [await check_livekit(settings)]
    ways = (check_livekit_url, check_service_url)
    found += await asyncio.gather(*(asyncio.to_thread(check, settings) for check in ways))
    return [*check_secret_file(settings), *found]


def check_secret_file(settings: Settings) -> list[Finding]:
    """The file with the secret is for the server alone."""
    file = settings.calls.api_secret_file
    if not file or not Path(file).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    return [Finding(SUBJECT, State.WARN, f"Others can read {file}; run `chmod 600 {file}`.")]


async def check_livekit(settings: Settings) -> Finding:
    """LiveKit's API answers, and knows the key."""
    from homeserver.calls.livekit import LiveKit, LiveKitFailed
    from homeserver.calls.signed_tokens import ApiKey

    calls = settings.calls
    key = ApiKey(calls.api_key, calls.api_secret)
    livekit = LiveKit(calls.livekit_api_url, key, system_clock)
    try:
        await livekit.is_in_room("hearth doctor", "nobody")
    except LiveKitFailed as error:
        message = f"LiveKit at {calls.livekit_api_url} cannot be used: {error.reason}."
        advice = " Start it, or compare the section [calls] with its configuration."
        return Finding(SUBJECT, State.FAIL, message + advice)
    finally:
        await livekit.close()
    message = f"LiveKit at {calls.livekit_api_url} answers, and knows the key."
    return Finding(SUBJECT, State.OK, message)


def check_livekit_url(settings: Settings) -> Finding:
    """Clients find LiveKit."""
    url = settings.calls.livekit_url
    try:
        # LiveKit answers so who connects without a token; nothing else of it needs to be public.
        fetch(f"http{url.removeprefix('ws').rstrip('/')}/rtc/validate", settings, 401)
    except OSError as error:
        message = f"Clients do not find LiveKit at {url}: {error}. Check the reverse proxy."
        return Finding(SUBJECT, _failed(url), message)
    return Finding(SUBJECT, State.OK, f"Clients find LiveKit at {url}.")


def check_service_url(settings: Settings) -> Finding:
    """Clients find the token service of a server that runs."""
    url = settings.calls.service_url
    try:
        fetch(f"{url}/healthz", settings)
    except OSError as error:
        message = f"Clients are given no tokens at {url}: {error}."
        advice = " Start the server, or check the reverse proxy: it leads to /livekit/jwt here."
        return Finding(SUBJECT, _failed(url), message + advice)
    return Finding(SUBJECT, State.OK, f"Clients are given tokens at {url}.")


def _failed(url: str) -> State:
    host = url.partition("://")[2].partition("/")[0]
    return State.WARN if is_local(host) else State.FAIL
