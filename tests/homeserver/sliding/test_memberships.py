"""Sliding sync and rooms that the user enters, leaves, is invited to or put out of."""

from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import Slider, rooms_in, subscription, texts
from tests.patience import LONG_POLL_MS


async def follow(client: Client, **options: Any) -> Slider:
    """A connection that follows all rooms and has what there is."""
    slider = Slider(client)
    slider.lists = {"all": rooms_in(0, 99, **options)}
    await slider.next()
    return slider


async def test_an_invite_comes_with_its_stripped_state(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    slider = await follow(bob)
    room_id = await alice.create_room(name="come in")
    await alice.invite(room_id, bob.user_id)
    answer = await slider.next(timeout_ms=LONG_POLL_MS)
    room = answer["rooms"][room_id]
    assert room["initial"] is True
    assert room["membership"] == "invite"
    state = {(e["type"], e["state_key"]): e["content"] for e in room["invite_state"]}
    assert state["m.room.name", ""] == {"name": "come in"}
    assert state["m.room.member", bob.user_id]["membership"] == "invite"
    assert "timeline" not in room
    assert "required_state" not in room
    assert answer["lists"]["all"]["count"] == 1
    assert (await slider.next())["rooms"] == {}
    await alice.send(room_id, "hello")
    await bob.join(room_id)
    room = (await slider.next())["rooms"][room_id]
    assert room["initial"] is True
    assert room["name"] == "come in"
    assert "invite_state" not in room


async def test_an_invite_with_a_reason_that_no_database_takes_is_accepted(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    content = {"membership": "invite", "reason": "come\0in"}
    await alice.set_state(room_id, "m.room.member", content, bob.user_id)
    slider = await follow(bob)
    await bob.join(room_id)
    assert (await slider.next())["rooms"][room_id]["membership"] == "join"


async def test_an_invite_that_is_turned_down_is_over(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    slider = await follow(bob)
    room_id = await alice.create_room()
    await alice.invite(room_id, bob.user_id)
    await slider.next()
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    answer = await slider.next()
    room = answer["rooms"][room_id]
    assert room["membership"] == "leave"
    assert "invite_state" not in room
    own = [e for e in room["required_state"] if e["state_key"] == bob.user_id]
    assert [e["content"]["membership"] for e in own] == ["leave"]
    assert len(room["required_state"]) == 1
    assert answer["lists"]["all"]["count"] == 0
    assert (await slider.next())["rooms"] == {}


async def test_a_knock_is_told_like_an_invite(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    slider = await follow(bob)
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(initial_state=[rules], room_version="10")
    (await bob.post(f"v3/knock/{quote(room_id)}")).ok()
    room = (await slider.next())["rooms"][room_id]
    assert room["membership"] == "knock"
    own = [e for e in room["invite_state"] if e["state_key"] == bob.user_id]
    assert [e["content"]["membership"] for e in own] == ["knock"]


async def test_leaving_is_told_once_and_entering_again_begins_anew(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = await follow(bob)
    await alice.send(room_id, "before")
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    await alice.send(room_id, "after")
    answer = await slider.next()
    room = answer["rooms"][room_id]
    assert room["membership"] == "leave"
    assert room["timeline"][-1]["content"]["membership"] == "leave"
    own = [e for e in room["required_state"] if e["state_key"] == bob.user_id]
    assert [e["content"]["membership"] for e in own] == ["leave"]
    assert answer["lists"]["all"]["count"] == 0
    assert (await slider.next())["rooms"] == {}
    fresh = await follow(bob)
    assert fresh.rooms == {}
    slider = await follow(bob)
    await bob.join(room_id)
    room = (await slider.next())["rooms"][room_id]
    assert room["initial"] is True
    assert room["joined_count"] == 2


async def test_leaving_and_entering_between_two_requests_begins_anew(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    slider = await follow(bob)
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    await bob.join(room_id)
    assert (await slider.next())["rooms"][room_id]["initial"] is True
    await bob.put(f"v3/profile/{bob.user_id}/displayname", {"displayname": "B"})
    assert "initial" not in (await slider.next())["rooms"][room_id], "that was no new membership"


async def test_who_is_kicked_hears_of_it_whenever_and_nothing_later(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat", name="before")
    await bob.join(room_id)
    await alice.send(room_id, "seen")
    slider = await follow(bob, timeline_limit=2)
    kick = {"user_id": bob.user_id, "reason": "rude"}
    (await alice.post(f"v3/rooms/{quote(room_id)}/kick", kick)).ok()
    await alice.send(room_id, "unseen")
    await alice.set_state(room_id, "m.room.name", {"name": "after"})
    room = (await slider.next())["rooms"][room_id]
    assert room["membership"] == "leave"
    assert room["timeline"][-1]["content"]["reason"] == "rude"
    assert len(room["timeline"]) == 1
    assert [e["type"] for e in room["required_state"]] == ["m.room.member"]
    await alice.send(room_id, "unseen too")
    answer = await slider.next()
    assert answer["rooms"] == {}
    assert answer["lists"]["all"]["count"] == 1
    fresh = await follow(bob, timeline_limit=2)
    known = fresh.rooms[room_id]
    assert known.membership == "leave"
    assert known.contents["m.room.name", ""] == {"name": "before"}
    assert known.contents["m.room.member", bob.user_id]["membership"] == "leave"
    (await bob.post(f"v3/rooms/{quote(room_id)}/forget")).ok()
    assert (await follow(bob)).rooms == {}


async def test_a_ban_of_somebody_who_was_never_there_is_not_told(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    (await alice.post(f"v3/rooms/{quote(room_id)}/ban", {"user_id": bob.user_id})).ok()
    slider = await follow(bob)
    slider.subscriptions = {room_id: subscription()}
    assert (await slider.next())["rooms"] == {}


async def test_subscriptions_show_only_rooms_of_the_users(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    slider = Slider(bob)
    slider.subscriptions = {room_id: subscription(), "!nowhere:test": subscription()}
    assert (await slider.next())["rooms"] == {}
    await bob.join(room_id)
    assert set((await slider.next())["rooms"]) == {room_id}
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    assert (await slider.next())["rooms"][room_id]["membership"] == "leave"
    await alice.send(room_id, "unseen")
    for _ in range(2):
        for room in (await slider.next())["rooms"].values():
            assert texts({"timeline": room.get("timeline", [])}) == []


async def test_what_ignored_users_say_and_whom_they_invite_is_not_told(homes: Homes) -> None:
    alice, bob, troll = [await homes.user() for _ in range(3)]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await troll.join(room_id)
    ignored: dict[str, Any] = {"ignored_users": {troll.user_id: {}}}
    path = f"v3/user/{bob.user_id}/account_data/m.ignored_user_list"
    (await bob.put(path, ignored)).ok()
    slider = await follow(bob, timeline_limit=5)
    await troll.send(room_id, "noise")
    assert (await slider.next())["rooms"] == {}
    await alice.send(room_id, "signal")
    await troll.send(room_id, "noise")
    assert texts((await slider.next())["rooms"][room_id]) == ["signal"]
    trap = await troll.create_room()
    await troll.invite(trap, bob.user_id)
    answer = await slider.next()
    assert answer["rooms"] == {}
    assert answer["lists"]["all"]["count"] == 1
    fresh = await follow(bob, timeline_limit=5)
    assert "noise" not in texts_of(fresh, room_id, await page(bob, room_id))


async def page(client: Client, room_id: str) -> list[Any]:
    """The newest events of a room."""
    path = f"v3/rooms/{quote(room_id)}/messages"
    return list((await client.get(path, dir="b", limit=50)).ok()["chunk"])


def texts_of(slider: Slider, room_id: str, events: list[Any]) -> list[str]:
    """What was said in the events that the client was shown."""
    shown = set(slider.rooms[room_id].timeline)
    return [e["content"].get("body", "") for e in events if e["event_id"] in shown]
