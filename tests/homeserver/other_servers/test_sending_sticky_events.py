"""Sticky events reach servers that come into a room, and those that were away for long."""

import pytest

from homeserver.clock import system_clock
from homeserver.other_servers import backlog
from homeserver.rooms.send import NewEvent
from tests.homeserver.other_servers.sending_world import (
    FAR,
    ODD,
    OTTO,
    ZOE,
    SendingWorld,
    eventually,
)
from tests.homeserver.rooms.world import ALICE


async def stick(us: SendingWorld, room_id: str, text: str, duration_ms: int = 600_000) -> None:
    """Say something that is sticky from now on."""
    content = {"msgtype": "m.text", "body": text}
    ts = system_clock()
    new = NewEvent(ALICE, "m.room.message", content, origin_server_ts=ts, sticky_ms=duration_ms)
    await us.world.sending.send(room_id, new)


async def test_a_server_that_comes_in_gets_what_is_sticky(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    async with us.sending():
        await stick(us, room_id, "sticky")
        await stick(us, room_id, "expired", 1)
        await us.say(room_id, "plain")
        await us.far.wait_for_texts(FAR, ["sticky", "expired", "plain"])
        await us.world.member(room_id, OTTO, "join")
        await us.far.wait_for_texts(ODD, ["sticky"])
        await us.say(room_id, "later")
        await us.far.wait_for_texts(ODD, ["sticky", "later"])
        await us.far.wait_for_texts(FAR, ["sticky", "expired", "plain", "later"])


async def test_another_user_of_a_server_brings_nothing_anew(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    async with us.sending():
        await stick(us, room_id, "sticky")
        await us.far.wait_for_texts(FAR, ["sticky"])
        attempts = len(us.far.attempts)
        await us.world.member(room_id, type(ZOE)("@zack:far.example"), "join")
        await us.world.member(room_id, OTTO, "join")
        await us.far.wait_for_texts(ODD, ["sticky"])
        texts = [
            pdu["content"].get("body")
            for name, _, transaction in us.far.attempts[attempts:]
            if name == FAR
            for pdu in transaction["pdus"]
        ]
        assert "sticky" not in texts


async def test_a_server_that_was_down_gets_it_beyond_the_latest_events(
    us: SendingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_OF_ROOM", 10)
    room_id = await us.room(ZOE)
    us.far.down = {FAR}
    async with us.sending():
        await us.say(room_id, "old")
        await stick(us, room_id, "sticky")
        texts = [f"talk {n}" for n in range(30)]
        for text in texts:
            await us.say(room_id, text)
        await us.until_marked(FAR)
    us.far.down = set()
    async with us.sending():
        await us.far.wait_for_texts(FAR, ["sticky", *texts[-10:]])


async def test_a_server_that_comes_in_and_is_down_gets_it_later(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    async with us.sending():
        await stick(us, room_id, "sticky")
        us.far.down = {ODD}
        await us.world.member(room_id, OTTO, "join")
        await us.say(room_id, "plain")

        async def was_tried() -> bool:
            return any(name == ODD for name, _, _ in us.far.attempts)

        await eventually(was_tried)
        await us.far.wait_for_texts(FAR, ["sticky", "plain"])
        us.far.down = set()
        await us.far.until(lambda: {"sticky", "plain"} <= set(us.far.texts(ODD)))
