"""Calls across servers: whose users are given tokens, and whose leaves are looked after."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from homeserver.calls.livekit_names import participant_identity, plain_identity, room_name
from tests.federation.played import PlayedServer
from tests.federation.sides import Side
from tests.homeserver.calls.conftest import SLOT
from tests.homeserver.calls.played_livekit import (
    SERVICE,
    URL,
    PlayedLiveKit,
    opened,
    played_livekit,
    tell,
)
from tests.homeserver.conftest import Answer, Client
from tests.patience import PATIENCE_S

USERINFO = "/_matrix/federation/v1/openid/userinfo"
V1 = "/_matrix/federation/v1/rtc/livekit/get_token"
UNSTABLE = "/_matrix/federation/unstable/io.element.msc4195/rtc/livekit/get_token"
CLIENT = "unstable/io.element.msc4195/rtc/livekit/get_token"
WELL_KNOWN = "/.well-known/matrix/client"
DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/id"
HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def livekit() -> AsyncIterator[PlayedLiveKit]:
    async with played_livekit() as made:
        yield made


async def restart(home: Side, livekit: PlayedLiveKit, **changes: Any) -> None:
    """Have the server use LiveKit, with these settings."""
    await home.stop()
    home.settings = replace(home.settings, calls=replace(livekit.settings, **changes))
    await home.start()


def openid_of(played: PlayedServer) -> dict[str, Any]:
    return {
        "access_token": "sesame",
        "token_type": "Bearer",
        "matrix_server_name": played.name,
        "expires_in": 3600,
    }


async def ask_service(home: Side, played: PlayedServer, room_id: str, **changes: Any) -> Answer:
    """Ask the token service as a user of the other server."""
    request = {"room": room_id, "openid_token": openid_of(played), "device_id": "D"}
    return await home.client().post(f"{SERVICE}/sfu/get", request | changes)


async def test_users_of_other_servers_can_join_and_begin_no_calls(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit)
    zoe = played.user("zoe")
    played.answer(USERINFO, lambda _: {"sub": zoe})
    answer = (await ask_service(home, played, "!room:far")).ok()
    claims = opened(answer["jwt"])
    assert claims["sub"] == f"{zoe}:D"
    assert claims["video"]["room"] == room_name("!room:far", SLOT)
    assert livekit.rooms == []
    (asked,) = played.asked(USERINFO)
    assert asked.target == f"{USERINFO}?access_token=sesame"
    assert "Authorization" not in asked.headers


@pytest.mark.parametrize("listed", ["*", "the server"])
async def test_users_of_some_servers_can_begin_calls(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit, listed: str
) -> None:
    await restart(home, livekit, full_access_servers=("*" if listed == "*" else played.name,))
    played.answer(USERINFO, lambda _: {"sub": played.user("zoe")})
    (await ask_service(home, played, "!room:far")).ok()
    assert [room["name"] for room in livekit.rooms] == [room_name("!room:far", SLOT)]


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"errcode": "M_UNKNOWN_TOKEN"}),
        (500, {}),
        {"sub": "@alice:elsewhere.test"},
        {"sub": "zoe"},
        {"sub": 1},
        {},
        [],
    ],
)
async def test_what_their_server_does_not_vouch_for_is_refused(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit, answer: Any
) -> None:
    await restart(home, livekit)
    played.answer(USERINFO, lambda _: answer)
    (await ask_service(home, played, "!room:far")).refused(401, "M_UNAUTHORIZED")


async def test_their_server_is_not_asked_at_addresses_that_are_denied(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    home.settings = replace(
        home.settings, outgoing=replace(home.settings.outgoing, allow_ip_ranges=())
    )
    await restart(home, livekit)
    (await ask_service(home, played, "!room:far")).refused(401, "M_UNAUTHORIZED")
    assert not played.asked(USERINFO)


async def test_their_membership_can_be_asked_for(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit, membership_check="all")
    room_id = await (await home.user("alice")).create_room(preset="public_chat", room_version="11")
    played.answer(USERINFO, lambda _: {"sub": played.user("zoe")})
    (await ask_service(home, played, room_id)).refused(403, "M_FORBIDDEN")
    await played.join(home, room_id, "zoe")
    (await ask_service(home, played, room_id)).ok()


async def test_leaves_are_taken_of_users_with_full_access(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit)
    played.answer(USERINFO, lambda _: {"sub": played.user("zoe")})
    delay = {"delay_id": "id", "delay_timeout": HOUR_MS}
    (await ask_service(home, played, "!room:far", **delay)).refused(400, "M_BAD_JSON")
    member = {"id": "m", "claimed_user_id": played.user("zoe"), "claimed_device_id": "D"}
    request = {
        "room_id": "!room:far",
        "slot_id": SLOT,
        "openid_token": openid_of(played),
        "member": member,
        **delay,
    }
    answer = await home.client().post(f"{SERVICE}/delegate_delayed_leave", request)
    answer.refused(403, "M_FORBIDDEN")


async def test_leaves_of_other_servers_users_go_out_there(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit, full_access_servers=(played.name,))
    assert home.homes is not None
    done: asyncio.Queue[str] = asyncio.Queue()

    def take(what: str) -> Any:
        def answer(body: Mapping[str, Any]) -> Any:
            assert body == {}
            done.put_nowait(what)
            return {}

        return answer

    zoe = played.user("zoe")
    played.answer(USERINFO, lambda _: {"sub": zoe})
    played.answer(WELL_KNOWN, lambda _: {"m.homeserver": {"base_url": f"https://{played.name}/"}})
    for what in ("restart", "send"):
        played.answer(f"{DELAYED}/{what}", take(what))
    key = (room_name("!room:far", SLOT), plain_identity(zoe, "D"))
    livekit.participants.add(key)
    delay = {"delay_id": "id", "delay_timeout": HOUR_MS, "delay_cs_api_url": "https://evil.test"}
    (await ask_service(home, played, "!room:far", **delay)).ok()
    async with asyncio.timeout(PATIENCE_S):
        assert await done.get() == "restart"
        livekit.participants.clear()
        (await tell(home.session, home.homes.base_url, "participant_left", *key)).ok()
        assert await done.get() == "send"


# -- MSC4195 ------------------------------------------------------------------------------------


def request_of(user_id: str, room_id: str, **changes: Any) -> dict[str, Any]:
    request = {"user_id": user_id, "url": URL, "room_id": room_id, "slot_id": SLOT}
    return {**request, "member_id": "m", **changes}


@pytest.mark.parametrize("path", [V1, UNSTABLE])
async def test_members_of_the_room_elsewhere_may_listen_here(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit, path: str
) -> None:
    await restart(home, livekit)
    room_id = await (await home.user("alice")).create_room(preset="public_chat", room_version="11")
    zoe = played.user("zoe")
    request = request_of(zoe, room_id)
    (await played.ask(home, "POST", path, request)).refused(403, "M_FORBIDDEN")
    await played.join(home, room_id, "zoe")
    claims = opened((await played.ask(home, "POST", path, request)).ok()["jwt"])
    assert claims["sub"] == participant_identity(zoe, "m")
    grants = {name: claims["video"][name] for name in ("canPublish", "canSubscribe")}
    assert grants == {"canPublish": False, "canSubscribe": True}
    assert [room["name"] for room in livekit.rooms] == [room_name(room_id, SLOT)]
    other = request_of(zoe, room_id, url="wss://other.test")
    (await played.ask(home, "POST", path, other)).refused(400, "M_INVALID_PARAM")


async def test_servers_ask_for_their_own_users_only(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit)
    alice = await home.user("alice")
    room_id = await alice.create_room()
    request = request_of(alice.user_id, room_id)
    (await played.ask(home, "POST", V1, request)).refused(403, "M_FORBIDDEN")
    (await home.client().post(V1, request)).refused(401, "M_UNAUTHORIZED")


async def test_nobody_has_to_do_with_a_room_that_we_have_left(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit)
    alice = await home.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await played.join(home, room_id, "zoe")
    (await alice.post(f"v3/rooms/{room_id}/leave")).ok()
    request = request_of(played.user("zoe"), room_id)
    (await played.ask(home, "POST", V1, request)).refused(403, "M_FORBIDDEN")


async def test_without_livekit_other_servers_are_told_so(home: Side, played: PlayedServer) -> None:
    request = request_of(played.user("zoe"), "!room:far")
    (await played.ask(home, "POST", V1, request)).refused(404, "M_UNRECOGNIZED")


async def ask_through(home: Side, alice: Client, played: PlayedServer, room_id: str) -> Answer:
    request = {
        "server_name": played.name,
        "url": "wss://sfu.far",
        "room_id": room_id,
        "slot_id": SLOT,
        "member_id": "m",
    }
    return await alice.post(CLIENT, request)


async def test_our_users_are_given_tokens_of_other_servers(
    home: Side, played: PlayedServer, livekit: PlayedLiveKit
) -> None:
    await restart(home, livekit)
    alice = await home.user("alice")
    room_id = await alice.create_room()
    asked: list[Any] = []

    def give(body: Mapping[str, Any]) -> Any:
        asked.append(body)
        return {"jwt": "a token"}

    # It knows the endpoint by its later name.
    played.answer(V1, give)
    assert (await ask_through(home, alice, played, room_id)).ok() == {"jwt": "a token"}
    assert asked == [request_of(alice.user_id, room_id, url="wss://sfu.far")]
    assert livekit.rooms == []
    played.answer(UNSTABLE, give)
    (await ask_through(home, alice, played, room_id)).ok()
    assert len(asked) == 2
    (await ask_through(home, await home.user("bob"), played, room_id)).refused(403, "M_FORBIDDEN")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "status", "errcode"),
    [
        ((403, {"errcode": "M_FORBIDDEN", "error": "secret"}), 403, "M_FORBIDDEN"),
        ((400, {"errcode": "M_INVALID_PARAM", "error": "secret"}), 400, "M_INVALID_PARAM"),
        ((400, {"errcode": "M_BAD_JSON", "error": "secret"}), 502, "M_UNKNOWN"),
        ((500, {"errcode": "M_UNKNOWN", "error": "secret"}), 502, "M_UNKNOWN"),
        ({"token": "secret"}, 502, "M_UNKNOWN"),
    ],
)
async def test_refusals_of_other_servers_are_handed_on_without_details(
    home: Side,
    played: PlayedServer,
    livekit: PlayedLiveKit,
    answer: Any,
    status: int,
    errcode: str,
) -> None:
    await restart(home, livekit)
    alice = await home.user("alice")
    room_id = await alice.create_room()
    played.answer(UNSTABLE, lambda _: answer)
    body = (await ask_through(home, alice, played, room_id)).refused(status, errcode)
    assert "secret" not in body["error"]
