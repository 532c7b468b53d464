"""Trees of spaces with rooms that our server is not in."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tests.federation.played import PlayedServer
from tests.federation.sides import Side
from tests.homeserver.conftest import Client

HIERARCHY = "/_matrix/federation/v1/hierarchy/"


def link(child: str, *via: str) -> dict[str, Any]:
    return {
        "type": "m.space.child",
        "state_key": child,
        "sender": "@rem:far.test",
        "content": {"via": list(via)},
        "origin_server_ts": 5,
    }


def summary(room_id: str, **fields: Any) -> dict[str, Any]:
    shown = {"room_id": room_id, "num_joined_members": 3, "join_rule": "public"}
    return {**shown, "guest_can_join": False, "world_readable": False, **fields}


def tell(
    server: PlayedServer,
    room: Mapping[str, Any],
    children: Sequence[Mapping[str, Any]] = (),
    inaccessible: Sequence[str] = (),
) -> None:
    """Have the server tell of a room."""
    answer = {
        "room": room,
        "children": list(children),
        "inaccessible_children": list(inaccessible),
    }
    server.answer(HIERARCHY + room["room_id"], lambda _body: answer)


async def space_with(alice: Client, **children: Sequence[str]) -> str:
    """A space of alice's that names servers for rooms elsewhere."""
    space = await alice.create_room(
        preset="public_chat", creation_content={"type": "m.space"}, room_version="11"
    )
    for child, via in children.items():
        await alice.set_state(space, "m.space.child", {"via": list(via)}, child)
    return space


async def ids_of(client: Client, space: str) -> list[str]:
    answer = (await client.get(f"v1/rooms/{quote(space)}/hierarchy")).ok()
    return [room["room_id"] for room in answer["rooms"]]


async def test_rooms_elsewhere_are_in_the_tree_and_are_asked_about_once(
    home: Side, played: PlayedServer
) -> None:
    alice = await home.user("alice")
    inner, leaf, deep, hidden = (f"!{name}:{played.name}" for name in ("in", "leaf", "deep", "no"))
    space = await space_with(alice, **{inner: [played.name]})
    links = [link(room, played.name) for room in (deep, leaf, hidden)]
    room = summary(inner, room_type="m.space", children_state=links, name="Inner", strange=1)
    tell(played, room, [summary(leaf), summary(deep, room_type="m.space")], [hidden])
    tell(played, summary(deep, room_type="m.space", children_state=[link(space, "x")]))
    for _ in range(2):
        assert await ids_of(alice, space) == [space, inner, deep, leaf]
    asked = [seen.target.partition("?")[0] for seen in played.asked(HIERARCHY)]
    assert sorted(asked) == sorted(HIERARCHY + quote(room, safe="") for room in (inner, deep))
    shown = (await alice.get(f"v1/rooms/{quote(space)}/hierarchy")).ok()["rooms"][1]
    assert shown["children_state"] == links
    assert (shown["name"], "strange" in shown) == ("Inner", False)
    assert await ids_of(alice, inner) == [inner, deep, space, leaf]


async def test_numbers_beyond_64_bits_in_links_are_told(home: Side, played: PlayedServer) -> None:
    alice = await home.user("alice")
    inner, leaf = f"!in:{played.name}", f"!leaf:{played.name}"
    space = await space_with(alice, **{inner: [played.name]})
    odd = link(leaf, played.name)
    odd["content"]["odd"] = 10**30
    tell(played, summary(inner, room_type="m.space", children_state=[odd]), [summary(leaf)])
    assert await ids_of(alice, space) == [space, inner, leaf]
    shown = (await alice.get(f"v1/rooms/{quote(space)}/hierarchy")).ok()["rooms"][1]
    assert shown["children_state"][0]["content"]["odd"] == 1e30


async def test_a_server_cannot_speak_for_the_rooms_of_another(
    home: Side, played: PlayedServer, other_played: PlayedServer
) -> None:
    alice = await home.user("alice")
    bad, good = f"!bad:{played.name}", f"!good:{other_played.name}"
    space = await space_with(alice, **{bad: [played.name], good: [other_played.name]})
    lie = summary(good, name="A lie")
    tell(played, summary(bad, room_type="m.space", children_state=[link(good, "x")]), [lie])
    tell(other_played, summary(good, name="True"))
    await ids_of(alice, space)
    rooms = (await alice.get(f"v1/rooms/{quote(space)}/hierarchy")).ok()["rooms"]
    assert [room.get("name") for room in rooms if room["room_id"] == good] == ["True"]


async def test_another_server_is_asked_where_one_does_not_answer(
    home: Side, played: PlayedServer, other_played: PlayedServer
) -> None:
    alice = await home.user("alice")
    room = f"!room:{played.name}"
    space = await space_with(alice, **{room: ["127.0.0.1:1", played.name, other_played.name]})
    tell(played, summary("!something:else"))
    played.peer.answers[HIERARCHY + room] = played.peer.answers.pop(HIERARCHY + "!something:else")
    tell(other_played, summary(room, name="Found"))
    rooms = (await alice.get(f"v1/rooms/{quote(space)}/hierarchy")).ok()["rooms"]
    assert [shown.get("name") for shown in rooms] == [None, "Found"]
    summed = (await alice.get(f"v1/room_summary/{quote(room)}", via=other_played.name)).ok()
    assert (summed["name"], "children_state" in summed) == ("Found", False)


async def test_a_restricted_room_elsewhere_shows_to_members_of_the_allowed_room(
    home: Side, played: PlayedServer
) -> None:
    alice, bob = await home.user("alice"), await home.user("bob")
    room = f"!room:{played.name}"
    space = await space_with(alice, **{room: [played.name]})
    rules = {"join_rule": "restricted", "allowed_room_ids": [space], "room_version": "11"}
    tell(played, summary(room, **rules))
    assert await ids_of(alice, space) == [space, room]
    assert await ids_of(bob, space) == [space]
