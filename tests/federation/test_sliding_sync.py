"""Sliding sync, and the state after timelines, of a room in which another server acts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.federation.certificates import Authority
from tests.federation.hostile.health import Scene, Setting
from tests.federation.sides import room_of
from tests.federation.test_gapped_history import TOLD, leave_gap, many
from tests.homeserver.sliding.slider import EVERYTHING, Slider, rooms_in
from tests.patience import LONG_POLL_MS


@pytest_asyncio.fixture
async def scene(database_url: str, tmp_path: Path, authority: Authority) -> AsyncIterator[Scene]:
    async with Setting(database_url, tmp_path, authority).scene() as made:
        yield made


async def follow(scene: Scene) -> Slider:
    """Our user's client, which has the room with all of its state."""
    slider = Slider(scene.alice)
    slider.lists = {"all": rooms_in(0, 9, timeline_limit=20, required_state=EVERYTHING)}
    await slider.next()
    return slider


async def test_a_timeline_begins_above_a_gap(scene: Scene) -> None:
    slider = await follow(scene)
    await scene.alice.send(scene.room_id, "before the gap")
    said = await leave_gap(scene, *many(scene, 30))
    room = (await slider.next(timeout_ms=LONG_POLL_MS))["rooms"][scene.room_id]
    assert room["limited"] is True
    assert [event["event_id"] for event in room["timeline"]] == said[-1 - TOLD :]
    last = await scene.alice.send(scene.room_id, "after the gap")
    room = (await slider.next())["rooms"][scene.room_id]
    assert "limited" not in room
    assert [event["event_id"] for event in room["timeline"]] == [last]


async def test_the_state_that_forks_make_is_told(scene: Scene) -> None:
    slider, room = await follow(scene), scene.room
    since = (await scene.alice.sync())["next_batch"]
    after: dict[tuple[str, str], str] = dict(slider.rooms[scene.room_id].state)

    async def check() -> None:
        nonlocal since
        await slider.next()
        state = await scene.state()
        assert slider.rooms[scene.room_id].state == state
        answer = await scene.alice.sync(since, use_state_after="true")
        since = answer["next_batch"]
        told: Any = room_of(answer, scene.room_id).get("state_after", {}).get("events", ())
        after.update({(e["type"], e["state_key"]): e["event_id"] for e in told})
        assert after == state

    for number in range(4):
        fork = list(room.tips)
        names = [
            room.event(
                "m.room.member",
                {"membership": "join", "displayname": f"{number} {name}"},
                room.user(),
                prev=fork,
            )
            for name in ("one", "two")
        ]
        for fields in names:
            assert await scene.sent(fields) == {room.id_of(fields): {}}
            await check()
        end = room.event(prev=[room.id_of(fields) for fields in names])
        assert await scene.sent(end) == {room.id_of(end): {}}
        await check()
        room.take(names[0], end)
        room.state.update(await scene.state())
