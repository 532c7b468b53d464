"""Connections of sliding sync: lost answers, restarts, several at once, and their end."""

import asyncio

import aiohttp

from homeserver.app import running
from homeserver.jobs.sliding_connections import JOB, KEPT_MS
from homeserver.sync.sliding.connections import MOST_CONNECTIONS
from tests.homeserver.conftest import Client, Homes
from tests.homeserver.sliding.slider import Slider, rooms_in, subscription, texts
from tests.patience import LONG_POLL_MS


async def test_a_lost_answer_is_given_again(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    for room_id in rooms:
        await bob.join(room_id)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 0)}
    await slider.next()
    slider.lists = {"all": rooms_in(0, 99)}
    await alice.send(rooms[2], "hello")
    lost = (await slider.ask()).ok()
    again = await slider.next()
    assert set(again["rooms"]) == set(lost["rooms"]) == set(rooms)
    assert again["rooms"][rooms[2]]["timeline"] == lost["rooms"][rooms[2]]["timeline"]
    assert "initial" not in again["rooms"][rooms[2]]
    known = {e["state_key"] for e in again["rooms"][rooms[2]]["required_state"]}
    assert known == {alice.user_id}, "members that were in the lost answer come again"
    assert (await slider.next())["rooms"] == {}


async def test_a_request_may_be_changed_while_it_waits(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    for n in range(5):
        await alice.send(room_id, f"{n}")
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    waiting = asyncio.create_task(slider.ask(timeout_ms=LONG_POLL_MS))
    slider.subscriptions = {room_id: subscription(timeline_limit=3)}
    answer = await slider.next()
    assert texts(answer["rooms"][room_id]) == ["2", "3", "4"]
    waiting.cancel()
    await alice.send(room_id, "5")
    assert texts((await slider.next())["rooms"][room_id]) == ["5"]


async def test_a_restart_is_not_noticed(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    for room_id in rooms:
        await bob.join(room_id)
    slider = Slider(bob)
    slider.lists = {"all": rooms_in(0, 99)}
    await slider.next()
    slider.lists = {"all": rooms_in(0, 0)}
    for room_id in rooms:
        await alice.send(room_id, "before")
    await slider.next()
    async with running(homes.services.settings) as server, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = bob.token, bob.user_id
        slider.client = there
        slider.lists = {"all": rooms_in(0, 99)}
        answer = await slider.next()
        assert set(answer["rooms"]) == set(rooms[:2])
        for room in answer["rooms"].values():
            assert "initial" not in room
            assert texts(room) == ["before"]
        await alice.send(rooms[0], "after")
        assert texts((await slider.next(timeout_ms=LONG_POLL_MS))["rooms"][rooms[0]]) == ["after"]
    slider.client = bob
    await alice.send(rooms[1], "back again")
    assert texts((await slider.next())["rooms"][rooms[1]]) == ["back again"]


async def test_many_versions_survive_a_restart(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room(name=f"{n}") for n in range(30)]
    slider = Slider(alice)
    for last in range(30):
        slider.lists = {"all": rooms_in(0, last)}
        await slider.next()
    async with running(homes.services.settings) as server, aiohttp.ClientSession() as session:
        there = Client(session, f"http://127.0.0.1:{server.port}")
        there.token, there.user_id = alice.token, alice.user_id
        slider.client = there
        assert (await slider.next())["rooms"] == {}
    assert set(slider.rooms) == set(rooms)
    count = await homes.services.db.fetchval("SELECT count(*) FROM sliding_versions")
    assert count <= 24, "what nobody comes back to is forgotten"


async def test_connections_of_a_device_do_not_share_what_was_sent(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    one, two = Slider(alice, "one"), Slider(alice, "two")
    for slider in (one, two):
        slider.lists = {"all": rooms_in()}
        assert set((await slider.next())["rooms"]) == {room_id}
    await alice.send(room_id, "hello")
    for slider in (one, two):
        assert texts((await slider.next())["rooms"][room_id]) == ["hello"]


async def test_unknown_positions_are_refused(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    await alice.create_room()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    pos = slider.pos
    assert pos is not None
    for wrong in ("nonsense", "s1_0", f"{pos}9", pos.replace("s", "s99999", 1)):
        slider.pos = wrong
        (await slider.ask()).refused(400, "M_UNKNOWN_POS")
    slider.pos = pos
    (await slider.ask(conn_id="other")).refused(400, "M_UNKNOWN_POS")
    theirs = Slider(bob)
    theirs.pos = pos
    (await theirs.ask()).refused(400, "M_UNKNOWN_POS")
    other = Slider(await homes.second_device(alice))
    other.pos = pos
    (await other.ask()).refused(400, "M_UNKNOWN_POS")
    (await slider.ask()).ok()


async def test_a_connection_that_begins_anew_replaces_the_former_one(homes: Homes) -> None:
    alice = await homes.user()
    await alice.create_room()
    first, second = Slider(alice), Slider(alice)
    for slider in (first, second):
        slider.lists = {"all": rooms_in()}
        await slider.next()
    (await first.ask()).refused(400, "M_UNKNOWN_POS")
    (await second.ask()).ok()


async def test_a_device_has_a_limited_number_of_connections(homes: Homes) -> None:
    alice = await homes.user()
    sliders = [Slider(alice, f"{n}") for n in range(MOST_CONNECTIONS + 1)]
    for slider in sliders:
        await slider.next()
    count = await homes.services.db.fetchval("SELECT count(*) FROM sliding_connections")
    assert count == MOST_CONNECTIONS
    (await sliders[-1].ask()).ok()


async def test_connections_that_nobody_uses_are_forgotten(homes: Homes) -> None:
    alice = await homes.user()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    context = homes.services.runner._context
    await JOB.run(context, homes.services.clock(), {})
    (await slider.ask()).ok()
    await JOB.run(context, homes.services.clock() + KEPT_MS + 1, {})
    assert await homes.services.db.fetchval("SELECT count(*) FROM sliding_connections") == 0


async def test_a_device_takes_its_connections_along(homes: Homes) -> None:
    alice = await homes.user()
    await Slider(alice).next()
    (await alice.post("v3/logout")).ok()
    await JOB.run(homes.services.runner._context, homes.services.clock(), {})
    assert await homes.services.db.fetchval("SELECT count(*) FROM sliding_connections") == 0


async def test_the_transaction_id_is_echoed_and_pos_may_stand_in_the_body(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    slider = Slider(alice)
    answer = await slider.next(txn_id="mine")
    assert answer["txn_id"] == "mine"
    assert "txn_id" not in await slider.next()
    slider.lists = {"all": rooms_in()}
    await slider.next()
    pos, slider.pos = slider.pos, None
    await alice.send(room_id, "hello")
    answer = (await slider.ask(pos=pos, timeout=1000)).ok()
    assert "initial" not in answer["rooms"][room_id]


async def test_pos_is_a_place_to_page_from(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    sent = [await alice.send(room_id, f"{n}") for n in range(3)]
    slider = Slider(alice)
    await slider.next()
    await alice.send(room_id, "later")
    page = await alice.get(f"v3/rooms/{room_id}/messages", dir="b", limit=3, **{"from": slider.pos})
    assert [e["event_id"] for e in page.ok()["chunk"]] == sent[::-1]


async def test_nothing_happens_until_the_time_is_over(homes: Homes) -> None:
    alice = await homes.user()
    await alice.create_room()
    slider = Slider(alice)
    slider.lists = {"all": rooms_in()}
    await slider.next()
    answer = await slider.next(timeout_ms=50)
    assert answer["rooms"] == {}
    assert answer["lists"] == {"all": {"count": 1}}
