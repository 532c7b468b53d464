"""Links that drop, servers that crash on both sides: in the end everybody has everything."""

import asyncio
import random
from dataclasses import replace

import pytest

from federation.outbound.errors import FederationError, Refused, Unreachable
from federation.protocol.canonical_json import encode
from federation.protocol.identifiers import ServerName
from storage.outgoing import QueueEdus, waiting_destinations
from tests.homeserver.other_servers.sending_world import (
    FAR,
    ODD,
    OTTO,
    ZOE,
    SendingWorld,
    eventually,
)
from tests.homeserver.other_servers.test_sending_edus import message

LIVES = 4
MESSAGES = 25


@pytest.mark.parametrize("seed", range(4))
async def test_everything_arrives_and_in_order(us: SendingWorld, seed: int) -> None:
    choose = random.Random(seed)
    rooms = [await us.room(ZOE), await us.room(ZOE, OTTO), await us.room(OTTO)]
    said: list[tuple[int, str]] = []
    queued = 0

    def weather(name: ServerName, _: object) -> FederationError | None:
        return choose.choice(
            [
                None,
                None,
                Unreachable(name, "no link"),
                Refused(name, 502, {}),
                Refused(name, 429, {}),
            ]
        )

    us.far.verdict = weather
    for life in range(LIVES):
        us.settings = replace(us.settings, keep_every_s=choose.choice([0.005, 0.02, 10]))
        us.far.down = set(choose.sample([FAR, ODD], choose.randrange(3)))
        async with us.sending(crash=choose.random() < 0.4):
            for _ in range(MESSAGES):
                number = choose.randrange(len(rooms))
                said.append((number, f"{life} {len(said)}"))
                await us.say(rooms[number], said[-1][1])
                if choose.random() < 0.2:
                    us.far.down = set(choose.sample([FAR, ODD], choose.randrange(3)))
                if choose.random() < 0.2:
                    await us.world.committer.commit(QueueEdus({FAR: message(queued).encode()}, 0))
                    queued += 1
    us.far.down = set()
    us.far.verdict = None
    us.settings = replace(us.settings, keep_every_s=0.02)
    async with us.sending():

        async def is_delivered() -> bool:
            return not await waiting_destinations(us.world.db) and all(
                len(us.far.texts(name)) >= len([1 for room, _ in said if room in theirs])
                for name, theirs in ((FAR, (0, 1)), (ODD, (1, 2)))
            )

        await eventually(is_delivered)
    for name, theirs in (FAR, (0, 1)), (ODD, (1, 2)):
        for number in theirs:
            of_room = [text for room, text in said if room == number]
            assert [text for text in us.far.texts(name) if text in of_room] == of_room
        assert len(us.far.texts(name)) == len([1 for room, _ in said if room in theirs])
    ids = [content["message_id"] for content in us.far.edus(FAR, "m.direct_to_device")]
    assert list(dict.fromkeys(ids)) == [f"id{n}" for n in range(queued)]


async def test_a_link_that_only_small_transactions_get_through_in_time(us: SendingWorld) -> None:
    room_id = await us.room(ZOE)
    texts = [f"{n} {'x' * 5_000}" for n in range(120)]
    sizes: list[int] = []

    def verdict(name: ServerName, transaction: object) -> FederationError | None:
        sizes.append(len(encode(transaction)))
        too_large = sizes[-1] > 40_000
        return Unreachable(name, "no complete answer came in time") if too_large else None

    us.far.verdict = verdict
    us.far.gate = asyncio.Event()
    async with us.sending():
        for text in texts:
            await us.say(room_id, text)
        us.far.gate.set()
        await us.far.wait_for_texts(FAR, texts)
    assert max(sizes) > 200_000
