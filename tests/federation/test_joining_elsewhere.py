"""Into rooms that others hold: which servers are asked, and what becomes of what they say."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from storage.cluster import Cluster
from tests.federation.certificates import Authority
from tests.federation.played import PlayedServer
from tests.federation.sides import Side, room_of, side, until

MAKE_JOIN = "/_matrix/federation/v1/make_join/"
NOWHERE = "127.0.0.1:1"


@pytest_asyncio.fixture
async def there(
    cluster: Cluster, authority: Authority, tmp_path: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Side]:
    async with side(cluster, authority, tmp_path / "there", session) as made:
        yield made


def refuse(server: PlayedServer, status: int, errcode: str, **more: Any) -> None:
    """Have a server refuse all joins."""
    body = {"errcode": errcode, "error": f"{errcode} it is", **more}

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(body, status=status)

    server.peer.fallback = handle


@pytest.mark.parametrize(
    ("status", "errcode"),
    [(400, "M_UNABLE_TO_AUTHORISE_JOIN"), (500, "M_UNKNOWN"), (403, "M_FORBIDDEN"), (404, "x")],
)
async def test_the_next_server_is_asked_when_one_does_not_help(
    home: Side, there: Side, played: PlayedServer, status: int, errcode: str
) -> None:
    alice, bob = await home.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="public_chat")
    refuse(played, status, errcode)
    path = f"v3/join/{quote(room_id)}?via={NOWHERE}&via={played.name}&via={there.name}"
    assert (await alice.post(path)).ok() == {"room_id": room_id}
    assert len(played.asked(MAKE_JOIN)) == 1


async def test_only_the_servers_that_are_named_are_asked(
    home: Side, there: Side, played: PlayedServer
) -> None:
    alice, bob = await home.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="public_chat", room_version="11")
    refuse(played, 400, "M_UNABLE_TO_GRANT_JOIN")
    answer = await alice.post(f"v3/join/{quote(room_id)}", via=played.name)
    answer.refused(403, "M_FORBIDDEN")
    (await alice.post(f"v3/join/{quote(room_id)}")).ok()


async def test_the_most_telling_refusal_is_what_the_user_hears(
    home: Side, played: PlayedServer, other_played: PlayedServer
) -> None:
    alice = await home.user("alice")
    refuse(played, 403, "M_FORBIDDEN")
    refuse(other_played, 404, "M_NOT_FOUND")
    path = f"v3/join/{quote('!room:x')}?via={played.name}&via={other_played.name}&via={NOWHERE}"
    told = (await alice.post(path)).refused(403, "M_FORBIDDEN")
    assert told["error"] == "M_FORBIDDEN it is"
    assert len(other_played.asked(MAKE_JOIN)) == 1
    refuse(played, 400, "M_INCOMPATIBLE_ROOM_VERSION", room_version="7000")
    told = (await alice.post(path)).refused(400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert told["room_version"] == "7000"
    assert len(other_played.asked(MAKE_JOIN)) == 1


async def test_an_invited_user_joins_by_way_of_the_inviters_server(home: Side, there: Side) -> None:
    alice, bob = await home.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="private_chat", room_version="12")
    await bob.invite(room_id, alice.user_id)
    await until(alice, lambda answer: answer.get("rooms", {}).get("invite", {}).get(room_id))
    (await alice.post(f"v3/join/{quote(room_id)}")).ok()
    (await alice.post(f"v3/rooms/{quote(room_id)}/leave")).ok()


async def test_whoever_is_in_a_room_follows_it_to_its_successor(home: Side, there: Side) -> None:
    alice, bob = await home.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="public_chat", room_version="11")
    await alice.join(room_id)
    upgrade = await bob.post(f"v3/rooms/{quote(room_id)}/upgrade", {"new_version": "12"})
    new_id = upgrade.ok()["replacement_room"]

    def is_left_behind(answer: Any) -> bool:
        room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
        events = room.get("timeline", {}).get("events", ())
        return any(event["type"] == "m.room.tombstone" for event in events)

    await until(alice, is_left_behind)
    assert (await alice.post(f"v3/join/{quote(new_id)}")).ok() == {"room_id": new_id}
    create = (await alice.get(f"v3/rooms/{quote(new_id)}/state/m.room.create")).ok()
    assert create["predecessor"]["room_id"] == room_id


async def test_only_the_inviter_is_believed_to_take_an_invite_back(home: Side, there: Side) -> None:
    alice = await home.user("alice")
    bob, carol = await there.user("bob"), await there.user("carol")
    shared = await bob.create_room(preset="public_chat", room_version="11")
    await alice.join(shared)
    room_id = await bob.create_room(preset="public_chat", room_version="12")
    await carol.join(room_id)
    await bob.set_state(room_id, "m.room.power_levels", {"users": {carol.user_id: 50}})

    await carol.invite(room_id, alice.user_id)
    await until(alice, lambda answer: answer.get("rooms", {}).get("invite", {}).get(room_id))
    kick = {"user_id": alice.user_id}
    (await bob.post(f"v3/rooms/{quote(room_id)}/kick", kick)).ok()
    event_id = await bob.send(shared, "all told")

    def is_told(answer: Any) -> bool:
        events = room_of(answer, shared).get("timeline", {}).get("events", ())
        return any(event["event_id"] == event_id for event in events)

    await until(alice, is_told)
    assert room_id in (await alice.sync())["rooms"]["invite"]
    await carol.invite(room_id, alice.user_id)
    (await carol.post(f"v3/rooms/{quote(room_id)}/kick", kick)).ok()
    await until(alice, lambda answer: answer.get("rooms", {}).get("leave", {}).get(room_id))


async def test_a_server_that_failed_lately_is_asked_when_no_other_helps(
    home: Side, there: Side, played: PlayedServer
) -> None:
    alice, bob = await home.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="public_chat", room_version="11")
    await there.stop()
    path = f"v3/join/{quote(room_id)}?via={there.name}&via={played.name}"
    refuse(played, 404, "M_NOT_FOUND")
    (await alice.post(path)).refused(404, "M_NOT_FOUND")
    # Our server is told nothing of the other's return before the user asks.
    played.peer.seen.clear()
    await there.start()
    (await alice.post(path)).ok()
    assert len(played.asked(MAKE_JOIN)) <= 1
