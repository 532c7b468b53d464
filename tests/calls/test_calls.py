"""Group calls with a real LiveKit: who gets in, what they hear, what happens when they vanish."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio

from tests.calls.conftest import (
    SERVICE,
    SFU,
    Participant,
    Scene,
    ask_service,
    openid_of,
)
from tests.calls.livekit_server import KEY
from tests.federation.links.far_server import FarServer
from tests.homeserver.calls.delaying import Listener, delay_state
from tests.homeserver.conftest import Client

pytestmark = pytest.mark.calls

SLOT = "m.call#ROOM"
MEMBER = "org.matrix.msc3401.call.member"
UNSTABLE = "unstable/io.element.msc4195/rtc/livekit"
HOUR_MS = 3_600_000
GONE_WITHIN_S = 120
"""LiveKit waits a while for somebody whose connection is lost."""


class Users:
    """Two users of the first homeserver, one of the second, and a room that all of them are in."""

    def __init__(self, alice: Client, bob: Client, zoe: Client, room_id: str) -> None:
        self.alice, self.bob, self.zoe, self.room_id = alice, bob, zoe, room_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def users(scene: Scene) -> Users:
    alice, bob = await scene.near.user("alice"), await scene.near.user("bob")
    zoe = await scene.far.user("zoe")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    (await zoe.post(f"v3/join/{quote(room_id)}", {}, server_name=scene.near.name)).ok()
    return Users(alice, bob, zoe, room_id)


async def slot_request(client: Client, room_id: str, **changes: Any) -> dict[str, Any]:
    member = {
        "id": "member",
        "claimed_user_id": client.user_id,
        "claimed_device_id": client.device_id,
    }
    openid = await openid_of(client)
    return {
        "room_id": room_id,
        "slot_id": SLOT,
        "openid_token": openid,
        "member": member,
        **changes,
    }


async def test_users_of_two_homeservers_talk_and_hear_each_other(
    scene: Scene, users: Users
) -> None:
    alice, bob, zoe, room_id = users.alice, users.bob, users.zoe, users.room_id
    by_slot = (await ask_service(alice, "get_token", await slot_request(alice, room_id))).ok()
    assert by_slot["url"] == SFU
    openid = await openid_of(bob)
    room_request = {"room": room_id, "openid_token": openid, "device_id": bob.device_id}
    by_room = (await ask_service(bob, "sfu/get", room_request)).ok()
    # The service is asked at the first homeserver, which asks the second one who it is.
    by_openid = (await ask_service(alice, "get_token", await slot_request(zoe, room_id))).ok()
    callers = [
        await scene.call(by_slot),
        await scene.call(by_room),
        await scene.call(by_openid, end=1),
    ]
    names = [(await caller.hears("connected"))["connected"] for caller in callers]
    assert names[1] == f"{bob.user_id}:{bob.device_id}"
    assert len(set(names)) == 3
    for caller in callers:
        await caller.hears("playing")
    for caller, name in zip(callers, names, strict=True):
        for other in callers:
            if other is not caller:
                assert (await other.hears("heard", name))["tone_hz"] == pytest.approx(440, abs=5)
        await caller.tell(f"hello from {name}")
        for other in callers:
            if other is not caller:
                assert (await other.hears("told", f"hello from {name}"))["by"] == name
    for caller in callers:
        await caller.vanish()


async def test_a_homeserver_gets_its_users_tokens_of_another_to_listen(
    scene: Scene, users: Users
) -> None:
    request = {"url": SFU, "room_id": users.room_id, "slot_id": SLOT, "member_id": "a"}
    own = (await users.alice.post(f"{UNSTABLE}/get_token", request)).ok()
    speaker = await scene.call(own)
    name = (await speaker.hears("connected"))["connected"]
    elsewhere = {**request, "server_name": scene.near.name, "member_id": "z"}
    invited = (await users.zoe.post(f"{UNSTABLE}/get_token", elsewhere)).ok()
    listener = await scene.call(invited, end=1)
    await listener.hears("connected")
    assert (await listener.hears("heard", name))["tone_hz"] == pytest.approx(440, abs=5)
    assert "silent" in await listener.hears("silent")
    for participant in (speaker, listener):
        await participant.vanish()


async def test_strangers_and_expired_tokens_and_wrong_rooms_are_refused(
    scene: Scene, users: Users
) -> None:
    stranger = await scene.near.user("mallory")
    answer = await ask_service(stranger, "get_token", await slot_request(stranger, users.room_id))
    answer.refused(403, "M_FORBIDDEN")
    request = {"url": SFU, "room_id": users.room_id, "slot_id": SLOT, "member_id": "m"}
    (await stranger.post(f"{UNSTABLE}/get_token", request)).refused(403, "M_FORBIDDEN")
    for client, server in ((users.alice, scene.near), (users.zoe, scene.far)):
        request = await slot_request(client, users.room_id)
        await let_tokens_expire(server)
        (await ask_service(users.alice, "get_token", request)).refused(401, "M_UNAUTHORIZED")


async def let_tokens_expire(server: FarServer) -> None:
    """Have all OpenID tokens of a server be too old."""
    connection = await asyncpg.connect(server.database_url)
    await connection.execute("UPDATE short_lived_tokens SET expires_ts = 1")
    await connection.close()


async def test_users_of_others_cannot_begin_a_call(scene: Scene, users: Users) -> None:
    # A room that nobody of ours has called in: the token is good, but there is no such room.
    request = await slot_request(users.zoe, "!elsewhere:far")
    invited = (await ask_service(users.alice, "get_token", request)).ok()
    caller = await scene.call(invited, end=1)
    await caller.hears("refused")


@pytest.mark.parametrize("changed", ["signature", "room", "expiry"])
async def test_livekit_takes_no_token_that_is_changed(
    scene: Scene, users: Users, changed: str
) -> None:
    request = await slot_request(users.alice, users.room_id)
    given = (await ask_service(users.alice, "get_token", request)).ok()
    header, payload, signature = given["jwt"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if changed == "room":
        claims["video"]["room"] = "another"
    elif changed == "expiry":
        claims["exp"] = claims["nbf"] = 1
    else:
        signature = signature[::-1]
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    caller = await scene.call({"jwt": f"{header}.{payload}.{signature}"})
    await caller.hears("refused")


async def enter_with_leave(scene: Scene, users: Users) -> tuple[Participant, Listener]:
    """Have alice in the call with a leave that is looked after."""
    alice, room_id = users.alice, users.room_id
    await alice.set_state(
        room_id, MEMBER, {"application": "m.call"}, place := f"_{alice.user_id}_c"
    )
    delay_id = await delay_state(alice, room_id, MEMBER, {}, HOUR_MS, place)
    listener = await Listener.begin(users.bob, room_id)
    delay = {"delay_id": delay_id, "delay_timeout": HOUR_MS}
    request = await slot_request(alice, room_id, **delay)
    caller = await scene.call((await ask_service(alice, "get_token", request)).ok())
    await caller.hears("playing")
    return caller, listener


async def test_who_vanishes_from_the_call_leaves_it(scene: Scene, users: Users) -> None:
    caller, listener = await enter_with_leave(scene, users)
    path = f"v1/delayed_events/{quote(await scheduled_id(users.alice))}"
    before = (await users.alice.get(path)).ok()["running_since"]
    await caller.vanish()
    (event,) = await listener.hear(within_s=GONE_WITHIN_S)
    assert (event["type"], event["content"]) == (MEMBER, {})
    assert (await users.alice.get(path)).ok()["running_since"] >= before


async def scheduled_id(client: Client) -> str:
    (event,) = (await client.get("v1/delayed_events")).ok()["delayed_events"]
    return str(event["delay_id"])


async def test_who_is_banned_from_the_room_is_cut_off_and_stays_so(
    scene: Scene, users: Users
) -> None:
    alice, mallory = users.alice, await scene.near.user("banned")
    await mallory.join(users.room_id)
    request = {"url": SFU, "room_id": users.room_id, "slot_id": SLOT, "member_id": "m"}
    listener = await scene.call((await alice.post(f"{UNSTABLE}/get_token", request)).ok())
    await listener.hears("playing")
    token = (await mallory.post(f"{UNSTABLE}/get_token", request)).ok()
    caller = await scene.call(token)
    name = (await caller.hears("connected"))["connected"]
    await listener.hears("heard", name)
    (await alice.post(f"v3/rooms/{users.room_id}/ban", {"user_id": mallory.user_id})).ok()
    await listener.hears("gone", name)
    # The token has not expired; LiveKit lets it in, and hearth has it thrown out.
    again = await scene.call(token)
    await again.hears("removed")
    for participant in (listener, caller, again):
        await participant.vanish()


async def test_forged_webhooks_end_nothing(scene: Scene, users: Users) -> None:
    body = b'{"event": "participant_left", "room": {"name": "r"}, "participant": {"identity": "i"}}'
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    claims = {"iss": KEY, "nbf": int(time.time()), "exp": int(time.time()) + 60, "sha256": digest}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    mac = hmac.digest(b"guessed", ".".join(parts).encode(), hashlib.sha256)
    parts.append(base64.urlsafe_b64encode(mac).decode().rstrip("="))
    users.alice.token, kept = ".".join(parts), users.alice.token
    try:
        answer = await users.alice.request("POST", f"{SERVICE}/sfu_webhook", raw=body)
    finally:
        users.alice.token = kept
    answer.refused(401, "M_UNAUTHORIZED")


async def test_without_livekit_there_is_a_clear_error_and_everything_else(
    scene: Scene, users: Users
) -> None:
    # Beside the second homeserver there never was one.
    request = {"url": f"ws://{scene.far.name[:-5]}:7880", "room_id": users.room_id}
    request |= {"slot_id": SLOT, "member_id": "z"}
    answer = await users.zoe.post(f"{UNSTABLE}/get_token", request)
    answer.refused(500, "M_UNKNOWN")
    await scene.livekit.stop()
    slot = await slot_request(users.alice, users.room_id)
    (await ask_service(users.alice, "get_token", slot)).refused(500, "M_UNKNOWN")
    listener = await Listener.begin(users.zoe, users.room_id)
    await users.alice.send(users.room_id, "then let us write")
    assert await listener.texts(1) == ["then let us write"]
    await scene.livekit.start()
    caller = await scene.call((await ask_service(users.alice, "get_token", slot)).ok())
    await caller.hears("playing")
    await caller.vanish()
