"""Redacting an event with what relates to it."""

from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes

NAMES = ("with_rel_types", "org.matrix.msc3912.with_relations")


async def relate(client: Client, room_id: str, rel_type: str, target: str) -> str:
    relation = {"rel_type": rel_type, "event_id": target}
    more: dict[str, Any] = {"m.relates_to": relation}
    if rel_type == "m.replace":
        more["m.new_content"] = {"msgtype": "m.text", "body": "new"}
    return await client.send(room_id, f"relates by {rel_type}", **more)


async def redact(client: Client, room_id: str, target: str, **body: Any) -> Any:
    path = f"v3/rooms/{quote(room_id)}/redact/{target}/r-{target}"
    return (await client.put(path, body)).ok()


async def is_redacted(client: Client, room_id: str, event_id: str) -> bool:
    event = (await client.get(f"v3/rooms/{quote(room_id)}/event/{event_id}")).ok()
    return bool(event["content"] == {})


async def test_what_relates_by_the_named_types_goes_too(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    for name in NAMES:
        root = await alice.send(room_id, "root")
        edit = await relate(alice, room_id, "m.replace", root)
        reply = await relate(alice, room_id, "m.thread", root)
        reference = await relate(alice, room_id, "m.reference", root)
        redaction = (await redact(alice, room_id, root, **{name: ["m.replace", "m.thread"]}))[
            "event_id"
        ]
        gone = [await is_redacted(alice, room_id, one) for one in (root, edit, reply, reference)]
        assert gone == [True, True, True, False]
        event = (await alice.get(f"v3/rooms/{quote(room_id)}/event/{redaction}")).ok()
        assert event["content"] == {"redacts": root}


async def test_a_star_stands_for_all_relations_and_none_for_none(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root = await alice.send(room_id, "root")
    children = [await relate(alice, room_id, "m.reference", root) for _ in range(45)]
    await redact(alice, room_id, children[0])
    assert not await is_redacted(alice, room_id, root)
    await redact(alice, room_id, root, with_rel_types=["*"])
    assert all([await is_redacted(alice, room_id, one) for one in (root, *children)])


async def test_what_the_user_may_not_redact_stays(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    root = await bob.send(room_id, "root")
    own = await relate(bob, room_id, "m.thread", root)
    other = await relate(alice, room_id, "m.thread", root)
    foreign_edit = await relate(alice, room_id, "m.replace", root)
    await redact(bob, room_id, root, with_rel_types=["*"])
    assert await is_redacted(alice, room_id, own)
    assert not await is_redacted(alice, room_id, other)
    await redact(alice, room_id, root, with_rel_types=["m.thread", "m.replace"])
    assert await is_redacted(alice, room_id, other)
    assert not await is_redacted(alice, room_id, foreign_edit), "it is no valid edit"


async def test_relations_must_be_a_list_of_names(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root = await alice.send(room_id, "root")
    path = f"v3/rooms/{quote(room_id)}/redact/{root}/1"
    (await alice.put(path, {"with_rel_types": "*"})).refused(400, "M_BAD_JSON")
    many = [f"r{n}" for n in range(21)]
    (await alice.put(path, {"with_rel_types": many})).refused(400, "M_INVALID_PARAM")
    assert not await is_redacted(alice, room_id, root)
