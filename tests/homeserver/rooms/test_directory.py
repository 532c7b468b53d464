from typing import Any

import pytest

from tests.homeserver.conftest import Client, Homes


async def names(client: Client, **body: Any) -> list[str | None]:
    page = (await client.post("v3/publicRooms", body)).ok()
    return [room.get("name") for room in page["chunk"]]


async def test_a_published_room_is_described(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(
        visibility="public",
        room_alias_name="pub",
        name="Pub",
        topic="Beer",
        creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://test/a"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
            {
                "type": "m.room.history_visibility",
                "content": {"history_visibility": "world_readable"},
            },
        ],
    )
    plain = await alice.create_room(preset="private_chat", visibility="public")
    page = (await alice.get("v3/publicRooms")).ok()
    assert page == {
        "chunk": [
            {
                "avatar_url": "mxc://test/a",
                "canonical_alias": "#pub:test",
                "guest_can_join": True,
                "join_rule": "public",
                "name": "Pub",
                "num_joined_members": 1,
                "room_id": room,
                "room_type": "m.space",
                "topic": "Beer",
                "world_readable": True,
            },
            {
                "guest_can_join": True,
                "join_rule": "invite",
                "num_joined_members": 1,
                "room_id": plain,
                "world_readable": False,
            },
        ],
        "total_room_count_estimate": 2,
    }
    (await homes.nobody().get("v3/publicRooms")).refused(401, "M_MISSING_TOKEN")


async def test_moderators_publish_rooms_and_take_them_back(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    path = f"v3/directory/list/room/{room}"
    assert (await homes.nobody().get(path)).ok() == {"visibility": "private"}
    (await bob.put(path, {"visibility": "public"})).refused(403, "M_FORBIDDEN")
    (await alice.put(path, {"visibility": "x"})).refused(400, "M_INVALID_PARAM")
    (await alice.put(path)).ok()
    assert (await homes.nobody().get(path)).ok() == {"visibility": "public"}
    assert len(await names(bob)) == 1
    (await alice.put(path, {"visibility": "private"})).ok()
    assert await names(bob) == []
    none = "v3/directory/list/room/!none:test"
    (await alice.get(none)).refused(404, "M_NOT_FOUND")
    (await alice.put(none)).refused(404, "M_NOT_FOUND")


async def test_rooms_are_searched_by_name_topic_and_alias_whatever_the_case(homes: Homes) -> None:
    alice = await homes.user()
    await alice.create_room(visibility="public", name="Die Wombles")
    await alice.create_room(visibility="public", name="B", topic="all about WOMBLES")
    await alice.create_room(visibility="public", name="C", room_alias_name="wombles")
    await alice.create_room(visibility="public", name="Öl", creation_content={"type": "m.space"})

    async def found(term: str, **wanted: Any) -> list[str | None]:
        return await names(alice, filter={"generic_search_term": term, **wanted})

    assert await found("wombleS") == ["Die Wombles", "B", "C"]
    assert await found("öL") == ["Öl"]
    assert await found("none") == []
    assert len(await found("")) == 4
    assert await names(alice, filter={"room_types": ["m.space"]}) == ["Öl"]
    assert await names(alice, filter={"room_types": [None]}) == ["Die Wombles", "B", "C"]
    assert await found("w", room_types=["m.space"]) == []


async def test_pages_go_forwards_and_backwards_the_largest_room_first(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    for name in "abcde":
        room = await alice.create_room(visibility="public", name=name)
    await bob.join(room)
    pages = []
    since: dict[str, str] = {}
    while True:
        page = (await alice.get("v3/publicRooms", limit=2, **since)).ok()
        pages.append([room["name"] for room in page["chunk"]])
        assert page["total_room_count_estimate"] == 5
        if "next_batch" not in page:
            break
        since = {"since": page["next_batch"]}
    assert pages == [["e", "a"], ["b", "c"], ["d"]]
    back = []
    while "prev_batch" in page:
        page = (await alice.post("v3/publicRooms", {"limit": 2, "since": page["prev_batch"]})).ok()
        back.append([room["name"] for room in page["chunk"]])
    assert back == [["b", "c"], ["e", "a"]]
    assert "next_batch" in page


async def test_rooms_that_nobody_is_in_are_not_listed(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room(visibility="public")
    (await alice.post(f"v3/rooms/{room}/leave")).ok()
    assert await names(await homes.user()) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"since": "x"}, "M_INVALID_PARAM"),
        ({"since": "n.1.x"}, "M_INVALID_PARAM"),
        ({"limit": -1}, "M_INVALID_PARAM"),
        ({"limit": "1"}, "M_BAD_JSON"),
        ({"filter": []}, "M_BAD_JSON"),
        ({"filter": {"room_types": [1]}}, "M_BAD_JSON"),
    ],
)
async def test_wrong_queries_are_refused(homes: Homes, body: dict[str, Any], errcode: str) -> None:
    alice = await homes.user()
    (await alice.post("v3/publicRooms", body)).refused(400, errcode)


async def test_other_directories_cannot_be_reached_without_federation(homes: Homes) -> None:
    alice = await homes.user()
    (await alice.get("v3/publicRooms", server="elsewhere")).refused(404, "M_NOT_FOUND")
    (await alice.get("v3/publicRooms", server="not a name")).refused(400, "M_INVALID_PARAM")
    assert (await alice.get("v3/publicRooms", server="test")).ok()["chunk"] == []
