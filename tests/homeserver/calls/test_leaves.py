"""Delayed leaves that clients hand over: they go out when LiveKit no longer has the participant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from federation.protocol.errors import NotFound, Unknown
from federation.protocol.identifiers import ServerName
from homeserver.app import running
from homeserver.calls.leaves import Leaves, Word
from homeserver.calls.livekit import LiveKit
from homeserver.calls.livekit_names import participant_identity, plain_identity, room_name
from homeserver.calls.signed_tokens import ApiKey
from homeserver.clock import system_clock
from homeserver.config.settings import Settings
from homeserver.duty import Duty
from storage.call_leaves import all_leaves
from storage.database import Pool
from storage.duties import CALL_LEAVES
from tests.homeserver.calls.conftest import SLOT, CallingHomes, room_request, slot_request
from tests.homeserver.calls.delaying import HOUR_MS, Listener, delay_state, scheduled
from tests.homeserver.calls.played_livekit import (
    KEY_NAME,
    SECRET,
    SERVICE,
    URL,
    PlayedLiveKit,
    tell,
)
from tests.homeserver.conftest import Client, Homes
from tests.patience import PATIENCE_S

MEMBER = "org.matrix.msc3401.call.member"
OURS = ServerName("test")
KEY = ("room", "identity")
UNSTABLE = "unstable/io.element.msc4195/rtc/livekit"


def place_of(client: Client) -> str:
    return f"_{client.user_id}_{client.device_id}_m.call"


async def delayed_leave(client: Client, room_id: str) -> str:
    """What a client schedules when it enters a call."""
    return await delay_state(client, room_id, MEMBER, {}, HOUR_MS, place_of(client))


async def leaves_room(listener: Listener) -> dict[str, Any]:
    """The one event that comes."""
    (event,) = await listener.hear()
    return event


async def test_who_disconnects_without_a_word_leaves(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    key = (room_name(room_id, SLOT), plain_identity(alice.user_id, alice.device_id))
    calling.livekit.participants.add(key)
    delay = {"delay_id": await delayed_leave(alice, room_id), "delay_timeout": HOUR_MS}
    listener = await Listener.begin(alice, room_id)
    (await calling.service("sfu/get", await room_request(alice, room_id, **delay))).ok()
    assert await calling.livekit.next_look() == key
    (await calling.tell("participant_joined", *key)).ok()
    calling.livekit.participants.clear()
    (await calling.tell("participant_left", *key)).ok()
    event = await leaves_room(listener)
    assert (event["type"], event["state_key"], event["content"]) == (MEMBER, place_of(alice), {})
    assert await scheduled(alice) == []


async def test_the_older_connection_of_somebody_does_not_end_the_newer(
    calling: CallingHomes,
) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    key = (room_name(room_id, SLOT), plain_identity(alice.user_id, alice.device_id))
    calling.livekit.participants.add(key)
    delay = {"delay_id": await delayed_leave(alice, room_id), "delay_timeout": HOUR_MS}
    listener = await Listener.begin(alice, room_id)
    (await calling.service("sfu/get", await room_request(alice, room_id, **delay))).ok()
    await calling.livekit.next_look()
    for _ in range(2):
        # It is looked for each time, so it has not left the time before.
        (await calling.tell("participant_left", *key)).ok()
        assert await calling.livekit.next_look() == key
        assert len(await scheduled(alice)) == 1
    calling.livekit.participants.clear()
    (await calling.tell("participant_left", *key)).ok()
    await leaves_room(listener)


async def test_a_leave_can_be_handed_over_later(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    delay = {"delay_id": await delayed_leave(alice, room_id), "delay_timeout": HOUR_MS}
    request = await slot_request(alice, room_id, **delay)
    assert (await calling.service("delegate_delayed_leave", request)).ok() == {}
    (stored,) = await all_leaves(calling.homes.services.db)
    assert (stored.delay_id, stored.delay_ms) == (delay["delay_id"], HOUR_MS)


async def test_the_homeserver_takes_the_leaves_of_its_users(calling: CallingHomes) -> None:
    alice = await calling.user("alice")
    room_id = await alice.create_room()
    key = (room_name(room_id, SLOT), participant_identity(alice.user_id, "member"))
    calling.livekit.participants.add(key)
    request = {
        "url": URL,
        "room_id": room_id,
        "slot_id": SLOT,
        "member_id": "member",
        "delay_id": await delayed_leave(alice, room_id),
    }
    listener = await Listener.begin(alice, room_id)
    for path in ("v1/rtc/livekit", UNSTABLE):
        assert (await alice.post(f"{path}/delegate_delayed_leave", request)).ok() == {}
    assert await calling.livekit.next_look() == key
    calling.livekit.participants.clear()
    (await calling.tell("participant_left", *key)).ok()
    await leaves_room(listener)


async def test_the_homeserver_takes_only_leaves_of_the_user_in_the_room(
    calling: CallingHomes,
) -> None:
    alice, bob = await calling.user("alice"), await calling.user("bob")
    room_id, other_room_id = await alice.create_room(), await alice.create_room()
    good = {
        "url": URL,
        "room_id": room_id,
        "slot_id": SLOT,
        "member_id": "member",
        "delay_id": await delayed_leave(alice, room_id),
    }
    path = f"{UNSTABLE}/delegate_delayed_leave"
    for changes in (
        {"delay_id": "made up"},
        {"room_id": other_room_id},
        {"url": "wss://elsewhere.test"},
    ):
        (await alice.post(path, good | changes)).refused(400, "M_INVALID_PARAM")
    (await bob.post(path, good)).refused(400, "M_INVALID_PARAM")
    for name in ("room_id", "slot_id", "member_id", "delay_id"):
        (await alice.post(path, {**good, name: None})).refused(400, "M_MISSING_PARAM")
    (await calling.homes.nobody().post(path)).refused(401, "M_MISSING_TOKEN")
    cancel = f"unstable/org.matrix.msc4140/delayed_events/{quote(good['delay_id'])}/cancel"
    (await alice.post(cancel)).ok()
    (await alice.post(path, good)).refused(400, "M_INVALID_PARAM")


async def test_without_livekit_clients_find_out_that_they_keep_their_leaves(homes: Homes) -> None:
    nobody = homes.nobody()
    answer = await nobody.request("POST", f"{UNSTABLE}/delegate_delayed_leave")
    answer.refused(404, "M_UNRECOGNIZED")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_who_is_gone_when_the_server_is_back_leaves(
    calling_settings: Settings, livekit: PlayedLiveKit
) -> None:
    async with aiohttp.ClientSession() as session:
        async with running(calling_settings) as server:
            homes = Homes(server, session)
            alice = await homes.user("alice")
            room_id = await alice.create_room()
            key = (room_name(room_id, SLOT), plain_identity(alice.user_id, alice.device_id))
            livekit.participants.add(key)
            delay = {"delay_id": await delayed_leave(alice, room_id), "delay_timeout": HOUR_MS}
            request = await room_request(alice, room_id, **delay)
            (await alice.post(f"{SERVICE}/sfu/get", request)).ok()
            await livekit.next_look()
            await tell(session, homes.base_url, "participant_joined", *key)
        livekit.participants.clear()
        async with running(calling_settings) as server:
            again = Homes(server, session).nobody()
            again.token, again.user_id = alice.token, alice.user_id
            path = f"v3/rooms/{quote(room_id)}/state/{MEMBER}/{quote(place_of(alice))}"
            listener = Listener(again, room_id, (await again.sync())["next_batch"])
            if (await again.get(path)).status == 404:
                await leaves_room(listener)
            assert (await again.get(path)).ok() == {}


# -- the service by itself, with delayed events of another kind -----------------------------------


class NotNow(Unknown):
    """What may go well at another time."""

    status = 502


class Notebook:
    """Delayed events that only take down what is done with them."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.failures: list[Exception] = []

    async def restart(self, delay_id: str) -> None:
        await self._do("restart", delay_id)

    async def send(self, delay_id: str) -> None:
        await self._do("send", delay_id)

    async def _do(self, what: str, delay_id: str) -> None:
        self.done.put_nowait((what, delay_id))
        if self.failures:
            raise self.failures.pop(0)

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.done.get()


class Process:
    """What one process looks after."""

    def __init__(self, db: Pool, livekit: PlayedLiveKit, notebook: Notebook, number: int) -> None:
        self.told: list[str] = []
        self._api = LiveKit(
            f"http://127.0.0.1:{livekit.port}", ApiKey(KEY_NAME, SECRET), system_clock
        )
        duty = Duty(db, CALL_LEAVES, number)
        self.leaves = Leaves(db, self._api, lambda _: notebook, self._tell, system_clock, duty)

    async def _tell(self, message: str) -> None:
        self.told.append(message)

    @asynccontextmanager
    async def looking_after(self) -> AsyncIterator[Leaves]:
        task = asyncio.create_task(self.leaves.run())
        try:
            yield self.leaves
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._api.close()


async def test_a_participants_new_leave_takes_the_place_of_the_former(
    pool: Pool, livekit: PlayedLiveKit
) -> None:
    notebook = Notebook()
    livekit.participants.add(KEY)
    async with Process(pool, livekit, notebook, 1).looking_after() as leaves:
        await leaves.take(KEY, OURS, "former", HOUR_MS)
        assert await notebook.next() == ("restart", "former")
        await leaves.take(KEY, OURS, "later", HOUR_MS)
        assert await notebook.next() == ("restart", "later")
        livekit.participants.clear()
        await leaves.heard(Word.GONE, KEY)
        assert await notebook.next() == ("send", "later")
    assert notebook.done.empty()
    assert await all_leaves(pool) == []


async def test_what_failed_is_tried_again(pool: Pool, livekit: PlayedLiveKit) -> None:
    notebook = Notebook()
    notebook.failures = [NotNow("not now"), NotNow("not now"), NotFound("sent meanwhile")]
    async with Process(pool, livekit, notebook, 1).looking_after() as leaves:
        await leaves.take(KEY, OURS, "id", HOUR_MS)
        await livekit.next_look()
        await leaves.heard(Word.GONE, KEY)
        for _ in range(3):
            assert await notebook.next() == ("send", "id")


async def test_a_connection_that_came_to_nothing_leaves_nothing(
    pool: Pool, livekit: PlayedLiveKit
) -> None:
    notebook = Notebook()
    async with Process(pool, livekit, notebook, 1).looking_after() as leaves:
        await leaves.take(KEY, OURS, "id", HOUR_MS)
        await livekit.next_look()
        await leaves.heard(Word.BROKEN_OFF, KEY)
        await leaves.heard(Word.GONE, KEY)
    assert await all_leaves(pool) == []
    assert notebook.done.empty()


@pytest.mark.parametrize("is_told", [True, False])
async def test_one_process_looks_after_them_and_hears_what_the_others_hear(
    pool: Pool, livekit: PlayedLiveKit, is_told: bool
) -> None:
    notebook = Notebook()
    livekit.participants.add(KEY)
    one, other = (Process(pool, livekit, notebook, number) for number in (1, 2))
    async with one.looking_after() as leaves:
        await leaves.take(KEY, OURS, "id", HOUR_MS)
        assert await notebook.next() == ("restart", "id")
        one.told.clear()
        livekit.participants.clear()
        if is_told:
            await other.leaves.heard(Word.GONE, KEY)
            (told,) = other.told
            leaves.hear(told)
        else:
            await leaves.heard(Word.GONE, KEY)
            assert one.told == []
        assert await notebook.next() == ("send", "id")
