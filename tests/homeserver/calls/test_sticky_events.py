"""Sticky events (MSC4354): for a while everybody in the room is told of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest

from homeserver.app import running
from homeserver.jobs.expired_sticky_events import JOB
from homeserver.jobs.job import JobContext
from tests.homeserver.calls.delaying import UNSTABLE, Listener
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import Slider
from tests.patience import LONG_POLL_MS

DURATION = "org.matrix.msc4354.sticky_duration_ms"
FIELD = "msc4354_sticky"
TTL = "msc4354_sticky_duration_ttl_ms"
EXTENSION = "org.matrix.msc4354.sticky_events"
HALF_HOUR_MS = 1_800_000
TIMELINE = 10
"""Events of a timeline of /sync where the client does not say."""


async def stick(client: Client, room_id: str, text: str, duration_ms: int = HALF_HOUR_MS) -> str:
    """Send a sticky message; its ID."""
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/{text}"
    body = {"msgtype": "m.text", "body": text}
    return str((await client.put(path, body, **{DURATION: duration_ms})).ok()["event_id"])


async def talk(client: Client, room_id: str, messages: int = TIMELINE + 2) -> None:
    """Push whatever was said out of the timelines."""
    for number in range(messages):
        await client.send(room_id, f"talk {number}")


def told(answer: Any, room_id: str) -> list[str]:
    """The sticky events of an answer of /sync."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [event["event_id"] for event in room.get(FIELD, {"events": []})["events"]]


def shown(answer: Any, room_id: str) -> list[str]:
    """The events of the timeline."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [event["event_id"] for event in room.get("timeline", {"events": []})["events"]]


async def slide(slider: Slider, timeout_ms: int = 0, **request: Any) -> Any:
    """The next answer of sliding sync."""
    answer = (await slider.ask(timeout_ms, **request)).ok()
    slider.pos = answer["pos"]
    return answer


async def test_a_sticky_event_in_the_timeline_is_told_there_alone(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    listener = await Listener.begin(bob, room_id)
    since = (await bob.sync())["next_batch"]
    sticky = await stick(alice, room_id, "here")
    live = (await listener.hear(1))[0]
    assert live[FIELD] == {"duration_ms": HALF_HOUR_MS}
    assert 0 < live["unsigned"][TTL] <= HALF_HOUR_MS
    for answer in (await bob.sync(since), await bob.sync()):
        assert sticky in shown(answer, room_id)
        assert told(answer, room_id) == []
    event = (await bob.get(f"v3/rooms/{quote(room_id)}/event/{sticky}")).ok()
    assert 0 < event["unsigned"][TTL] <= HALF_HOUR_MS


async def test_a_sticky_event_that_the_timeline_leaves_out_is_told_once(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    sticky = [await stick(alice, room_id, text) for text in ("one", "two")]
    await talk(alice, room_id)
    gappy = await bob.sync(since)
    assert told(gappy, room_id) == sticky
    event = gappy["rooms"]["join"][room_id][FIELD]["events"][0]
    assert 0 < event["unsigned"][TTL] <= HALF_HOUR_MS
    await alice.send(room_id, "more")
    assert told(await bob.sync(gappy["next_batch"]), room_id) == []
    assert told(await bob.sync(), room_id) == sticky


async def test_what_the_filter_keeps_out_of_the_timeline_is_told_apart(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    names_only = '{"room": {"timeline": {"types": ["m.room.name"]}}}'
    since = (await alice.sync(filter=names_only))["next_batch"]
    sticky = await stick(alice, room_id, "unseen")
    assert told(await alice.sync(since, filter=names_only), room_id) == [sticky]
    nothing = '{"room": {"timeline": {"limit": 0}}}'
    assert told(await alice.sync(since, filter=nothing), room_id) == [sticky]


async def test_whoever_comes_in_is_told_whatever_the_history_visibility(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    sticky = await stick(alice, room_id, "before")
    since = (await bob.sync())["next_batch"]
    await bob.join(room_id)
    answer = await bob.sync(since)
    assert sticky not in shown(answer, room_id)
    assert told(answer, room_id) == [sticky]
    assert told(await bob.sync(), room_id) == [sticky]
    (await bob.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
    assert room_id not in (await bob.sync()).get("rooms", {}).get("join", {})


async def test_what_is_redacted_expired_or_from_ignored_users_is_not_told(homes: Homes) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await carol.join(room_id)
    ignored: dict[str, Any] = {"ignored_users": {carol.user_id: {}}}
    path = f"v3/user/{bob.user_id}/account_data/m.ignored_user_list"
    (await bob.put(path, ignored)).ok()
    redacted = await stick(alice, room_id, "redacted")
    (await alice.put(f"v3/rooms/{quote(room_id)}/redact/{redacted}/1")).ok()
    await stick(carol, room_id, "ignored")
    await stick(alice, room_id, "expired", 0)
    kept = await stick(alice, room_id, "kept")
    await talk(alice, room_id)
    assert told(await bob.sync(), room_id) == [kept]
    event = (await bob.get(f"v3/rooms/{quote(room_id)}/event/{redacted}")).ok()
    assert FIELD not in event


async def test_other_processes_tell_them_too_those_that_begin_later_as_well(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    async with another_process(homes, bob) as early:
        assert told(await early.sync(), room_id) == []
        sticky = await stick(alice, room_id, "here")
        await talk(alice, room_id)
        token = (await bob.sync())["next_batch"]
        await early.sync(token)
        assert told(await early.sync(), room_id) == [sticky]
        async with another_process(homes, bob) as late:
            assert told(await late.sync(), room_id) == [sticky]


@asynccontextmanager
async def another_process(homes: Homes, client: Client) -> AsyncIterator[Client]:
    """The client at a second server over the same database."""
    async with running(homes.services.settings) as server, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = client.token, client.user_id
        yield there


async def test_state_may_be_sticky_and_is_sent_again_so(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    path = f"v3/rooms/{quote(room_id)}/state/com.example.sticky"
    first, second = [
        (await alice.put(path, {"a": 1}, **{DURATION: 60_000})).ok()["event_id"] for _ in range(2)
    ]
    assert first != second, "it would expire otherwise"
    await talk(alice, room_id)
    assert told(await alice.sync(), room_id) == [first, second]


@pytest.mark.parametrize("wrong", [3_600_001, -1, "x", "1.5"])
async def test_wrong_durations_are_refused(homes: Homes, wrong: object) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/1"
    (await alice.put(path, {}, **{DURATION: wrong})).refused(400, "M_INVALID_PARAM")


async def test_a_delayed_event_is_sticky_from_when_it_is_sent(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    listener = await Listener.begin(alice, room_id)
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/1"
    query = {DURATION: 60_000, "org.matrix.msc4140.delay": 3_600_000}
    delay_id = (await alice.put(path, {"body": "x"}, **query)).ok()["delay_id"]
    (await alice.post(f"{UNSTABLE}/{delay_id}/send")).ok()
    event = (await listener.hear(1))[0]
    assert event[FIELD] == {"duration_ms": 60_000}
    assert 0 < event["unsigned"][TTL] <= 60_000


async def test_very_many_come_in_several_answers(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    other = await alice.create_room(preset="public_chat")
    await bob.join(other)
    since = (await bob.sync())["next_batch"]
    sticky = []
    for number in range(13):
        part = [stick(alice, room_id, f"{number}.{i}") for i in range(40)]
        sticky += await asyncio.gather(*part)
    await talk(alice, room_id)
    await bob.join(room_id)
    first = await bob.sync(since)
    assert len(told(first, room_id)) == 500
    second = await bob.sync(first["next_batch"], timeout_ms=LONG_POLL_MS)
    assert sorted(told(first, room_id) + told(second, room_id)) == sorted(sticky)
    late = await stick(alice, other, "late")
    third = await bob.sync(second["next_batch"])
    assert told(third, room_id) == []
    assert shown(third, other) == [late]


async def test_what_has_expired_is_forgotten(homes: Homes, database_url: str) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    await stick(alice, room_id, "short", 1)
    kept = await stick(alice, room_id, "long")
    services = homes.services
    context = JobContext(
        services.db,
        services.settings,
        services.users.deactivation,
        services.users.devices,
        services.media.upkeep,
    )
    await JOB.run(context, services.clock() + 60_000, {})
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(
        "SELECT event_id FROM sticky_events JOIN events USING (event_nid)"
    )
    await connection.close()
    assert [row["event_id"] for row in rows] == [kept]


async def test_sliding_sync_tells_them_of_all_rooms_that_lists_let_through(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    out_of_range = await alice.create_room(preset="public_chat")
    await bob.join(out_of_range)
    slider = Slider(bob)
    sticky = await stick(alice, room_id, "one")
    hidden = await stick(alice, out_of_range, "two")
    await talk(alice, out_of_range, 1)
    await talk(alice, room_id)
    lists = {"all": {"ranges": [[0, 0]], "timeline_limit": 3, "required_state": []}}
    wanted: dict[str, Any] = {EXTENSION: {"enabled": True}}
    first = await slide(slider, lists=lists, extensions=wanted)
    extension = first["extensions"][EXTENSION]
    rooms = {nid: [e["event_id"] for e in r["events"]] for nid, r in extension["rooms"].items()}
    assert rooms == {room_id: [sticky], out_of_range: [hidden]}
    wanted[EXTENSION]["since"] = extension["next_batch"]
    second = await slide(slider, lists=lists, extensions=wanted)
    assert EXTENSION not in second["extensions"]
    waiting = asyncio.create_task(slide(slider, 30_000, lists=lists, extensions=wanted))
    late = await stick(alice, out_of_range, "three")
    third = await waiting
    told_now = third["extensions"].get(EXTENSION, {"rooms": {}})["rooms"]
    in_timeline = third["rooms"].get(out_of_range, {"timeline": []})["timeline"]
    assert late in [e["event_id"] for e in in_timeline] or late in [
        e["event_id"] for e in told_now.get(out_of_range, {"events": []})["events"]
    ]


async def test_sliding_sync_pages_by_the_limit_of_the_client(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    slider = Slider(alice)
    lists = {"all": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": []}}
    first = await slide(slider, lists=lists, extensions={EXTENSION: {"enabled": True}})
    since = first["extensions"][EXTENSION]["next_batch"]
    sticky = [await stick(alice, room_id, str(number)) for number in range(5)]
    await talk(alice, room_id, 2)
    heard: list[str] = []
    for _ in range(3):
        wanted = {EXTENSION: {"enabled": True, "limit": 2, "since": since}}
        answer = await slide(slider, lists=lists, extensions=wanted)
        extension = answer["extensions"][EXTENSION]
        since = extension["next_batch"]
        heard += [event["event_id"] for event in extension["rooms"][room_id]["events"]]
    assert heard == sticky
    nonsense = {EXTENSION: {"enabled": True, "since": "nonsense"}}
    (await slider.ask(lists=lists, extensions=nonsense)).refused(400, "M_INVALID_PARAM")
