"""What a server is told that lets its first user into a room of ours."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from federation.protocol.canonical_json import decode
from federation.protocol.event_id import event_id_of
from federation.protocol.room_versions import get_room_version
from tests.federation.played import V1, PlayedServer
from tests.federation.sides import Side
from tests.homeserver.conftest import Client

VERSION = get_room_version("11")
MEMBER = "m.room.member"


async def room_of_eight(home: Side, **options: Any) -> tuple[Client, str]:
    alice = await home.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="11", **options)
    for n in range(7):
        await (await home.user(f"user{n}")).join(room_id)
    return alice, room_id


async def enter(home: Side, server: PlayedServer, room_id: str, **query: Any) -> Any:
    path = f"{V1}make_join/{room_id}/{server.user('zoe')}"
    template = (await server.ask(home, "GET", path, ver=["11"])).ok()
    join = server.complete(template["event"], "11")
    path = f"/_matrix/federation/v2/send_join/{room_id}/{join.event_id}"
    return (await server.ask(home, "PUT", path, decode(join.encoded), **query)).ok()


def ids_of(pdus: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event_id_of(pdu, VERSION) for pdu in pdus]


def vouching(pdus: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> set[str]:
    """The auth chain of events, all of which are known."""
    found: set[str] = set()
    pending = [i for pdu in pdus for i in pdu["auth_events"]]
    while pending:
        event_id = pending.pop()
        if event_id not in found:
            found.add(event_id)
            pending += known[event_id]["auth_events"]
    return found


async def test_the_state_before_the_join_comes_with_just_its_auth_chain(
    home: Side, played: PlayedServer
) -> None:
    alice, room_id = await room_of_eight(home)
    state = (await alice.get(f"v3/rooms/{quote(room_id)}/state")).ok()
    answer = await enter(home, played, room_id)
    assert sorted(ids_of(answer["state"])) == sorted(event["event_id"] for event in state)
    known = {i: pdu for part in ("state", "auth_chain") for i, pdu in by_id(answer[part])}
    chain = ids_of(answer["auth_chain"])
    assert len(chain) == len(set(chain))
    assert set(chain) == vouching([answer["event"], *answer["state"]], known)
    assert sum(pdu["type"] == MEMBER for pdu in answer["auth_chain"]) == 1
    assert (answer["members_omitted"], "servers_in_room" in answer) == (False, False)


def by_id(pdus: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(zip(ids_of(pdus), pdus, strict=True))


async def test_members_may_be_left_out_but_for_those_who_name_the_room(
    home: Side, played: PlayedServer, other_played: PlayedServer
) -> None:
    alice, room_id = await room_of_eight(home)
    await other_played.join(home, room_id, "rem")
    answer = await enter(home, played, room_id, omit_members="true")
    members = [pdu["state_key"] for pdu in answer["state"] if pdu["type"] == MEMBER]
    assert len(members) == 5
    assert members[0] == alice.user_id
    assert answer["members_omitted"] is True
    assert set(answer["servers_in_room"]) == {home.name, other_played.name}
    assert not set(ids_of(answer["state"])) & set(ids_of(answer["auth_chain"]))
    known = {i: pdu for part in ("state", "auth_chain") for i, pdu in by_id(answer[part])}
    assert vouching([answer["event"], *answer["state"]], known) <= known.keys()


async def test_a_room_with_a_name_needs_no_members_to_name_it(
    home: Side, played: PlayedServer
) -> None:
    _, room_id = await room_of_eight(home, name="Named")
    answer = await enter(home, played, room_id, omit_members="true")
    assert not [pdu for pdu in answer["state"] if pdu["type"] == MEMBER]
    types = {pdu["type"] for pdu in answer["state"]}
    assert {"m.room.create", "m.room.name", "m.room.power_levels"} <= types


async def test_the_same_join_again_is_answered_the_same(home: Side, played: PlayedServer) -> None:
    _, room_id = await room_of_eight(home)
    path = f"{V1}make_join/{room_id}/{played.user('zoe')}"
    template = (await played.ask(home, "GET", path, ver=["11"])).ok()
    join = played.complete(template["event"], "11")
    path = f"/_matrix/federation/v2/send_join/{room_id}/{join.event_id}"
    fields = decode(join.encoded)
    first = (await played.ask(home, "PUT", path, fields)).ok()
    again = (await played.ask(home, "PUT", path, fields)).ok()
    for part in ("state", "auth_chain"):
        assert sorted(ids_of(again[part])) == sorted(ids_of(first[part]))
