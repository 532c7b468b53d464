"""Events that refer to what nobody has, or to what they may not refer to."""

import asyncio

import pytest

from tests.federation.hostile.far_peer import never
from tests.federation.hostile.health import Scene, Setting


async def test_a_scene_is_healthy_to_begin_with(scene: Scene) -> None:
    await scene.assert_healthy(most_lines=0)


async def test_honest_gaps_are_closed(scene: Scene) -> None:
    said = scene.room.say(*"abcdef")
    last = scene.room.id_of(said[-1])
    assert await scene.sent(said[-1]) == {last: {}}
    assert await scene.standing(scene.room.id_of(said[0])) == 0
    await scene.assert_healthy(most_lines=0)


@pytest.mark.parametrize("version_id", ["1", "2"])
async def test_events_in_a_circle_are_refused_by_name(setting: Setting, version_id: str) -> None:
    async with setting.scene(version_id) as scene:
        room = scene.room
        names = [f"$ring{n}:{room.server}" for n in range(2)]
        ring = [room.event(event_id=names[n], prev=[names[1 - n]]) for n in range(2)]
        answer = await scene.sent(*ring)
        assert all("error" in answer[name] for name in names)
        alone = room.event(event_id=f"$alone:{room.server}", prev=[f"$alone:{room.server}"])
        assert "error" in (await scene.sent(alone))[alone["event_id"]]
        await scene.assert_healthy()


async def test_what_follows_an_event_that_cannot_be_had_is_refused_and_may_come_again(
    scene: Scene,
) -> None:
    room = scene.room
    lost, second, third = room.say("lost", "second", "third")
    truth = scene.hostile.rooms.pop(scene.room_id)
    answer = await scene.sent(second, third)
    assert all("error" in one for one in answer.values())
    assert [await scene.standing(room.id_of(one)) for one in (second, third)] == [None, None]
    await scene.assert_healthy()
    scene.hostile.rooms[scene.room_id] = truth
    assert await scene.sent(third) == {room.id_of(third): {}}
    assert [await scene.standing(room.id_of(one)) for one in (lost, second, third)] == [0, 0, 0]
    await scene.assert_healthy()


async def test_events_of_another_room_are_no_place_to_follow(scene: Scene) -> None:
    """A server that holds a room of its own must not bring its state into another one."""
    evil = scene.hostile.rooms[scene.other_room_id]
    follower = scene.room.event(prev=evil.tips)
    scene.hostile.answers["state"] = {"pdus": [], "auth_chain": []}
    scene.hostile.answers["state_ids"] = {
        "pdu_ids": list(evil.state.values()),
        "auth_chain_ids": [],
    }
    assert await scene.refusal_of(follower)
    await scene.assert_healthy()


async def test_events_of_another_room_vouch_for_nothing(scene: Scene) -> None:
    evil = scene.hostile.rooms[scene.other_room_id]
    message = scene.room.event(auth=list(evil.event()["auth_events"]))
    assert await scene.refusal_of(message)
    await scene.assert_healthy()


async def test_a_peer_that_never_tells_what_is_missing_keeps_nobody_else_waiting(
    scene: Scene,
) -> None:
    _, last = scene.room.say("lost", "last")
    scene.hostile.answers |= {"get_missing_events": never, "state_ids": never}
    waiting = asyncio.create_task(scene.hostile.send(last))
    await scene.until_asked("get_missing_events")
    await scene.honest_events_are_taken()
    scene.hostile.answers.clear()
    waiting.cancel()
    await scene.hostile.hang_up()
    await scene.assert_healthy()
