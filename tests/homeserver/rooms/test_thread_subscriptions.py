"""Subscribing to threads, and hearing of it on other devices."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from homeserver.app import running
from tests.homeserver.conftest import Answer, Client, Homes, settings_for_tests
from tests.homeserver.sliding.slider import Slider
from tests.patience import LONG_POLL_MS

EXTENSION = "io.element.msc4308.thread_subscriptions"
PAGES = "unstable/io.element.msc4308/thread_subscriptions"
NOT_IN_THREAD = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"
CONFLICT = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"


def path_of(room_id: str, root_id: str) -> str:
    """The subscription to a thread."""
    thread = f"rooms/{quote(room_id)}/thread/{quote(root_id)}"
    return f"unstable/io.element.msc4306/{thread}/subscription"


async def subscribe(client: Client, room_id: str, root_id: str, cause: Any = None) -> Answer:
    """Subscribe, because of an event if one is given."""
    body = {} if cause is None else {"automatic": cause}
    return await client.put(path_of(room_id, root_id), body)


async def unsubscribe(client: Client, room_id: str, root_id: str) -> None:
    """Unsubscribe."""
    assert (await client.delete(path_of(room_id, root_id))).ok() == {}


async def reply(client: Client, room_id: str, root_id: str, text: str = "reply") -> str:
    """Send a message to a thread."""
    relation = {"rel_type": "m.thread", "event_id": root_id}
    return await client.send(room_id, text, **{"m.relates_to": relation})


async def slide(slider: Slider, **options: Any) -> Any:
    """What the extension tells."""
    return (await slider.next(**options))["extensions"].get(EXTENSION, {})


def slider_of(client: Client, **options: Any) -> Slider:
    """A connection that wants nothing but subscriptions to threads."""
    slider = Slider(client, "threads")
    slider.extensions = {EXTENSION: {"enabled": True, **options}}
    return slider


async def test_what_the_user_asked_for_outweighs_what_a_client_did_by_itself(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root_id = await alice.send(room_id, "root")
    path = path_of(room_id, root_id)
    (await alice.get(path)).refused(404, "M_NOT_FOUND")
    await unsubscribe(alice, room_id, root_id)
    cause = await reply(alice, room_id, root_id)
    assert (await subscribe(alice, room_id, root_id, cause)).ok() == {}
    assert (await alice.get(path)).ok() == {"automatic": True}
    (await subscribe(alice, room_id, root_id)).ok()
    assert (await alice.get(path)).ok() == {"automatic": False}
    (await subscribe(alice, room_id, root_id, cause)).ok()
    assert (await alice.get(path)).ok() == {"automatic": False}
    await unsubscribe(alice, room_id, root_id)
    await unsubscribe(alice, room_id, root_id)
    (await alice.get(path)).refused(404, "M_NOT_FOUND")


async def test_an_automatic_subscription_needs_an_event_of_the_thread(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root_id, other_id = await alice.send(room_id, "root"), await alice.send(room_id, "other")
    elsewhere = await reply(alice, room_id, other_id)
    for cause in (root_id, elsewhere):
        (await subscribe(alice, room_id, root_id, cause)).refused(400, NOT_IN_THREAD)
    (await subscribe(alice, room_id, root_id, "$nothing")).refused(404, "M_NOT_FOUND")
    (await subscribe(alice, room_id, root_id, True)).refused(400, "M_BAD_JSON")


async def test_what_came_before_the_user_unsubscribed_does_not_subscribe_again(
    homes: Homes,
) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root_id = await alice.send(room_id, "root")
    first = await reply(alice, room_id, root_id)
    (await subscribe(alice, room_id, root_id, first)).ok()
    second = await reply(alice, room_id, root_id)
    await unsubscribe(alice, room_id, root_id)
    later = await reply(alice, room_id, root_id)
    for cause in (first, second):
        (await subscribe(alice, room_id, root_id, cause)).refused(409, CONFLICT)
        (await alice.get(path_of(room_id, root_id))).refused(404, "M_NOT_FOUND")
    (await subscribe(alice, room_id, root_id, later)).ok()
    assert (await alice.get(path_of(room_id, root_id))).ok() == {"automatic": True}


async def test_only_who_sees_the_root_follows_its_thread(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    other_room_id = await bob.create_room()
    root_id = await alice.send(room_id, "root")
    for room, root in ((room_id, root_id), (room_id, "$nothing"), (other_room_id, root_id)):
        (await subscribe(bob, room, root)).refused(404, "M_NOT_FOUND")
        (await bob.get(path_of(room, root))).refused(404, "M_NOT_FOUND")
        (await bob.delete(path_of(room, root))).refused(404, "M_NOT_FOUND")


async def test_a_client_that_waits_hears_what_another_device_did(homes: Homes) -> None:
    alice = await homes.user()
    other = await homes.second_device(alice)
    bob = await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    root_id = await alice.send(room_id, "root")
    slider = slider_of(alice)
    assert await slide(slider) == {}
    waiting = asyncio.create_task(slide(slider, timeout_ms=LONG_POLL_MS))
    (await subscribe(bob, room_id, root_id)).ok()
    (await subscribe(other, room_id, root_id)).ok()
    told = await waiting
    stamp = told["subscribed"][room_id][root_id].pop("bump_stamp")
    assert told == {"subscribed": {room_id: {root_id: {"automatic": False}}}}
    waiting = asyncio.create_task(slide(slider, timeout_ms=LONG_POLL_MS))
    await unsubscribe(other, room_id, root_id)
    told = await waiting
    assert told["unsubscribed"][room_id][root_id]["bump_stamp"] > stamp
    assert "subscribed" not in told
    assert await slide(slider) == {}


async def test_what_does_not_fit_into_an_answer_is_paged_back_to(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    slider = slider_of(alice, limit=2)
    roots = [await alice.send(room_id, f"root {n}") for n in range(6)]
    (await subscribe(alice, room_id, roots[0])).ok()
    assert list((await slide(slider))["subscribed"][room_id]) == roots[:1]
    start = slider.pos
    for root_id in roots[1:]:
        (await subscribe(alice, room_id, root_id)).ok()
    await unsubscribe(alice, room_id, roots[1])
    told = await slide(slider)
    assert told["unsubscribed"][room_id].keys() == {roots[1]}
    assert told["subscribed"][room_id].keys() == {roots[5]}
    query = {"dir": "b", "to": start, "limit": 2}
    page = (await alice.get(PAGES, **query, **{"from": told["prev_batch"]})).ok()
    assert page["subscribed"][room_id].keys() == {roots[4], roots[3]}
    page = (await alice.get(PAGES, **query, **{"from": page["end"]})).ok()
    assert page["subscribed"][room_id].keys() == {roots[2]}
    assert "end" not in page
    whole = (await alice.get(PAGES, dir="b")).ok()
    assert whole["subscribed"][room_id].keys() == {roots[0], *roots[2:]}
    assert whole["unsubscribed"][room_id].keys() == {roots[1]}


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"dir": "f"}, "M_INVALID_PARAM"),
        ({"dir": "b", "limit": 0}, "M_INVALID_PARAM"),
        ({"dir": "b", "from": "x"}, "M_INVALID_PARAM"),
        ({"dir": "b", "to": "x"}, "M_INVALID_PARAM"),
    ],
)
async def test_malformed_pages_are_refused(
    homes: Homes, query: dict[str, Any], errcode: str
) -> None:
    alice = await homes.user()
    (await alice.get(PAGES, **query)).refused(400, errcode)


async def test_an_extension_that_is_enabled_later_tells_all_there_is(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    root_id = await alice.send(room_id, "root")
    slider = slider_of(alice)
    wanted, slider.extensions = slider.extensions, {}
    (await subscribe(alice, room_id, root_id)).ok()
    assert await slide(slider) == {}
    slider.extensions = wanted
    assert (await slide(slider))["subscribed"][room_id].keys() == {root_id}
    assert await slide(slider) == {}


async def test_a_restart_is_not_noticed(database_url: str, tmp_path: Path) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    async with aiohttp.ClientSession() as session:
        async with running(settings) as server:
            homes = Homes(server, session)
            alice = await homes.user()
            room_id = await alice.create_room()
            kept, dropped = await alice.send(room_id, "one"), await alice.send(room_id, "two")
            slider = slider_of(alice)
            assert await slide(slider) == {}
            for root_id in (kept, dropped):
                (await subscribe(alice, room_id, root_id)).ok()
            await unsubscribe(alice, room_id, dropped)
        async with running(settings) as server:
            again = Homes(server, session).nobody()
            again.token = alice.token
            assert (await again.get(path_of(room_id, kept))).ok() == {"automatic": False}
            (await again.get(path_of(room_id, dropped))).refused(404, "M_NOT_FOUND")
            slider.client = again
            told = await slide(slider)
            assert told["subscribed"][room_id].keys() == {kept}
            assert told["unsubscribed"][room_id].keys() == {dropped}


async def test_erasing_an_account_deletes_subscriptions(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    (await subscribe(alice, room_id, await alice.send(room_id, "root"))).ok()
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": "a password that is long",
    }
    (await alice.post("v3/account/deactivate", {"auth": auth, "erase": True})).ok()
    assert await homes.services.db.fetchval("SELECT count(*) FROM thread_subscriptions") == 0
