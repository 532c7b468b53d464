"""What sliding sync tells of rooms."""

from urllib.parse import quote

from tests.homeserver.conftest import Homes
from tests.homeserver.sliding.slider import EVERYTHING, Slider, rooms_in, subscription, texts
from tests.patience import LONG_POLL_MS


async def test_the_versions_announce_it(homes: Homes) -> None:
    versions = (await homes.nobody().get("versions")).ok()
    assert versions["unstable_features"]["org.matrix.simplified_msc3575"] is True


async def test_a_list_tells_rooms_once_and_then_what_happens(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", name="one", topic="two")
    await bob.join(room_id)
    await alice.send(room_id, "first")
    slider = Slider(bob)
    slider.lists = {"all": rooms_in()}
    answer = await slider.next()
    assert answer["lists"] == {"all": {"count": 1}}
    room = answer["rooms"][room_id]
    assert room["initial"] is True
    assert room["limited"] is True
    assert room["name"] == "one"
    assert "heroes" not in room
    assert (room["joined_count"], room["invited_count"]) == (2, 0)
    assert texts(room) == ["first"]
    assert room["num_live"] == 0
    state = {(e["type"], e["state_key"]) for e in room["required_state"]}
    assert {("m.room.create", ""), ("m.room.topic", ""), ("m.room.member", bob.user_id)} <= state
    assert ("m.room.member", alice.user_id) in state
    assert ("m.room.guest_access", "") not in state
    answer = await slider.next()
    assert answer["rooms"] == {}
    await alice.send(room_id, "second")
    room = (await slider.next(timeout_ms=LONG_POLL_MS))["rooms"][room_id]
    assert "initial" not in room
    assert "limited" not in room
    assert texts(room) == ["second"]
    assert room["num_live"] == 1
    assert "required_state" not in room
    assert room["notification_count"] == 2
    later = room["bump_stamp"]
    await alice.set_state(room_id, "m.room.topic", {"topic": "three"})
    room = (await slider.next())["rooms"][room_id]
    assert [e["content"] for e in room["required_state"]] == [{"topic": "three"}]
    assert "bump_stamp" not in room
    await alice.send(room_id, "third")
    room = (await slider.next())["rooms"][room_id]
    assert room["bump_stamp"] > later


async def test_more_than_the_limit_is_a_gap_with_a_way_back(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in(timeline_limit=3)}
    await slider.next()
    sent = [await alice.send(room_id, f"{n}") for n in range(8)]
    await alice.set_state(room_id, "m.room.topic", {"topic": "in the gap"})
    sent += [await alice.send(room_id, f"{n}") for n in range(8, 12)]
    room = (await slider.next())["rooms"][room_id]
    assert room["limited"] is True
    assert [e["event_id"] for e in room["timeline"]] == sent[-3:]
    assert [e["content"] for e in room["required_state"]] == [{"topic": "in the gap"}]
    path = f"v3/rooms/{quote(room_id)}/messages"
    page = (await alice.get(path, dir="b", limit=20, **{"from": room["prev_batch"]})).ok()
    missed = [e["event_id"] for e in page["chunk"] if e["type"] == "m.room.message"]
    assert missed == sent[-4::-1]


async def test_a_larger_timeline_limit_tells_what_there_was_before(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    sent = [await alice.send(room_id, f"{n}") for n in range(30)]
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    assert slider.rooms[room_id].timeline == sent[-1:]
    await alice.set_state(room_id, "m.room.pinned_events", {"pinned": sent[:1]})
    await slider.next()
    slider.subscriptions = {room_id: subscription()}
    room = (await slider.next())["rooms"][room_id]
    assert room["unstable_expanded_timeline"] is True
    assert "initial" not in room
    assert [e["event_id"] for e in room["timeline"]][:19] == sent[-19:]
    assert room["num_live"] == 0
    assert [e["type"] for e in room["required_state"]] == ["m.room.pinned_events"]
    assert (await slider.next())["rooms"] == {}
    slider.subscriptions = {}
    await slider.next()
    slider.subscriptions = {room_id: subscription()}
    assert (await slider.next())["rooms"] == {}, "the client has it all"


async def test_growing_ranges_tell_the_next_rooms_by_activity(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room(name=f"{n}") for n in range(6)]
    await alice.send(rooms[0], "the latest")
    slider = Slider(alice)
    slider.lists = {"all": rooms_in(0, 1)}
    answer = await slider.next()
    assert answer["lists"]["all"]["count"] == 6
    assert set(answer["rooms"]) == {rooms[0], rooms[5]}
    slider.lists = {"all": rooms_in(0, 3)}
    assert set((await slider.next())["rooms"]) == {rooms[3], rooms[4]}
    slider.lists = {"all": rooms_in(0, 99)}
    assert set((await slider.next())["rooms"]) == {rooms[1], rooms[2]}
    assert (await slider.next())["rooms"] == {}


async def test_a_room_that_dropped_out_of_range_comes_back_with_all_news(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(4)]
    for room_id in rooms:
        await bob.join(room_id)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 99, timeline_limit=10)}
    await slider.next()
    slider.lists = {"all": rooms_in(0, 0, timeline_limit=10)}
    for room_id in rooms:
        await alice.send(room_id, "missed")
        await alice.set_state(room_id, "m.room.topic", {"topic": "missed"})
    answer = await slider.next()
    assert set(answer["rooms"]) == {rooms[3]}
    await alice.send(rooms[0], "back")
    answer = await slider.next()
    assert texts(answer["rooms"][rooms[0]]) == ["missed", "back"]
    assert answer["rooms"][rooms[0]]["num_live"] == 1
    slider.lists = {"all": rooms_in(0, 99, timeline_limit=10)}
    answer = await slider.next()
    assert set(answer["rooms"]) == {rooms[1], rooms[2]}
    for room in answer["rooms"].values():
        assert texts(room) == ["missed"]
        assert [e["content"] for e in room["required_state"]] == [{"topic": "missed"}]


async def test_a_room_without_a_name_has_heroes(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    avatar = "mxc://test/picture"
    (await bob.put(f"v3/profile/{bob.user_id}/displayname", {"displayname": "Bob"})).ok()
    (await bob.put(f"v3/profile/{bob.user_id}/avatar_url", {"avatar_url": avatar})).ok()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    room = (await slider.next())["rooms"][room_id]
    hero = {"user_id": bob.user_id, "displayname": "Bob", "avatar_url": avatar}
    assert room["heroes"] == [hero]
    assert "name" not in room
    await alice.set_state(room_id, "m.room.name", {"name": "named"})
    await alice.set_state(room_id, "m.room.avatar", {"url": "mxc://test/room"})
    room = (await slider.next())["rooms"][room_id]
    assert (room["name"], room["avatar"]) == ("named", "mxc://test/room")
    await alice.set_state(room_id, "m.room.name", {})
    await alice.set_state(room_id, "m.room.avatar", {})
    room = (await slider.next())["rooms"][room_id]
    assert (room["name"], room["avatar"]) == (None, None)
    assert room["heroes"] == [hero]


async def test_a_room_that_loses_its_alias_gets_heroes(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", room_alias_name="kitchen")
    await bob.join(room_id)
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    assert "heroes" not in (await slider.next())["rooms"][room_id]
    await alice.set_state(room_id, "m.room.canonical_alias", {})
    room = (await slider.next())["rooms"][room_id]
    assert [hero["user_id"] for hero in room["heroes"]] == [bob.user_id]


async def test_members_are_loaded_with_what_they_say(homes: Homes) -> None:
    alice, bob, carol = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await carol.join(room_id)
    await alice.send(room_id, "hello")
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()

    def members() -> set[str]:
        known = slider.rooms[room_id].state
        return {key for kind, key in known if kind == "m.room.member"}

    assert members() == {alice.user_id}
    await bob.send(room_id, "hello")
    await slider.next()
    assert members() == {alice.user_id, bob.user_id}
    await bob.send(room_id, "again")
    assert "required_state" not in (await slider.next())["rooms"][room_id]
    path = f"v3/profile/{carol.user_id}/displayname"
    (await carol.put(path, {"displayname": "Carol"})).ok()
    await slider.next()
    assert members() == {alice.user_id, bob.user_id, carol.user_id}


async def test_all_state_and_all_members_may_be_required(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = Slider(alice)
    slider.subscriptions = {room_id: subscription(required_state=EVERYTHING)}
    await slider.next()
    state = (await alice.get(f"v3/rooms/{quote(room_id)}/state")).ok()
    assert slider.rooms[room_id].state == {
        (e["type"], e["state_key"]): e["event_id"] for e in state
    }
    members = Slider(alice, "members")
    members.subscriptions = {room_id: subscription(required_state=[["m.room.member", "*"]])}
    await members.next()
    assert set(members.rooms[room_id].state) == {
        ("m.room.member", alice.user_id),
        ("m.room.member", bob.user_id),
    }


async def test_required_state_that_grows_is_told_at_once(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(topic="a topic")
    slider = Slider(alice)
    slider.lists = {"all": rooms_in(required_state=[["m.room.create", ""]])}
    await slider.next()
    slider.lists = {"all": rooms_in(required_state=[["m.room.topic", ""]])}
    room = (await slider.next())["rooms"][room_id]
    assert [e["type"] for e in room["required_state"]] == ["m.room.topic"]
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "public"})
    slider.lists = {"all": rooms_in(required_state=[["m.room.join_rules", ""]])}
    room = (await slider.next())["rooms"][room_id]
    assert [e["content"] for e in room["required_state"]] == [{"join_rule": "public"}]
