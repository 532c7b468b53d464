from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from federation.protocol.errors import Forbidden, NotFound
from federation.protocol.filters import parse_room_event_filter
from federation.protocol.identifiers import UserId
from homeserver.rooms.history import History, MessagesPage, MessagesRequest
from homeserver.rooms.history_token import Received, parse_point
from storage.feed import current_position
from tests.homeserver.rooms.world import ALICE, BOB, CAROL, World, open_world


def history_of(world: World) -> History:
    return History(world.db, world.names, world.clients, world.ignored)


def bodies(events: list[bytes]) -> list[str]:
    contents = [orjson.loads(event)["content"] for event in events]
    return [content["body"] for content in contents if "body" in content]


async def page(
    world: World,
    who: UserId,
    room: str,
    direction: str,
    *,
    start: str | None = None,
    stop: str | None = None,
    limit: int = 1000,
    wanted: Mapping[str, Any] | None = None,
) -> MessagesPage:
    request = MessagesRequest(
        direction == "b",
        limit,
        parse_point(start) if start else None,
        parse_point(stop) if stop else None,
        parse_room_event_filter(wanted or {}),
    )
    return await history_of(world).messages(await world.viewer(who), room, request)


async def say_numbers(world: World, room: str, who: UserId, count: int) -> list[str]:
    return [await world.say(room, who, str(n)) for n in range(count)]


async def test_pages_in_either_direction_hold_everything_once(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await say_numbers(world, room, ALICE, 7)
        whole = await page(world, ALICE, room, "b")
        assert bodies(whole.chunk) == list("6543210")
        assert whole.end is None
        for direction in "bf":
            collected: list[bytes] = []
            token = None
            for _ in range(20):
                part = await page(world, ALICE, room, direction, start=token, limit=3)
                assert part.start == (token or part.start)
                collected += part.chunk
                token = part.end
                if token is None:
                    break
            assert collected == (whole.chunk if direction == "b" else whole.chunk[::-1])
        latest = await page(world, ALICE, room, "b", limit=3)
        again = await page(world, ALICE, room, "f", start=latest.end)
        assert again.chunk == latest.chunk[::-1]


async def test_a_sync_token_stands_for_what_had_been_received(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await world.say(room, ALICE, "before")
        token = f"s{await current_position(world.db)}_3"
        await say_numbers(world, room, ALICE, 2)
        assert bodies((await page(world, ALICE, room, "f", start=token)).chunk) == ["0", "1"]
        assert bodies((await page(world, ALICE, room, "b", start=token)).chunk) == ["before"]
        assert bodies((await page(world, ALICE, room, "b", stop=token)).chunk) == ["1", "0"]
        until = await page(world, ALICE, room, "f", stop=token)
        assert bodies(until.chunk) == ["before"]
        assert until.end is None


async def test_who_left_reads_up_to_their_leaving(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await world.say(room, ALICE, "before")
        await world.member(room, BOB, "leave")
        position = await current_position(world.db)
        await say_numbers(world, room, ALICE, 2)
        read = await page(world, BOB, room, "b", limit=2)
        assert orjson.loads(read.chunk[0])["content"] == {"membership": "leave"}
        assert bodies(read.chunk) == ["before"]
        after = await page(world, BOB, room, "f", start=str(Received(position)), limit=100)
        assert (after.chunk, after.end) == ([], None)


async def test_strangers_read_in_world_readable_rooms_only(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await world.say(room, ALICE, "hidden")
        for name in (room, "!nowhere"):
            with pytest.raises(Forbidden):
                await page(world, BOB, name, "b")
        await world.set_visibility(room, "world_readable")
        await world.say(room, ALICE, "shown")
        assert bodies((await page(world, BOB, room, "b")).chunk) == ["shown"]


async def test_an_invited_user_and_one_who_was_never_in_may_not_read(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create()
        await world.member(room, BOB, "invite", by=ALICE)
        with pytest.raises(Forbidden):
            await page(world, BOB, room, "b")
        await world.member(room, BOB, "leave")
        with pytest.raises(Forbidden):
            await page(world, BOB, room, "b")


async def test_history_from_before_joining_is_hidden_where_only_members_see(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        room = await world.create(visibility="joined")
        await say_numbers(world, room, ALICE, 30)
        await world.member(room, BOB, "join")
        await world.say(room, ALICE, "welcome")
        read = await page(world, BOB, room, "b", limit=3)
        assert bodies(read.chunk) == ["welcome"]
        assert read.end is not None


async def test_filters_choose_by_type_sender_url_and_relation(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await say_numbers(world, room, ALICE, 3)
        await world.say(room, BOB, "of bob")
        await world.say(room, BOB, "with url", url="mxc://hub.example/a")
        await world.say(room, BOB, "talks of an url", nested={"url": "mxc://hub.example/a"})
        root = await world.say(room, ALICE, "root")
        await world.relate(room, BOB, "m.thread", root, "threaded")
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({"senders": [BOB]}, ["of bob", "with url", "talks of an url", "threaded"]),
            ({"senders": ["@unknown:hub.example"]}, []),
            ({"contains_url": True}, ["with url"]),
            ({"types": ["m.room.na*"]}, []),
            ({"types": ["m.room.mess*"], "not_senders": [BOB]}, ["0", "1", "2", "root"]),
            ({"related_by_rel_types": ["m.thread"]}, ["root"]),
            ({"related_by_senders": [ALICE]}, []),
            ({"org.matrix.msc3874.rel_types": ["m.thread"]}, ["threaded"]),
            (
                {"org.matrix.msc3874.not_rel_types": ["m.thread"], "senders": [BOB]},
                ["of bob", "with url", "talks of an url"],
            ),
            ({"rooms": ["!other"]}, []),
            ({"not_types": ["*"]}, []),
        ]
        for wanted, expected in cases:
            read = await page(world, ALICE, room, "f", wanted=wanted)
            assert bodies(read.chunk) == expected, wanted
            assert read.end is None
        paged = await page(
            world,
            ALICE,
            room,
            "b",
            limit=1,
            wanted={"senders": [ALICE], "types": ["m.room.message"]},
        )
        assert bodies(paged.chunk) == ["root"]
        paged = await page(
            world, ALICE, room, "b", limit=2, start=paged.end, wanted={"senders": [ALICE]}
        )
        assert bodies(paged.chunk) == ["2", "1"]


async def test_members_of_the_senders_come_with_a_lazily_loaded_page(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB, CAROL])
        await world.say(room, BOB, "one")
        await world.say(room, CAROL, "two")
        read = await page(world, ALICE, room, "b", limit=1, wanted={"lazy_load_members": True})
        assert read.state is not None
        assert [orjson.loads(event)["state_key"] for event in read.state] == [CAROL]
        assert (await page(world, ALICE, room, "b")).state is None


async def test_messages_of_ignored_users_are_left_out(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await world.say(room, BOB, "noise")
        await world.say(room, ALICE, "voice")
        await world.ignore(ALICE, BOB)
        read = await page(world, ALICE, room, "b")
        assert bodies(read.chunk) == ["voice"]
        assert BOB in [orjson.loads(event).get("state_key") for event in read.chunk]


async def test_an_event_has_its_neighbours_and_the_state_at_the_last_of_them(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        room = await world.create(members=[BOB])
        await world.state(room, ALICE, "m.room.topic", {"topic": "old"})
        ids = await say_numbers(world, room, ALICE, 6)
        await world.state(room, ALICE, "m.room.topic", {"topic": "new"})
        history, alice = history_of(world), await world.viewer(ALICE)
        found = await history.context(alice, room, ids[3], 4, parse_room_event_filter({}))
        assert bodies([found.event]) == ["3"]
        assert (bodies(found.before), bodies(found.after)) == (["2", "1"], ["4", "5"])
        topics = [
            e["content"] for e in map(orjson.loads, found.state) if e["type"] == "m.room.topic"
        ]
        assert topics == [{"topic": "old"}]
        earlier = await page(world, ALICE, room, "b", start=found.start, limit=1)
        assert bodies(earlier.chunk) == ["0"]
        later = await page(world, ALICE, room, "f", start=found.end)
        assert orjson.loads(later.chunk[0])["content"] == {"topic": "new"}
        lazy = parse_room_event_filter({"lazy_load_members": True})
        alone = await history.context(alice, room, ids[3], 0, lazy)
        assert (alone.before, alone.after) == ([], [])
        members = [
            e["state_key"] for e in map(orjson.loads, alone.state) if e["type"] == "m.room.member"
        ]
        assert members == [ALICE]
        assert bodies((await page(world, ALICE, room, "b", start=alone.end, limit=1)).chunk) == [
            "3"
        ]


async def test_an_event_is_found_by_those_who_may_see_it(database_url: str) -> None:
    async with open_world(database_url) as world:
        room = await world.create(visibility="joined")
        other = await world.create(BOB)
        event_id = await world.say(room, ALICE, "hello")
        await world.member(room, BOB, "join")
        history, alice, bob = history_of(world), await world.viewer(ALICE), await world.viewer(BOB)
        event = orjson.loads(await history.event(alice, room, event_id))
        assert (event["room_id"], event["unsigned"]["membership"]) == (room, "join")
        assert orjson.loads(await history.event(alice, None, event_id)) == event
        for viewer, room_id in ((bob, room), (alice, other)):
            with pytest.raises(NotFound):
                await history.event(viewer, room_id, event_id)
        with pytest.raises(NotFound):
            await history.event(alice, room, "$unknown")
