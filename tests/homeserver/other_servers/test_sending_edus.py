"""EDUs on their way to other servers: what must arrive, and what is told to those who are there."""

import asyncio
from collections.abc import Mapping

import orjson
import pytest

from federation.outbound.errors import Refused
from federation.protocol.edu import DirectToDevice, Edu, build_direct_to_device
from federation.protocol.identifiers import ServerName, UserId
from homeserver.other_servers import distribution
from storage.outgoing import QueueEdus, waiting_destinations
from storage.presence import SetPresence
from storage.receipts import MoveReceipt
from tests.homeserver.other_servers.sending_world import (
    FAR,
    ODD,
    OTTO,
    ZOE,
    SendingWorld,
    eventually,
)
from tests.homeserver.rooms.world import ALICE, BOB, CAROL


def message(number: int) -> Edu:
    content: Mapping[str, int] = {"n": number}
    return build_direct_to_device(
        DirectToDevice(ALICE, "m.test", f"id{number}", {ZOE: {"PHONE": content}})
    )


async def queue_messages(us: SendingWorld, first: int, last: int, to: ServerName = FAR) -> None:
    for number in range(first, last):
        await us.world.committer.commit(QueueEdus({to: message(number).encode()}, 0))


def numbers(us: SendingWorld, name: ServerName = FAR) -> list[int]:
    contents = us.far.edus(name, "m.direct_to_device")
    return [content["messages"][ZOE]["PHONE"]["n"] for content in contents]


async def nothing_waits(us: SendingWorld) -> None:
    async def is_so() -> bool:
        return not await waiting_destinations(us.world.db)

    await eventually(is_so)


async def nids(us: SendingWorld, room_id: str, user_id: UserId) -> tuple[int, int]:
    room = await us.world.names.rooms.find(room_id)
    assert room is not None
    return room.room_nid, await us.world.names.users.get_nid(user_id)


async def read(
    us: SendingWorld, room_id: str, user_id: UserId, event_id: str, *, kind: str = "m.read",
    thread_id: str = "",
) -> None:  # fmt: skip
    room_nid, user_nid = await nids(us, room_id, user_id)
    await us.world.committer.commit(
        MoveReceipt(room_nid, user_nid, user_id, kind, thread_id, event_id, 7)
    )


async def show(us: SendingWorld, user_id: UserId, presence: str) -> None:
    user_nid = await us.world.names.users.get_nid(user_id)
    write = SetPresence(user_nid, user_id, presence, "here", 0, presence == "online")
    await us.world.committer.commit(write)


async def test_messages_to_devices_arrive_once_and_in_order(us: SendingWorld) -> None:
    async with us.sending():
        await queue_messages(us, 0, 200)
        await us.far.until(lambda: len(numbers(us)) >= 200)
        await nothing_waits(us)
    assert numbers(us) == list(range(200))


async def test_messages_to_devices_outlast_failures_and_restarts(us: SendingWorld) -> None:
    us.far.down = {FAR}
    await queue_messages(us, 0, 100)
    async with us.sending():
        await us.far.until(lambda: len(us.far.attempts) >= 3)
        await queue_messages(us, 100, 120)
    async with us.sending():
        us.far.down = set()
        await queue_messages(us, 120, 130)
        await us.far.until(lambda: len(numbers(us)) >= 130)
        await nothing_waits(us)
    assert numbers(us) == list(range(130))


async def test_each_server_gets_its_own(us: SendingWorld) -> None:
    async with us.sending():
        edus = {FAR: message(1).encode(), ODD: message(2).encode()}
        await us.world.committer.commit(QueueEdus(edus, 0))
        await us.far.until(lambda: bool(numbers(us, FAR) and numbers(us, ODD)))
    assert (numbers(us, FAR), numbers(us, ODD)) == ([1], [2])


async def test_a_message_that_is_never_taken_does_not_keep_back_the_others(
    us: SendingWorld,
) -> None:
    def verdict(name: ServerName, transaction: dict[str, object]) -> Refused | None:
        return Refused(name, 400, {}) if b'"n":3' in orjson.dumps(transaction) else None

    us.far.verdict = verdict
    await queue_messages(us, 0, 6)
    async with us.sending():
        await us.far.until(lambda: len(numbers(us)) >= 5)
        await nothing_waits(us)
    assert numbers(us) == [0, 1, 2, 4, 5]


async def test_receipts_of_our_users_are_told(us: SendingWorld) -> None:
    room_id = await us.room(ZOE, BOB)
    event_id = await us.world.say(room_id, ZOE, "read me")
    async with us.sending():
        await read(us, room_id, ALICE, event_id)
        await read(us, room_id, BOB, event_id, thread_id="main")
        await read(us, room_id, BOB, event_id, kind="m.read.private")
        await read(us, room_id, ZOE, event_id)
        await us.far.until(lambda: len(readers(us, room_id)) >= 2)
    told = us.far.edus(FAR, "m.receipt")
    assert readers(us, room_id) == {ALICE, BOB}
    assert all(set(content[room_id]) == {"m.read"} for content in told)
    (bob,) = [c[room_id]["m.read"][BOB] for c in told if BOB in c[room_id]["m.read"]]
    assert bob == {"event_ids": [event_id], "data": {"ts": 7, "thread_id": "main"}}


def readers(us: SendingWorld, room_id: str) -> set[str]:
    contents = us.far.edus(FAR, "m.receipt")
    return {user for content in contents for user in content[room_id]["m.read"]}


async def test_of_what_gathers_only_the_latest_is_told(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    first = await us.world.say(room_id, ZOE, "one")
    second = await us.world.say(room_id, ZOE, "two")
    us.far.gate = asyncio.Event()
    async with us.sending() as sender:
        await us.say(room_id, "hold the line")
        await us.far.until(lambda: us.far.under_way == 1)
        await read(us, room_id, ALICE, first)
        await show(us, ALICE, "online")
        await read(us, room_id, ALICE, second)
        await show(us, ALICE, "unavailable")

        async def is_waiting() -> bool:
            presence = sender._queues[FAR].best_effort._presence.values()
            return [update.presence for update, _ in presence] == ["unavailable"]

        await eventually(is_waiting)
        us.far.gate.set()
        await us.far.until(lambda: bool(shown(us)) and bool(us.far.edus(FAR, "m.receipt")))
    assert shown(us) == [(ALICE, "unavailable")]
    (receipt,) = us.far.edus(FAR, "m.receipt")
    assert receipt[room_id]["m.read"][ALICE]["event_ids"] == [second]


def shown(us: SendingWorld, name: ServerName = FAR) -> list[tuple[str, str]]:
    contents = us.far.edus(name, "m.presence")
    return [(one["user_id"], one["presence"]) for content in contents for one in content["push"]]


async def test_presence_is_told_to_servers_that_share_a_room(us: SendingWorld) -> None:
    await us.room(ZOE)
    await us.world.create(BOB, members=[OTTO])
    async with us.sending():
        await show(us, BOB, "online")
        await show(us, ALICE, "online")
        await show(us, ZOE, "online")
        await us.far.until(lambda: bool(shown(us, FAR) and shown(us, ODD)))
    assert shown(us, FAR) == [(ALICE, "online")]
    assert shown(us, ODD) == [(BOB, "online")]
    (content,) = us.far.edus(FAR, "m.presence")
    assert content["push"][0]["status_msg"] == "here"


async def test_a_newcomers_server_learns_who_is_present(us: SendingWorld) -> None:
    room_id = await us.room(BOB)
    await show(us, BOB, "online")
    await show(us, ALICE, "offline")
    async with us.sending():
        await us.world.member(room_id, ZOE, "join")
        await us.far.until(lambda: bool(shown(us)))
        await us.world.member(room_id, ZOE, "join", displayname="Zoe")
        await show(us, CAROL, "online")
        await us.world.member(room_id, CAROL, "join")
        await us.far.until(lambda: len(shown(us)) >= 2)
    assert shown(us) == [(BOB, "online"), (CAROL, "online")]


def typists(us: SendingWorld) -> list[tuple[str, bool]]:
    return [(one["user_id"], one["typing"]) for one in us.far.edus(FAR, "m.typing")]


async def test_who_types_is_told_and_told_again(
    us: SendingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "TYPING_AGAIN_S", 0.05)
    room_id = await us.room(ZOE)
    room_nid, _ = await nids(us, room_id, ALICE)
    async with us.sending():
        us.typing.start(room_nid, ALICE)
        us.typing.start(room_nid, ZOE)
        await us.far.until(lambda: len(typists(us)) >= 3)
        us.typing.stop(room_nid, ALICE)
        await us.far.until(lambda: not typists(us)[-1][1])
    assert set(typists(us)) == {(ALICE, True), (ALICE, False)}
    us.typing.stop(room_nid, ZOE)


async def test_who_typed_while_a_server_was_away_is_not_told_later(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    room_nid, _ = await nids(us, room_id, ALICE)
    event_id = await us.world.say(room_id, ZOE, "one")
    us.far.verdict = lambda name, _: Refused(name, 500, {})
    async with us.sending():
        us.typing.start(room_nid, ALICE)
        await read(us, room_id, ALICE, event_id)
        await us.far.until(lambda: len({txn_id for _, txn_id, _ in us.far.attempts}) >= 2)
        us.far.verdict = None
        await us.far.until(lambda: bool(us.far.edus(FAR, "m.receipt")))
    assert us.far.edus(FAR, "m.typing") == []
    us.typing.stop(room_nid, ALICE)
