"""The token service: who is given what by which proof."""

import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from homeserver.app import running
from homeserver.calls.livekit_names import device_identity, room_name
from homeserver.config.sections.limits import Limits
from homeserver.config.settings import Settings
from tests.homeserver.calls.conftest import (
    SLOT,
    CallingHomes,
    openid_of,
    room_request,
    slot_request,
)
from tests.homeserver.calls.played_livekit import KEY_NAME, SERVICE, URL, opened
from tests.homeserver.conftest import Client, Homes

PATHS = ("get_token", "sfu/get", "delegate_delayed_leave", "sfu_webhook", "healthz")


async def test_a_slot_is_found_by_a_token_that_names_nobody(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    answer = (await calling.service("get_token", await slot_request(alice, room_id))).ok()
    assert answer["url"] == URL
    claims = opened(answer["jwt"])
    now_s = time.time()
    identity = device_identity(alice.user_id, alice.device_id, "member")
    assert claims["iss"] == KEY_NAME
    assert claims["sub"] == claims["identity"] == identity
    assert claims["nbf"] <= now_s < claims["exp"] <= now_s + 3_600
    assert claims["video"] == {
        "room": room_name(room_id, SLOT),
        "roomJoin": True,
        "canPublish": True,
        "canSubscribe": True,
        "canUpdateOwnMetadata": True,
    }


async def test_a_room_is_found_by_a_token_with_the_users_name(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    answer = (await calling.service("sfu/get", await room_request(alice, room_id))).ok()
    claims = opened(answer["jwt"])
    assert claims["sub"] == f"{alice.user_id}:{alice.device_id}"
    assert claims["video"]["room"] == room_name(room_id, SLOT)


async def test_the_livekit_room_is_there_before_the_answer(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    (await calling.service("sfu/get", await room_request(alice, room_id))).ok()
    assert calling.livekit.rooms == [
        {
            "name": room_name(room_id, SLOT),
            "empty_timeout": 300,
            "departure_timeout": 20,
            "max_participants": 0,
        }
    ]


async def test_without_livekit_there_is_a_clear_error_and_everything_else(
    calling: CallingHomes,
) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    calling.livekit.is_broken = True
    answer = await calling.service("sfu/get", await room_request(alice, room_id))
    body = answer.refused(500, "M_UNKNOWN")
    assert body["error"] == "Unable to create room on SFU"
    await alice.send(room_id, "never mind")


async def test_a_token_that_was_given_to_nobody_is_refused(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    openid = {**await openid_of(alice), "access_token": "made up"}
    for answer in (
        await calling.service("sfu/get", await room_request(alice, room_id, openid_token=openid)),
        await calling.service("get_token", await slot_request(alice, room_id, openid_token=openid)),
    ):
        body = answer.refused(401, "M_UNAUTHORIZED")
        assert body["error"] == "The request could not be authorised."
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_token_that_has_expired_is_refused(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    request = await room_request(alice, await alice.create_room())
    db = calling.homes.services.db
    await db.execute("UPDATE short_lived_tokens SET expires_ts = $1", int(time.time() * 1000) - 1)
    (await calling.service("sfu/get", request)).refused(401, "M_UNAUTHORIZED")


async def test_an_access_token_is_no_proof(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    openid = {**await openid_of(alice), "access_token": alice.token}
    request = await room_request(alice, await alice.create_room(), openid_token=openid)
    (await calling.service("sfu/get", request)).refused(401, "M_UNAUTHORIZED")


async def test_nobody_can_be_somebody_else(calling: CallingHomes) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room()
    member = {"id": "m", "claimed_user_id": alice.user_id, "claimed_device_id": "D"}
    request = await slot_request(bob, room_id, member=member)
    (await calling.service("get_token", request)).refused(401, "M_UNAUTHORIZED")


@pytest.mark.parametrize("server", ["elsewhere.test", "no server", "test:8448", "127.0.0.1"])
async def test_a_token_of_a_server_that_cannot_be_asked_is_refused(
    calling: CallingHomes, server: str
) -> None:
    alice = await calling.user("alice")
    openid = {**await openid_of(alice), "matrix_server_name": server}
    request = await room_request(alice, await alice.create_room(), openid_token=openid)
    (await calling.service("sfu/get", request)).refused(401, "M_UNAUTHORIZED")


async def test_our_users_are_given_tokens_for_rooms_that_they_are_in(
    calling: CallingHomes,
) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id = await alice.create_room()
    (await calling.service("sfu/get", await room_request(bob, room_id))).refused(403, "M_FORBIDDEN")
    request = await slot_request(bob, room_id)
    (await calling.service("get_token", request)).refused(403, "M_FORBIDDEN")
    (await calling.service("sfu/get", await room_request(alice, "!made:up"))).refused(
        403, "M_FORBIDDEN"
    )
    assert not calling.livekit.rooms


async def test_memberships_need_not_be_asked_for(calling_settings: Settings) -> None:
    calls = replace(calling_settings.calls, membership_check="none")
    async with (
        running(replace(calling_settings, calls=calls)) as server,
        aiohttp.ClientSession() as session,
    ):
        alice = await Homes(server, session).user("alice")
        request = await room_request(alice, "!elsewhere:far")
        (await alice.post(f"{SERVICE}/sfu/get", request)).ok()


async def test_what_cannot_be_read_is_told_as_clients_know_it(calling: CallingHomes) -> None:
    for path in PATHS[:3]:
        nobody = calling.homes.nobody()
        answer = await nobody.request("POST", f"{SERVICE}/{path}", raw=b"{")
        assert answer.refused(400, "M_NOT_JSON")["error"] == "Error reading request"
        answer = await nobody.request("POST", f"{SERVICE}/{path}", raw=b'{"more": 1}')
        answer.refused(400, "M_NOT_JSON")
        (await calling.service(path, {})).refused(400, "M_BAD_JSON")


async def test_a_browser_may_ask(calling: CallingHomes) -> None:
    for path in PATHS[:3]:
        url = f"{calling.homes.base_url}{SERVICE}/{path}"
        async with calling.session.options(url) as response:
            assert response.ok
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Content-Type" in response.headers["Access-Control-Allow-Headers"]
        assert (await calling.homes.nobody().get(f"{SERVICE}/{path}")).status == 405


async def test_the_service_says_that_it_is_there(calling: CallingHomes) -> None:
    answer = await calling.homes.nobody().get(f"{SERVICE}/healthz")
    assert (answer.status, answer.body) == (200, None)


async def test_forged_webhooks_are_refused(calling: CallingHomes) -> None:
    (await calling.tell("participant_left", "r", "i")).ok()
    for changes in (
        {"secret": "another secret of some length....."},
        {"sha256": "AAAA"},
        {"iss": "another"},
        {"exp": 1},
    ):
        answer = await calling.tell("participant_left", "r", "i", **changes)
        answer.refused(401, "M_UNAUTHORIZED")
    nobody = calling.homes.nobody()
    (await nobody.post(f"{SERVICE}/sfu_webhook")).refused(401, "M_UNAUTHORIZED")


async def test_who_asks_too_often_has_to_wait(calling_settings: Settings) -> None:
    limits = replace(Limits(), call=replace(Limits().call, per_second=0, burst=2))
    async with (
        running(replace(calling_settings, limits=limits)) as server,
        aiohttp.ClientSession() as session,
    ):
        nobody = Homes(server, session).nobody()
        statuses = [(await nobody.post(f"{SERVICE}/{path}")).status for path in PATHS[:3]]
        assert statuses == [400, 400, 429]


@pytest.mark.parametrize("path", [*PATHS[:3], "sfu_webhook"])
async def test_without_livekit_there_is_no_service(homes: Homes, path: str) -> None:
    answer = await homes.nobody().post(f"{SERVICE}/{path}")
    answer.refused(404, "M_UNRECOGNIZED")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def told_of_calls(client: Client) -> tuple[Any, Any, Any]:
    """What the well-known file, the endpoint for it and the list of features say."""
    told = (await client.get("/.well-known/matrix/client")).ok()
    versions = (await client.get("versions")).ok()
    return (
        told.get("org.matrix.msc4143.rtc_foci"),
        await client.get("unstable/org.matrix.msc4143/rtc/transports"),
        versions["unstable_features"]["org.matrix.msc4143"],
    )


async def test_clients_are_told_of_the_service(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    service_url = f"https://hearth.test{SERVICE}"
    focus = {"type": "livekit", "livekit_service_url": service_url, "url": URL}
    foci, answer, announced = await told_of_calls(alice)
    assert foci == [focus]
    assert announced is True
    assert answer.ok() == {"rtc_transports": [focus]}
    assert (await alice.get("v1/rtc/transports")).ok() == answer.body
    nobody = calling.homes.nobody()
    (await nobody.get("v1/rtc/transports")).refused(401, "M_MISSING_TOKEN")


async def test_clients_are_told_of_no_service_where_there_is_none(homes: Homes) -> None:
    foci, answer, announced = await told_of_calls(await homes.user())
    assert foci is None
    assert announced is False
    answer.refused(404, "M_UNRECOGNIZED")
