"""Delayed events (MSC4140), as clients schedule and manage them."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from federation.protocol.errors import NotFound
from federation.protocol.identifiers import UserId
from homeserver.app import running
from homeserver.calls.delivery import Delivery
from homeserver.calls.timer import Timer
from homeserver.clock import system_clock
from homeserver.config.sections.calls import DelayedEvents
from homeserver.duty import Duty
from storage.database import Database
from storage.delayed_events import SELECT_NEXT
from storage.duties import DELAYED_EVENTS
from tests.homeserver.appservices.bridge import Bridge, bridged
from tests.homeserver.calls.delaying import (
    BRING_FORWARD,
    HOUR_MS,
    STABLE,
    UNSTABLE,
    Listener,
    delay_message,
    delay_state,
    finalised,
    scheduled,
)
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.patience import PATIENCE_S

MEMBER = "org.matrix.msc3401.call.member"
RESTARTS = 10


async def test_messages_are_sent_when_they_are_due_in_the_order_of_their_times(
    homes: Homes,
) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    listener = await Listener.begin(alice, room_id)
    for text, minutes in (("third", 3), ("first", 1), ("second", 2)):
        (await delay_message(alice, room_id, text, HOUR_MS + minutes * 60_000)).ok()
    await homes.services.db.execute(BRING_FORWARD, 2 * HOUR_MS)
    # Hearing of something earlier, the timer looks what is due.
    (await delay_message(alice, room_id, "fourth", 1)).ok()
    assert await listener.texts(4) == ["first", "second", "third", "fourth"]
    assert await scheduled(alice) == []


async def test_what_is_scheduled_is_listed_in_the_order_of_its_times(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    later = (await delay_message(alice, room_id, "later", 2 * HOUR_MS)).ok()["delay_id"]
    content = {"name": "Soon"}
    sooner = await delay_state(alice, room_id, "m.room.name", content, HOUR_MS)
    assert [one["delay_id"] for one in await scheduled(alice)] == [sooner, later]
    shown = (await alice.get(f"{STABLE}/{sooner}")).ok()
    assert (shown["room_id"], shown["type"], shown["state_key"]) == (room_id, "m.room.name", "")
    assert (shown["content"], shown["delay_ms"]) == (content, HOUR_MS)
    assert abs(shown["scheduled_at"] - homes.services.clock()) < 60_000
    assert {"error", "event_id", "finalised_ts"}.isdisjoint(shown)
    assert "state_key" not in (await alice.get(f"{UNSTABLE}/{later}")).ok()
    only = (await alice.get(STABLE, delay_id=later)).ok()["delayed_events"]
    assert [one["delay_id"] for one in only] == [later]
    assert await scheduled(bob) == []
    (await bob.get(f"{STABLE}/{sooner}")).refused(404, "M_NOT_FOUND")
    (await homes.nobody().get(STABLE)).refused(401, "M_MISSING_TOKEN")


async def test_long_lists_come_in_pages(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    for number in range(100):
        (await delay_message(alice, room_id, f"m{number}", HOUR_MS + number)).ok()
    for listed in await scheduled(alice):
        (await alice.post(f"{STABLE}/{listed['delay_id']}/cancel")).ok()
    (await delay_message(alice, room_id, "one more", 2 * HOUR_MS)).ok()
    (await alice.post(f"{STABLE}/{(await scheduled(alice))[0]['delay_id']}/cancel")).ok()
    first = (await alice.get(STABLE, status="finalised")).ok()
    assert len(first["delayed_events"]) == 100
    rest = (await alice.get(STABLE, status="finalised", **{"from": first["next_batch"]})).ok()
    assert [one["content"]["body"] for one in rest["delayed_events"]] == ["one more"]
    assert "next_batch" not in rest
    (await alice.get(STABLE, **{"from": "nonsense"})).refused(400, "M_INVALID_PARAM")
    (await alice.get(STABLE, status="nonsense")).refused(400, "M_INVALID_PARAM")


async def test_the_endpoint_of_its_own_schedules_messages_and_state(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    path = f"rooms/{quote(room_id)}/delayed_event"
    message = {"delay_ms": 1, "content": {"msgtype": "m.text", "body": "later"}}
    name = {"delay_ms": 1, "content": {"name": "Soon"}, "state_key": ""}
    listener = await Listener.begin(alice, room_id)
    (await alice.put(f"v3/{path}/m.room.message/1", message)).ok()
    await listener.hear(1)
    (await alice.put(f"unstable/org.matrix.msc4140/{path}/m.room.name/2", name)).ok()
    heard = await listener.hear(2)
    assert [event["content"] for event in heard] == [message["content"], {"name": "Soon"}]
    assert heard[1]["state_key"] == ""
    for wrong, errcode in (
        ({"content": {}}, "M_MISSING_PARAM"),
        ({"delay_ms": 5}, "M_MISSING_PARAM"),
        ({"delay_ms": "5", "content": {}}, "M_BAD_JSON"),
        ({"delay_ms": 0, "content": {}}, "M_INVALID_PARAM"),
        ({"delay_ms": 5, "content": {}, "state_key": 5}, "M_BAD_JSON"),
    ):
        (await alice.put(f"v3/{path}/m.room.message/3", wrong)).refused(400, errcode)


async def test_the_same_request_schedules_once(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    first = (await delay_message(alice, room_id, "later", HOUR_MS, "t1")).ok()
    path = f"v3/rooms/{quote(room_id)}/send/m.room.message/t1"
    query: dict[str, Any] = {"org.matrix.msc4140.delay": HOUR_MS}
    again = await asyncio.gather(*(alice.request("PUT", path, **query) for _ in range(3)))
    assert [answer.ok() for answer in again] == [first] * 3
    assert len(await scheduled(alice)) == 1
    other = await homes.second_device(alice)
    assert (await delay_message(other, room_id, "later", HOUR_MS, "t1")).ok() != first
    (await alice.send(room_id, "the transaction IDs of messages that are sent now are others"))


async def test_an_event_is_restarted_cancelled_and_sent_without_a_login(homes: Homes) -> None:
    alice, nobody = await homes.user(), homes.nobody()
    room_id = await alice.create_room()
    listener = await Listener.begin(alice, room_id)
    sent = (await delay_message(alice, room_id, "sent", HOUR_MS)).ok()["delay_id"]
    gone = (await delay_message(alice, room_id, "gone", HOUR_MS)).ok()["delay_id"]
    before = (await alice.get(f"{STABLE}/{sent}")).ok()["scheduled_at"]
    (await nobody.post(f"{UNSTABLE}/{sent}/restart")).ok()
    assert (await alice.get(f"{STABLE}/{sent}")).ok()["scheduled_at"] >= before
    (await nobody.post(f"{UNSTABLE}/{gone}", {"action": "cancel"})).ok()
    (await nobody.post(f"{UNSTABLE}/{sent}/send")).ok()
    assert await listener.texts(1) == ["sent"]
    assert await scheduled(alice) == []
    outcomes = {one["delay_id"]: one for one in await finalised(alice)}
    assert outcomes[sent]["event_id"] == listener.heard[0]["event_id"]
    assert outcomes[gone]["finalised_ts"]
    assert {"event_id", "error"}.isdisjoint(outcomes[gone])


async def test_only_its_owner_manages_it_at_the_stable_path(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    delay_id = (await delay_message(alice, room_id, "mine", HOUR_MS)).ok()["delay_id"]
    for action in ("restart", "cancel", "send"):
        (await bob.post(f"{STABLE}/{delay_id}/{action}")).refused(404, "M_NOT_FOUND")
        nobody = homes.nobody()
        (await nobody.post(f"{STABLE}/{delay_id}/{action}")).refused(401, "M_MISSING_TOKEN")
    assert len(await scheduled(alice)) == 1


async def test_actions_may_be_repeated_and_others_conflict(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    for done, repeated, conflicting in (
        ("send", ["send"], ["cancel", "restart"]),
        ("cancel", ["cancel"], ["send", "restart"]),
    ):
        delay_id = (await delay_message(alice, room_id, done, HOUR_MS)).ok()["delay_id"]
        for action in (done, *repeated):
            (await alice.post(f"{STABLE}/{delay_id}/{action}")).ok()
            (await alice.post(f"{UNSTABLE}/{delay_id}/{action}")).ok()
        for action in conflicting:
            (await alice.post(f"{STABLE}/{delay_id}/{action}")).refused(409, "M_UNKNOWN")
            # Clients of the unstable paths take anything but this for a failure of the server.
            (await alice.post(f"{UNSTABLE}/{delay_id}/{action}")).refused(404, "M_NOT_FOUND")


async def test_what_is_not_there_is_not_found(homes: Homes) -> None:
    alice = await homes.user()
    for action in ("restart", "cancel", "send"):
        (await alice.post(f"{STABLE}/nothing/{action}")).refused(404, "M_NOT_FOUND")
        (await alice.post(f"{UNSTABLE}/nothing", {"action": action})).refused(404, "M_NOT_FOUND")
    (await alice.post(f"{UNSTABLE}/nothing/oops")).refused(404, "M_UNRECOGNIZED")
    (await alice.post(f"{UNSTABLE}/nothing", {"action": "oops"})).refused(400, "M_INVALID_PARAM")
    (await alice.post(f"{UNSTABLE}/nothing")).refused(400, "M_MISSING_PARAM")
    room = "v3/rooms/!nowhere:test/send/m.room.message/1"
    answer = await alice.put(room, {}, **{"org.matrix.msc4140.delay": 5})
    answer.refused(404, "M_NOT_FOUND")


async def test_only_the_sender_is_shown_the_id_of_what_was_delayed(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    tablet = await homes.second_device(alice)
    listeners = [await Listener.begin(client, room_id) for client in (alice, tablet, bob)]
    delay_id = (await delay_message(alice, room_id, "later", 1)).ok()["delay_id"]
    live = [(await listener.hear(1))[0] for listener in listeners]
    assert [event["unsigned"].get("delay_id") for event in live] == [delay_id, delay_id, None]
    path = f"v3/rooms/{quote(room_id)}/event/{live[0]['event_id']}"
    for client, shown in ((alice, delay_id), (tablet, delay_id), (bob, None)):
        unsigned = (await client.get(path)).ok()["unsigned"]
        assert unsigned.get("org.matrix.msc4140.delay_id") == shown
        assert "transaction_id" not in unsigned
    initial = (await alice.sync())["rooms"]["join"][room_id]["timeline"]["events"]
    assert initial[-1]["unsigned"]["delay_id"] == delay_id


async def test_too_long_a_delay_is_refused_with_the_longest(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    longest = 24 * HOUR_MS
    refused = (await delay_message(alice, room_id, "x", longest + 1)).refused(400, "M_UNKNOWN")
    assert refused["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
    assert refused["org.matrix.msc4140.max_delay"] == longest
    path = f"v3/rooms/{quote(room_id)}/delayed_event/m.room.message/1"
    body = {"delay_ms": longest + 1, "content": {}}
    (await alice.put(path, body)).refused(403, "M_FORBIDDEN")
    (await delay_message(alice, room_id, "x", longest)).ok()
    (await delay_message(alice, room_id, "y", -1)).refused(400, "M_INVALID_PARAM")


async def test_too_large_an_event_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    (await delay_message(alice, room_id, "x" * 66_000, HOUR_MS, "t")).refused(413, "M_TOO_LARGE")
    path = f"v3/rooms/{quote(room_id)}/send/{'x' * 256}/1"
    answer = await alice.put(path, {}, **{"org.matrix.msc4140.delay": 5})
    answer.refused(413, "M_TOO_LARGE")


async def test_limits_are_announced_and_kept(database_url: str, tmp_path: Path) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(settings, delayed_events=DelayedEvents(max_delay_s=7200, max_scheduled=2))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        alice = await homes.user()
        room_id = await alice.create_room()
        announced = (await alice.get("v3/capabilities")).ok()["capabilities"]
        expected = {"max_delay_ms": 7_200_000, "max_scheduled": 2}
        assert announced["m.delayed_events"] == expected
        assert announced["org.matrix.msc4140.delayed_events"] == expected
        for text in ("one", "two"):
            (await delay_message(alice, room_id, text, HOUR_MS)).ok()
        answer = await delay_message(alice, room_id, "three", HOUR_MS)
        answer.refused(429, "M_LIMIT_EXCEEDED")
        assert 3500 < int(answer.headers["Retry-After"]) <= 3600
        (await alice.post(f"{STABLE}/{(await scheduled(alice))[0]['delay_id']}/cancel")).ok()
        (await delay_message(alice, room_id, "three", HOUR_MS)).ok()


async def test_without_any_scheduled_nothing_can_be_delayed(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    settings = replace(settings, delayed_events=DelayedEvents(max_scheduled=0))
    async with running(settings) as server, aiohttp.ClientSession() as session:
        alice = await Homes(server, session).user()
        room_id = await alice.create_room()
        (await delay_message(alice, room_id, "x", HOUR_MS)).refused(403, "M_FORBIDDEN")
        features = (await alice.get("versions")).ok()["unstable_features"]
        assert features["org.matrix.msc4140"] is False


async def test_whether_it_may_be_sent_is_decided_when_it_is_due(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    listener = await Listener.begin(alice, room_id)
    early = (await delay_message(bob, room_id, "hello", HOUR_MS)).ok()["delay_id"]
    (await bob.post(f"{UNSTABLE}/{early}/send")).refused(403, "M_FORBIDDEN")
    assert len(await scheduled(bob)) == 1, "the cause may have gone when it is due"
    await bob.join(room_id)
    (await bob.post(f"{UNSTABLE}/{early}/send")).ok()
    heard = await listener.hear(2)
    assert heard[1]["content"]["body"] == "hello"


async def test_what_cannot_be_sent_when_it_is_due_has_failed(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    delay_id = (await delay_message(bob, room_id, "hello", 1)).ok()["delay_id"]
    failed = await until_finalised(bob, delay_id)
    assert failed["error"]["errcode"] == "M_FORBIDDEN"
    assert "event_id" not in failed
    (await bob.post(f"{STABLE}/{delay_id}/cancel")).ok()
    (await bob.post(f"{STABLE}/{delay_id}/send")).refused(409, "M_UNKNOWN")


async def test_a_newer_state_event_does_not_cancel_a_delayed_one(homes: Homes) -> None:
    """Who joins a call schedules the leave first and sends the join afterwards."""
    alice = await homes.user()
    room_id = await alice.create_room()
    key = f"_{alice.user_id}_{alice.device_id}_m.call"
    leave = await delay_state(alice, room_id, MEMBER, {}, HOUR_MS, key)
    await alice.set_state(room_id, MEMBER, {"call_id": ""}, key)
    assert [one["delay_id"] for one in await scheduled(alice)] == [leave]
    listener = await Listener.begin(alice, room_id)
    (await homes.nobody().post(f"{UNSTABLE}/{leave}/send")).ok()
    heard = await listener.hear(1)
    assert (heard[0]["state_key"], heard[0]["content"]) == (key, {})


async def test_state_that_is_so_already_finalises_without_an_event(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    event_id = await alice.set_state(room_id, "m.room.name", {"name": "Same"})
    delay_id = await delay_state(alice, room_id, "m.room.name", {"name": "Same"}, 1)
    assert (await until_finalised(alice, delay_id))["event_id"] == event_id


async def test_memberships_and_redactions_are_delayed_too(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room()
    said = await alice.send(room_id, "secret")
    invite = {"membership": "invite"}
    invited = await delay_state(alice, room_id, "m.room.member", invite, 1, bob.user_id)
    path = f"v3/rooms/{quote(room_id)}/send/m.room.redaction/1"
    answer = await alice.put(path, {"redacts": said}, **{"org.matrix.msc4140.delay": 1})
    await until_finalised(alice, invited)
    await until_finalised(alice, answer.ok()["delay_id"])
    assert room_id in (await bob.sync())["rooms"]["invite"]
    event = (await alice.get(f"v3/rooms/{quote(room_id)}/event/{said}")).ok()
    assert event["content"] == {}


async def test_deactivation_cancels_what_is_scheduled(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    delay_id = (await delay_message(bob, room_id, "from beyond", HOUR_MS)).ok()["delay_id"]
    await homes.services.users.deactivation.deactivate(UserId(bob.user_id))
    (await homes.nobody().post(f"{UNSTABLE}/{delay_id}/send")).refused(404, "M_NOT_FOUND")


async def test_suspended_users_send_nothing_later(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    delay_id = (await delay_message(alice, room_id, "later", HOUR_MS)).ok()["delay_id"]
    accounts = homes.services.users.accounts
    await accounts.set_suspended(UserId(alice.user_id), suspended=True)
    (await homes.nobody().post(f"{UNSTABLE}/{delay_id}/send")).refused(403, "M_USER_SUSPENDED")
    (await delay_message(alice, room_id, "more", HOUR_MS)).refused(403, "M_USER_SUSPENDED")
    await accounts.set_suspended(UserId(alice.user_id), suspended=False)
    (await homes.nobody().post(f"{UNSTABLE}/{delay_id}/send")).ok()


async def test_guests_may_delay_events(homes: Homes) -> None:
    alice, guest = await homes.user(), homes.nobody()
    Homes.log_in(guest, (await guest.post("v3/register", {}, kind="guest")).ok())
    room_id = await alice.create_room(preset="public_chat")
    await alice.set_state(room_id, "m.room.guest_access", {"guest_access": "can_join"})
    await guest.join(room_id)
    listener = await Listener.begin(alice, room_id)
    (await delay_message(guest, room_id, "from a guest", 1)).ok()
    assert await listener.texts(1) == ["from a guest"]


async def test_a_service_delays_events_of_its_users_and_sets_their_time(
    database_url: str, tmp_path: Path
) -> None:
    bridge = Bridge()
    async with bridged(database_url, tmp_path, bridge) as homes:
        alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
        room_id = await alice.create_room(preset="public_chat")
        await ghost.join(room_id)
        listener = await Listener.begin(alice, room_id)
        path = f"v3/rooms/{quote(room_id)}/delayed_event/m.room.message/1"
        body = {"delay_ms": 1, "content": {"msgtype": "m.text", "body": "late"}}
        (await ghost.put(path, body, ts=1234)).ok()
        heard = await listener.hear(1)
        assert heard[0]["sender"] == ghost.user_id
        assert heard[0]["origin_server_ts"] == 1234


async def test_within_the_process_what_is_over_is_not_found(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    delayed_events = homes.services.delayed_events
    delay_id = (await delay_message(alice, room_id, "hi", HOUR_MS)).ok()["delay_id"]
    await delayed_events.restart(delay_id)
    sent = await delayed_events.send(delay_id)
    assert await delayed_events.send(delay_id) == sent
    with pytest.raises(NotFound):
        await delayed_events.restart(delay_id)
    with pytest.raises(NotFound):
        await delayed_events.send("nothing")


async def test_many_who_send_it_at_once_send_it_once(homes: Homes) -> None:
    alice, nobody = await homes.user(), homes.nobody()
    room_id = await alice.create_room()
    listener = await Listener.begin(alice, room_id)
    delay_id = (await delay_message(alice, room_id, "once", 5)).ok()["delay_id"]
    sends = (nobody.post(f"{UNSTABLE}/{delay_id}/send") for _ in range(8))
    for answer in await asyncio.gather(*sends):
        answer.ok()
    await alice.send(room_id, "last")
    assert await listener.texts(2) == ["once", "last"]


async def test_what_was_restarted_in_time_is_not_sent_before_its_delay_is_over(
    homes: Homes,
) -> None:
    alice, nobody = await homes.user(), homes.nobody()
    room_id = await alice.create_room()
    for number in range(10):
        delay_id = (await delay_message(alice, room_id, str(number), 4)).ok()["delay_id"]
        for _ in range(RESTARTS):
            if (await nobody.post(f"{UNSTABLE}/{delay_id}/restart")).status != 200:
                break
        await until_finalised(alice, delay_id)
    sent = await finalised(alice)
    assert len({one["event_id"] for one in sent}) == 10
    assert all(one["finalised_ts"] >= one["scheduled_at"] + one["delay_ms"] for one in sent)


async def until_finalised(client: Client, delay_id: str) -> dict[str, Any]:
    """A delayed event, once it is finalised."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shown: dict[str, Any] = (await client.get(f"{STABLE}/{delay_id}")).ok()
            if "finalised_ts" in shown:
                return shown


class CountingDatabase:
    """A database that counts what it is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.queries = 0
        self.asked = asyncio.Event()

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self._count()
        return await self._db.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        self._count()
        return await self._db.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        self._count()
        return await self._db.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        self._count()
        return await self._db.execute(query, *args)

    def _count(self) -> None:
        self.queries += 1
        self.asked.set()


async def test_nothing_is_asked_of_the_database_while_nothing_is_scheduled(homes: Homes) -> None:
    alice, services = await homes.user(), homes.services
    room_id = await alice.create_room()
    db = CountingDatabase(services.db)
    delivery = Delivery(db, services.rooms.events, services.clock)
    duty = Duty(db, DELAYED_EVENTS, services.committer.number)
    timer = Timer(db, delivery, services.clock, duty, never_announce)
    keeping = asyncio.create_task(timer.run())
    try:
        await db.asked.wait()
        for number in range(10):
            await alice.send(room_id, f"talk {number}")
        begun = db.queries
        for number in range(10):
            await alice.send(room_id, f"more talk {number}")
        assert db.queries == begun == 4
        db.asked.clear()
        await timer.scheduled(services.clock() + HOUR_MS)
        await db.asked.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


class OvertakenDatabase(CountingDatabase):
    """A database in which something is scheduled just when it has answered what is due next."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.timers: list[Timer] = []

    async def fetchval(self, query: str, *args: Any) -> Any:
        answer = await super().fetchval(query, *args)
        if query == SELECT_NEXT and self.timers:
            self.asked.clear()
            await self.timers.pop().scheduled(system_clock() + HOUR_MS)
        return answer


async def test_what_is_scheduled_while_the_timer_looks_is_not_overlooked(homes: Homes) -> None:
    services = homes.services
    db = OvertakenDatabase(services.db)
    duty = Duty(db, DELAYED_EVENTS, services.committer.number)
    delivery = Delivery(db, services.rooms.events, services.clock)
    timer = Timer(db, delivery, services.clock, duty, never_announce)
    # It has waited for something that was due before.
    timer._next_ts = services.clock()
    db.timers.append(timer)
    keeping = asyncio.create_task(timer.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while db.timers:
                await asyncio.sleep(0)
            await db.asked.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def never_announce(message: str) -> None:
    raise AssertionError(message)
