"""Invites between our server and one that the test plays."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from federation.protocol.canonical_json import decode
from federation.protocol.identifiers import UserId
from federation.protocol.pdu import Pdu
from tests.federation.played import PlayedServer
from tests.federation.sides import Side

V1_INVITE = "/_matrix/federation/v1/invite/"
V2_INVITE = "/_matrix/federation/v2/invite/"
VERSION = "12"


def event(server: PlayedServer, event_type: str, **fields: Any) -> Pdu:
    common = {
        "type": event_type,
        "sender": server.user("rem"),
        "state_key": "",
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
        "content": {},
    }
    return server.complete({**common, **fields}, VERSION)


async def invite(
    home: Side, server: PlayedServer, room_id: str, target: UserId, shown: Sequence[Any]
) -> Any:
    content = {"membership": "invite"}
    pdu = event(server, "m.room.member", room_id=room_id, state_key=target, content=content)
    body = {
        "event": decode(pdu.encoded),
        "room_version": VERSION,
        "invite_room_state": list(shown),
    }
    return await server.ask(home, "PUT", f"{V2_INVITE}{room_id}/{pdu.event_id}", body)


@pytest.mark.parametrize("wrong", ["missing", "stripped", "forged", "of another room"])
async def test_what_is_told_of_a_room_must_be_its_events(
    home: Side, played: PlayedServer, wrong: str
) -> None:
    alice = await home.user("alice")
    create = event(played, "m.room.create", content={"room_version": VERSION})
    name = event(played, "m.room.name", room_id=create.room_id, content={"name": "Far"})
    good = [decode(create.encoded), decode(name.encoded)]
    bad: dict[str, list[Mapping[str, Any]]] = {
        "missing": good[1:],
        "stripped": [good[0], {"type": "m.room.name", "state_key": "", "content": {}}],
        "forged": [good[0], {**good[1], "content": {"name": "Near"}, "depth": 7}],
        "of another room": [
            *good,
            decode(event(played, "m.room.topic", room_id="!" + "o" * 43).encoded),
        ],
    }
    target = UserId(alice.user_id)
    answer = await invite(home, played, create.room_id, target, bad[wrong])
    answer.refused(400, "M_INVALID_PARAM")
    assert "rooms" not in await alice.sync()
    (await invite(home, played, create.room_id, target, good)).ok()
    shown = (await alice.sync())["rooms"]["invite"][create.room_id]["invite_state"]["events"]
    assert {"m.room.create", "m.room.name", "m.room.member"} == {e["type"] for e in shown}


async def test_numbers_beyond_64_bits_in_what_is_told_of_an_old_room_are_taken(
    home: Side, played: PlayedServer
) -> None:
    alice = await home.user("alice")
    room_id = f"!old:{played.name}"
    fields = {
        "type": "m.room.member",
        "sender": played.user("rem"),
        "state_key": alice.user_id,
        "room_id": room_id,
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
        "content": {"membership": "invite"},
    }
    pdu = played.complete(fields, "5")
    name = {"type": "m.room.name", "state_key": "", "sender": played.user("rem")}
    body = {
        "event": decode(pdu.encoded),
        "room_version": "5",
        "invite_room_state": [{**name, "content": {"name": "Old", "odd": 10**30}}],
    }
    (await played.ask(home, "PUT", f"{V2_INVITE}{room_id}/{pdu.event_id}", body)).ok()
    shown = (await alice.sync())["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert {"name": "Old", "odd": 1e30} in [event["content"] for event in shown]


async def test_servers_of_old_are_invited_in_the_old_way(home: Side, played: PlayedServer) -> None:
    alice = await home.user("alice")
    room_id = await alice.create_room(room_version="1", name="Old")
    invited: list[Mapping[str, Any]] = []

    def sign(body: Mapping[str, Any]) -> Any:
        invited.append(body)
        return [200, {"event": {k: v for k, v in body.items() if k != "unsigned"}}]

    played.answer_below(V1_INVITE, sign)
    await alice.invite(room_id, played.user("rem"))
    assert len(played.asked(V2_INVITE)) == 1
    shown = invited[0]["unsigned"]["invite_room_state"]
    assert {"m.room.create", "m.room.name"} <= {told["type"] for told in shown}
    member = f"v3/rooms/{quote(room_id)}/state/m.room.member/{quote(played.user('rem'))}"
    assert (await alice.get(member)).ok()["membership"] == "invite"
