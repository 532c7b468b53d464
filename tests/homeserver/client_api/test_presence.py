from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes
from tests.patience import LONG_POLL_MS


def status(client: Client) -> str:
    return f"v3/presence/{quote(client.user_id)}/status"


async def test_presence_is_set_and_shown(homes: Homes) -> None:
    alice = await homes.user()
    assert (await alice.get(status(alice))).ok()["presence"] == "offline"
    (await alice.put(status(alice), {"presence": "online", "status_msg": "here"})).ok()
    shown = (await alice.get(status(alice))).ok()
    assert (shown["presence"], shown["status_msg"]) == ("online", "here")
    assert shown["currently_active"] is True
    assert shown["last_active_ago"] < 60_000


async def test_presence_comes_down_the_sync_of_those_who_share_a_room(homes: Homes) -> None:
    alice, bob, eve = await homes.user(), await homes.user(), await homes.user()
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    (await alice.put(status(alice), {"presence": "unavailable"})).ok()
    body = await bob.sync(since, LONG_POLL_MS)
    (event,) = body["presence"]["events"]
    assert (event["sender"], event["content"]["presence"]) == (alice.user_id, "unavailable")
    assert (await bob.get(status(alice))).ok()["presence"] == "unavailable"
    (await eve.get(status(alice))).refused(403, "M_FORBIDDEN")


async def test_sending_ends_a_presence_of_unavailable(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    (await alice.put(status(alice), {"presence": "unavailable"})).ok()
    await alice.send(room, "hello")
    assert (await alice.get(status(alice))).ok()["presence"] == "online"


async def test_presence_is_set_by_sync(homes: Homes) -> None:
    alice = await homes.user()
    await alice.sync(set_presence="unavailable")
    assert (await alice.get(status(alice))).ok()["presence"] == "unavailable"
    await alice.sync(set_presence="online")
    assert (await alice.get(status(alice))).ok()["presence"] == "online"


async def test_broken_presence_is_refused(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    (await alice.put(status(bob), {"presence": "online"})).refused(403, "M_FORBIDDEN")
    (await alice.put(status(alice))).refused(400, "M_MISSING_PARAM")
    (await alice.put(status(alice), {"presence": "busy"})).refused(400, "M_INVALID_PARAM")
    answer = await alice.put(status(alice), {"presence": "online", "status_msg": 1})
    answer.refused(400, "M_BAD_JSON")
