"""The link between the servers is cut while both are alive and busy; then they are reunited."""

import asyncio
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import pytest_asyncio

from tests.homeserver.conftest import Client
from tests.interop.conftest import Pair
from tests.interop.inbox import WITHIN_S
from tests.interop.relay import Loss
from tests.interop.rooms import (
    VERSIONS,
    agreed_state,
    ban,
    content_of,
    history,
    join_by_way_of,
    kick,
    leave,
    state_of,
)

pytestmark = pytest.mark.interop

MESSAGES = 5
"""How many each of the talkers sends while the link is cut."""


@dataclass(frozen=True)
class People:
    """Those of one server: who rules, moderates, talks, gets kicked, gets banned, goes, comes."""

    ruler: Client
    moderator: Client
    talker: Client
    nuisance: Client
    outcast: Client
    leaver: Client
    newcomer: Client

    @property
    def members(self) -> tuple[Client, ...]:
        """Those who are in the rooms before the link is cut."""
        return (
            *(self.ruler, self.moderator, self.talker),
            *(self.nuisance, self.outcast, self.leaver),
        )


@dataclass(frozen=True)
class Room:
    """A room of both, and the messages that must not get lost."""

    room_id: str
    version: str
    maker: str
    sent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reunion:
    """Both servers after the link was there again."""

    hearth: People
    synapse: People
    rooms: dict[tuple[str, str], Room]


async def people(pair: Pair, which: str) -> People:
    names = [field.name for field in fields(People)]
    return People(*[await pair.named(which).user(f"{which}.{name}") for name in names])


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[Loss.REFUSED, Loss.SILENT],
    ids=lambda loss: loss.name.lower(),
)
async def reunion(pair: Pair, request: pytest.FixtureRequest) -> Reunion:
    """Rooms of all versions, made on either side, that have lived through a partition."""
    hearth, synapse = await people(pair, "hearth"), await people(pair, "synapse")
    rooms = {
        (maker, version): await make_room(pair, maker, version, hearth, synapse)
        for maker in ("hearth", "synapse")
        for version in VERSIONS
    }
    for relay in (pair.hearth.relay, pair.synapse.relay):
        await relay.cut(request.param)
    await asyncio.gather(
        live(hearth, synapse, rooms.values()), live(synapse, hearth, rooms.values())
    )
    for room in rooms.values():
        states = [await state_of(side.ruler, room.room_id) for side in (hearth, synapse)]
        assert states[0] != states[1]
    for relay in (pair.hearth.relay, pair.synapse.relay):
        await relay.mend()
    return Reunion(hearth, synapse, rooms)


async def make_room(pair: Pair, maker: str, version: str, hearth: People, synapse: People) -> Room:
    """A room that all have joined, ruled by one of each server."""
    here, there = (hearth, synapse) if maker == "hearth" else (synapse, hearth)
    levels = {
        there.ruler.user_id: 100,
        here.moderator.user_id: 50,
        there.moderator.user_id: 50,
    }
    if version != "12":
        levels[here.ruler.user_id] = 100
    room_id = await here.ruler.create_room(
        room_version=version,
        preset="public_chat",
        name="together",
        power_level_content_override={"users": levels},
    )
    for client in here.members[1:]:
        await client.join(room_id)
    for client in there.members:
        await join_by_way_of(client, room_id, pair.named(maker).name)
    await agreed_state(hearth.ruler, synapse.ruler, room_id)
    return Room(room_id, version, maker)


async def live(own: People, others: People, rooms: Any) -> None:
    """What goes on on one side: each side undoes what the other does."""
    for room in rooms:
        room_id = room.room_id
        await say(room, own.talker, own.moderator)
        await own.ruler.set_state(
            room_id, "m.room.topic", {"topic": f"as {own.ruler.user_id} says"}
        )
        await own.moderator.set_state(
            room_id, "m.room.name", {"name": f"of {own.moderator.user_id}"}
        )
        for somebody in (own.nuisance, own.outcast):
            await somebody.send(room_id, "I am still here")
        # Each ruler disarms the other side's moderator and raises the own one.
        levels = await content_of(own.ruler, room_id, "m.room.power_levels")
        changed = {others.moderator.user_id: 0, own.moderator.user_id: 75}
        levels["users"] = {**levels["users"], **changed}
        await own.ruler.set_state(room_id, "m.room.power_levels", levels)
        await ban(own.ruler, room_id, others.outcast.user_id)
        await kick(own.moderator, room_id, others.nuisance.user_id)
        await own.moderator.set_state(room_id, "m.room.topic", {"topic": "moderated"})
        await own.ruler.set_state(room_id, "org.example.side", {"side": own.ruler.user_id})
        await leave(own.leaver, room_id)
        await own.newcomer.join(room_id)
        # One of the two locks the door, while on the other side somebody has just come in.
        if room.maker in own.ruler.user_id:
            await own.ruler.set_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
        await own.talker.set_state(room_id, "m.room.member", NEW_NAME, own.talker.user_id)
        await say(room, own.ruler, own.moderator)


NEW_NAME = {"membership": "join", "displayname": "renamed while apart"}


async def say(room: Room, *talkers: Client) -> None:
    for n in range(MESSAGES):
        for talker in talkers:
            room.sent.append(await talker.send(room.room_id, f"{talker.user_id} {n}"))


@pytest.fixture(params=VERSIONS, ids="version-{}".format)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["hearth", "synapse"], ids="made-on-{}".format)
def room(reunion: Reunion, version: str, request: pytest.FixtureRequest) -> Room:
    return reunion.rooms[request.param, version]


async def test_both_end_with_the_same_state(reunion: Reunion, room: Room) -> None:
    one, other = reunion.hearth.ruler, reunion.synapse.ruler
    await agreed_state(one, other, room.room_id)
    # It stays so when both go on.
    await one.set_state(room.room_id, "org.example.after", {"by": "hearth"}, "hearth")
    await other.set_state(room.room_id, "org.example.after", {"by": "synapse"}, "synapse")
    await agreed_state(one, other, room.room_id)


async def test_no_message_is_lost(reunion: Reunion, room: Room) -> None:
    for client in (reunion.hearth.ruler, reunion.synapse.ruler):
        await wait_for_messages(client, room)


async def wait_for_messages(client: Client, room: Room) -> None:
    """Wait until the room's history, paged back, has each message that was sent, once."""
    ids: list[str] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while set(room.sent) - set(ids):
                ids = [event["event_id"] for event in await history(client, room.room_id)]
                await client.sync(timeout_ms=0)
    except TimeoutError:
        missing = [i for i in room.sent if i not in ids]
        raise AssertionError(f"{client.user_id} misses {len(missing)} of {room.room_id}") from None
    assert len(set(ids)) == len(ids)
