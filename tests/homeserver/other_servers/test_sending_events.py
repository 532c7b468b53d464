"""Events on their way to other servers: who gets them, in which order, and after which troubles."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from federation.outbound.errors import NotFederating, Refused
from federation.outbound.sender import Sender
from federation.protocol.identifiers import ServerName, UserId
from homeserver.other_servers import backlog
from storage.duties import SENDING, take_duty
from storage.outgoing import RelayEvent, missed_rooms, waiting_destinations
from tests.homeserver.other_servers.sending_world import (
    FAR,
    ODD,
    OTTO,
    SLOW,
    ZOE,
    SendingWorld,
    eventually,
    refusing,
)
from tests.homeserver.rooms.world import ALICE, BOB
from tests.patience import PATIENCE_S

ROB = UserId("@rob:third.example")
THIRD = ServerName("third.example")


async def nothing_waits(us: SendingWorld) -> None:
    async def is_so() -> bool:
        return not await waiting_destinations(us.world.db)

    await eventually(is_so)


async def position_kept(us: SendingWorld) -> int:
    position: int = await us.world.db.fetchval(
        "SELECT position FROM duties WHERE name = $1", SENDING
    )
    return position


def has_heard(us: SendingWorld, name: ServerName, text: str) -> bool:
    return text in us.far.texts(name)


def texts(first: int, last: int) -> list[str]:
    return [f"message {n}" for n in range(first, last)]


async def test_our_events_reach_every_server_of_the_room(us: SendingWorld) -> None:
    room_id, quiet = await us.room(ZOE, OTTO), await us.room(BOB)
    async with us.sending():
        await us.say(room_id, "hello")
        await us.say(quiet, "for us alone")
        await us.world.say(room_id, ZOE, "from elsewhere")
        await us.say(room_id, "bye")
        for name in (FAR, ODD):
            await us.far.wait_for_texts(name, ["hello", "bye"])
    assert {name for name, _, _ in us.far.attempts} == {FAR, ODD}


async def test_what_gathers_goes_together_in_one_transaction_at_a_time(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.gate = asyncio.Event()
    async with us.sending() as sender:
        await us.say(room_id, "first")
        await us.far.until(lambda: us.far.under_way == 1)
        await us.say(room_id, *texts(0, 60))

        async def is_queued() -> bool:
            return len(sender._queues[FAR].live) == 60

        await eventually(is_queued)
        us.far.gate.set()
        await us.far.wait_for_texts(FAR, ["first", *texts(0, 60)])
    sizes = [len(transaction["pdus"]) for _, transaction in us.far.taken]
    assert us.far.most_under_way == 1
    assert sizes[-2:] == [50, 10]


async def test_transactions_have_ids_of_their_own_and_keep_them_when_repeated(
    us: SendingWorld,
) -> None:
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        await us.say(room_id, "one")
        await us.far.until(lambda: len(us.far.attempts) >= 3)
        us.far.down = set()
        await us.far.wait_for_texts(FAR, ["one"])
        await us.say(room_id, "two")
        await us.far.wait_for_texts(FAR, ["one", "two"])
    ids = [txn_id for _, txn_id, _ in us.far.attempts]
    assert len({ids[0], ids[1], ids[2]}) == 1
    assert ids[-1] != ids[0]


async def test_a_server_that_was_down_gets_all_it_missed_in_order(us: SendingWorld) -> None:
    room_id, other = await us.room(ZOE), await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        await us.say(room_id, *texts(0, 70))
        await us.say(other, "elsewhere")
        await us.far.until(lambda: len(us.far.attempts) > 6)
        us.far.down = set()
        await us.far.until(lambda: len(us.far.texts(FAR)) >= 71)
        await us.say(room_id, "after")
        await us.far.until(lambda: len(us.far.texts(FAR)) >= 72)
        await nothing_waits(us)
    heard = us.far.texts(FAR)
    assert heard[-1] == "after"
    assert [text for text in heard if text != "elsewhere"] == [*texts(0, 70), "after"]


async def test_a_restart_loses_nothing_that_a_server_missed(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        await us.say(room_id, *texts(0, 5))
        await us.far.until(lambda: len(us.far.attempts) >= 2)
    await us.say(room_id, *texts(5, 8))
    async with us.sending():
        await us.say(room_id, *texts(8, 10))
        us.far.down = set()
        await us.far.wait_for_texts(FAR, texts(0, 10))
        await nothing_waits(us)


@pytest.mark.parametrize("was_down", [False, True])
async def test_a_crash_loses_nothing(us: SendingWorld, was_down: bool) -> None:
    room_id = await us.room(ZOE, OTTO)
    us.far.down = {FAR} if was_down else set()
    us.settings = replace(us.settings, keep_every_s=3600)
    async with us.sending(crash=True):
        await us.say(room_id, *texts(0, 20))
        await us.far.wait_for_texts(ODD, texts(0, 20))
    us.far.down = set()
    async with us.sending():
        await us.say(room_id, "after")
        for name in (FAR, ODD):
            await us.far.until(partial(has_heard, us, name, "after"))
            assert us.far.texts(name) == [*texts(0, 20), "after"]


async def test_what_is_delivered_is_not_sent_again_after_a_restart(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    async with us.sending():
        await us.say(room_id, "once")
        await us.far.wait_for_texts(FAR, ["once"])
    assert await position_kept(us) == us.stream.position
    before = len(us.far.attempts)
    async with us.sending():
        await us.say(room_id, "twice")
        await us.far.wait_for_texts(FAR, ["once", "twice"])
    assert len(us.far.attempts) == before + 1


async def test_a_slow_server_does_not_hold_up_what_is_kept(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.gate = asyncio.Event()
    async with us.sending() as sender:
        await us.say(room_id, "slow")
        await us.far.until(lambda: us.far.under_way == 1)
        (queue,) = sender._queues.values()
        assert queue.in_flight is not None
        queue.in_flight = replace(queue.in_flight, began_ts=0)
        await us.say(room_id, "later")

        async def is_kept() -> bool:
            return bool(await missed_rooms(us.world.db, FAR))

        await eventually(is_kept)
        us.far.gate.set()
        await us.far.wait_for_texts(FAR, ["slow", "later"])
        await nothing_waits(us)


async def test_a_server_that_is_turned_out_hears_of_that_and_no_more(us: SendingWorld) -> None:
    room_id = await us.room(ZOE, OTTO)
    async with us.sending():
        await us.say(room_id, "before")
        await us.world.member(room_id, ZOE, "ban", by=ALICE)
        await us.say(room_id, "behind her back")
        await us.far.wait_for_texts(ODD, ["before", "behind her back"])
        await us.far.until(lambda: bool(us.far.pdus(FAR)))
    assert us.far.texts(FAR) == ["before"]
    assert us.far.pdus(FAR)[-1]["content"]["membership"] == "ban"


async def test_who_was_down_gets_only_what_it_was_in_the_room_for(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.down = {FAR, ODD}
    async with us.sending():
        await us.say(room_id, "zoe alone")
        await us.world.member(room_id, OTTO, "join")
        await us.say(room_id, "both")
        await us.world.member(room_id, ZOE, "leave", by=ALICE)
        await us.say(room_id, "otto alone")
    us.far.down = set()
    async with us.sending():
        await us.far.wait_for_texts(ODD, ["both", "otto alone"])
        await us.far.wait_for_texts(FAR, ["zoe alone", "both"])
        await nothing_waits(us)
    assert us.far.pdus(FAR)[-1]["content"]["membership"] == "leave"


async def test_a_rescinded_invite_reaches_the_server_of_the_invited(us: SendingWorld) -> None:
    room_id = await us.room()
    async with us.sending():
        await us.world.member(room_id, ZOE, "invite", by=ALICE)
        await us.world.member(room_id, ZOE, "leave", by=ALICE)
        await us.far.until(lambda: bool(us.far.taken))
    assert [pdu["content"]["membership"] for pdu in us.far.pdus(FAR)] == ["leave"]


async def test_a_redacted_event_is_sent_redacted_to_who_missed_it(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        event_id = await us.world.say(room_id, ALICE, "a secret")
        await us.far.until(lambda: bool(us.far.attempts))
        await us.world.redact(room_id, ALICE, event_id)
    us.far.down = set()
    async with us.sending():
        await us.far.until(lambda: len(us.far.pdus(FAR)) >= 2)
    assert "a secret" not in str(us.far.pdus(FAR))


async def test_events_that_came_in_through_us_are_passed_on(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    joined = await us.world.member(room_id, OTTO, "join")
    event = await us.world.event(joined)
    async with us.sending():
        await us.world.committer.commit(RelayEvent(event.event_nid))
        await us.far.until(lambda: bool(us.far.pdus(FAR)))
    assert [pdu["sender"] for pdu in us.far.pdus(FAR)] == [OTTO]
    assert us.far.pdus(ODD) == []


async def test_events_to_pass_on_outlast_a_restart(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        event = await us.world.event(await us.world.member(room_id, OTTO, "join"))
        await us.world.committer.commit(RelayEvent(event.event_nid))
        await us.far.until(lambda: bool(us.far.attempts))
    us.far.down = set()
    async with us.sending():
        await us.far.until(lambda: bool(us.far.pdus(FAR)))
    assert us.far.pdus(FAR)[0]["sender"] == OTTO


async def test_of_a_busy_room_a_server_that_was_away_gets_the_latest(
    us: SendingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_OF_ROOM", 10)
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        await us.say(room_id, *texts(0, 25))
        await us.until_marked(FAR)
    us.far.down = set()
    async with us.sending():
        await us.far.wait_for_texts(FAR, texts(15, 25))
        await nothing_waits(us)


async def test_an_event_that_a_server_never_takes_does_not_keep_back_the_others(
    us: SendingWorld,
) -> None:
    room_id = await us.room(ZOE)
    us.far.verdict = refusing("poison")
    async with us.sending():
        await us.say(room_id, *texts(0, 3), "poison", *texts(3, 6))
        await us.far.wait_for_texts(FAR, texts(0, 6))
        await nothing_waits(us)


async def test_a_server_that_refuses_for_a_while_loses_nothing(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.verdict = lambda name, _: Refused(name, 403, {"errcode": "M_FORBIDDEN"})
    async with us.sending():
        await us.say(room_id, *texts(0, 3))
        await us.far.until(lambda: len(us.far.attempts) >= 8)
        us.far.verdict = None
        await us.far.wait_for_texts(FAR, texts(0, 3))


async def test_a_server_that_asks_for_patience_is_given_it(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.verdict = lambda name, _: Refused(name, 429, {}, retry_after_ms=3_600_000)
    async with us.sending() as sender:
        await us.say(room_id, "one")
        await us.far.until(lambda: bool(us.far.attempts))
        await eventually_waits(sender, FAR)
        queue = sender._queues[FAR]
        assert queue.timer is not None
        assert queue.timer.when() - asyncio.get_running_loop().time() > 3_000


async def eventually_waits(sender: Sender, name: ServerName) -> None:
    async def waits() -> bool:
        queue = sender._queues.get(name)
        return queue is not None and queue.timer is not None and queue.failures > 0

    await eventually(waits)


async def test_nothing_is_sent_to_servers_that_we_do_not_talk_to(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.far.verdict = lambda name, _: NotFederating(name, "it is switched off")
    async with us.sending() as sender:
        await us.say(room_id, "one")
        await us.far.until(lambda: bool(us.far.attempts))

        async def is_idle() -> bool:
            return not sender._queues

        await eventually(is_idle)
        await nothing_waits(us)


async def test_a_dead_server_is_left_alone_also_after_a_restart(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.schedule = SLOW
    us.far.down = {FAR}
    async with us.sending() as sender:
        await us.say(room_id, "one")
        await eventually_waits(sender, FAR)
    async with us.sending() as sender:
        await us.say(room_id, "two")
        await eventually_waits(sender, FAR)
    assert len(us.far.attempts) == 1


async def test_a_server_that_is_heard_of_is_tried_at_once(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    us.schedule = SLOW
    us.far.down = {FAR}
    async with us.sending() as sender:
        await us.say(room_id, "one")
        await eventually_waits(sender, FAR)
        us.far.down = set()
        assert us.far.backoff is not None
        await us.far.backoff.revive(FAR)
        await us.far.wait_for_texts(FAR, ["one"])


async def test_when_our_link_is_back_all_who_fell_silent_are_tried(us: SendingWorld) -> None:
    first, second = await us.room(ZOE), await us.room(OTTO, ROB)
    us.schedule = SLOW
    us.settings = replace(us.settings, retries=SLOW, silence_ms=0)
    us.far.down = {FAR, ODD}
    async with us.sending() as sender:
        await us.say(first, "one")
        await us.say(second, "two")
        await eventually_waits(sender, FAR)
        await eventually_waits(sender, ODD)
        us.far.down = set()
        await us.say(second, "three")
        await us.far.until(lambda: "three" in us.far.texts(THIRD))
        await us.far.wait_for_texts(FAR, ["one"])
        await us.far.wait_for_texts(ODD, ["two", "three"])


async def test_only_so_many_transactions_are_under_way(us: SendingWorld) -> None:
    crowd = [UserId(f"@u:s{n}.example") for n in range(8)]
    room_id = await us.room(*crowd)
    us.settings = replace(us.settings, in_flight=3)
    us.far.gate = asyncio.Event()
    async with us.sending():
        await us.say(room_id, "one")
        await us.far.until(lambda: us.far.under_way == 3)
        us.far.gate.set()
        for user_id in crowd:
            name = ServerName(user_id.partition(":")[2])
            await us.far.until(partial(has_heard, us, name, "one"))
    assert us.far.most_under_way == 3


async def test_one_process_sends_and_another_takes_over_when_it_is_gone(us: SendingWorld) -> None:
    db = us.world.db
    mine = us.world.committer.number
    assert await take_duty(db, SENDING, mine) is not None
    assert await take_duty(db, SENDING, mine + 1) is None
    assert await take_duty(db, SENDING, mine) is not None
    # A number that nobody holds the lock of is that of a dead process.
    await db.execute("UPDATE duties SET holder = $1 WHERE name = $2", mine + 1, SENDING)
    assert await take_duty(db, SENDING, mine) is not None


async def test_a_process_that_was_replaced_stops_sending(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    async with us.sending() as sender:
        await us.say(room_id, "one")
        await us.far.wait_for_texts(FAR, ["one"])
        await us.world.db.execute("UPDATE duties SET holder = 7 WHERE name = $1", SENDING)
        us.far.down = {FAR}
        await us.say(room_id, "two")
        async with asyncio.timeout(PATIENCE_S):
            await sender.replaced.wait()
