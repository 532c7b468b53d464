"""Whether a server is well after an attack, and its rooms as they must be."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import StateKey
from homeserver.app import running
from homeserver.config.settings import Settings
from tests.federation.certificates import Authority
from tests.federation.hostile.far_peer import FarPeer, far_peer
from tests.federation.hostile.room_copy import RoomCopy
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.patience import PATIENCE_S

"""What does not come by then never comes."""
MOST_LINES = 12
LONGEST_LINE = 600


class Journal(logging.Handler):
    """What the server has logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def check(self, most_lines: int) -> None:
        """Every line is one, says no stack trace, and they are few."""
        for record in self.records:
            line = record.getMessage()
            assert record.exc_info is None, (line, record.exc_info)
            assert record.levelno <= logging.WARNING, line
            assert "\n" not in line, line
            assert len(line) <= LONGEST_LINE, line
        assert len(self.records) <= most_lines, "\n".join(self.lines())


@dataclass
class Scene:
    """Our server with a user, an honest server and a hostile one, all in `room_id`."""

    homes: Homes
    settings: Settings
    alice: Client
    honest: FarPeer
    hostile: FarPeer
    room_id: str
    other_room_id: str
    journal: Journal
    run: AsyncExitStack
    """Ends with our server."""
    expected: dict[StateKey, EventId] = field(default_factory=dict)
    """The state that the room must have."""
    tasks: frozenset[str] = frozenset()

    @property
    def room(self) -> RoomCopy:
        """The room as the hostile server has it."""
        return self.hostile.rooms[self.room_id]

    @property
    def honest_room(self) -> RoomCopy:
        """The room as the honest server has it."""
        return self.honest.rooms[self.room_id]

    async def state(self) -> dict[StateKey, EventId]:
        """The room's current state as our user sees it."""
        events = (await self.alice.get(f"v3/rooms/{self.room_id}/state")).ok()
        return {(one["type"], one["state_key"]): one["event_id"] for one in events}

    async def standing(self, event_id: str) -> int | None:
        """How an event is kept (0 accepted, 1 soft-failed, 2 rejected, 3 outlier); None: not."""
        found: int | None = await self.homes.services.db.fetchval(
            "SELECT standing FROM events WHERE event_id = $1", event_id
        )
        return found

    async def extremities(self) -> set[str]:
        """The room's forward extremities."""
        rows = await self.homes.services.db.fetch(
            "SELECT e.event_id FROM rooms AS r JOIN room_heads AS h USING (room_nid)"
            " JOIN events AS e ON e.event_nid = ANY(h.forward_extremities) WHERE r.room_id = $1",
            self.room_id,
        )
        return {row[0] for row in rows}

    async def sent(self, *pdus: Any, edus: Any = ()) -> dict[str, Any]:
        """What our server answers to a transaction of the hostile one, by event."""
        async with asyncio.timeout(PATIENCE_S):
            answer = (await self.hostile.send(*pdus, edus=edus)).ok()
        found: dict[str, Any] = answer["pdus"]
        return found

    async def refusal_of(self, fields: Any) -> str:
        """Why our server refuses an event."""
        event_id = self.room.id_of(fields)
        answer = (await self.sent(fields))[event_id]
        assert "error" in answer, answer
        return str(answer["error"])

    async def until_asked(self, what: str) -> None:
        """Wait until our server asks the hostile one for something."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(what in path for path in self.hostile.asked):
                await asyncio.sleep(0.01)

    async def restart(self) -> None:
        """Stop our server and start it again."""
        await self.run.aclose()
        server = await self.run.enter_async_context(running(self.settings))
        self.homes.server, self.homes.services = server, server.services
        self.alice._base_url = self.homes.base_url

    async def begin(self) -> None:
        """From here on the room must stay as it is, and the log be short."""
        self.expected = await self.state()
        self.journal.records.clear()
        self.tasks = tasks_of_ours()

    async def assert_healthy(self, *, most_lines: int = MOST_LINES) -> None:
        """Honest servers are served, rooms are right, nothing has leaked, the log is readable."""
        await self.honest_events_are_taken()
        assert await self.state() == self.expected
        until_s = asyncio.get_running_loop().time() + PATIENCE_S
        while self.leaked() and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(0.01)
        assert self.leaked() == set()
        self.journal.check(most_lines)

    async def honest_events_are_taken(self) -> None:
        """Events of the honest server enter the room, and another one."""
        for room_id in (self.room_id, self.other_room_id):
            copy = self.honest.rooms[room_id]
            (fields,) = copy.say("still here")
            event_id = copy.id_of(fields)
            async with asyncio.timeout(PATIENCE_S):
                answer = (await self.honest.send(fields)).ok()
                assert answer == {"pdus": {event_id: {}}}
                assert await self.standing(event_id) == 0, self.journal.lines()
                (await self.alice.get(f"v3/rooms/{room_id}/event/{event_id}")).ok()
            assert await self.standing(event_id) == 0

    def leaked(self) -> set[str]:
        """What is still under way although nobody waits for it."""
        services = self.homes.services
        left = set(tasks_of_ours() - self.tasks)
        if services.transactions._turns or services.transactions._under_way:
            left.add("transactions")
        if services.intake._taking:
            left.add("intake")
        return left


def tasks_of_ours() -> frozenset[str]:
    """The running tasks by what they run, without those of connections and of this test."""
    running_now = (task.get_coro() for task in asyncio.all_tasks())
    names = (getattr(coroutine, "__qualname__", str(coroutine)) for coroutine in running_now)
    return frozenset(name for name in names if not name.startswith(NOT_OURS))


NOT_OURS = ("RequestHandler.", "test_", "Test", "sleep", "_wrap_async", "never", "async_")


@dataclass(frozen=True)
class Setting:
    """Where scenes are set."""

    database_url: str
    directory: Path
    authority: Authority

    def settings(self) -> Settings:
        """Our server's settings, with other servers on loopback."""
        settings = settings_for_tests(self.database_url, self.directory)
        return replace(
            settings,
            federation=replace(settings.federation, enabled=True, trusted_key_servers=()),
            outgoing=replace(
                settings.outgoing,
                allow_ip_ranges=("127.0.0.0/8",),
                extra_ca_files=(self.authority.certificate,),
            ),
            log=replace(settings.log, level="info"),
        )

    @asynccontextmanager
    async def scene(self, version_id: str = "11", **options: Any) -> AsyncIterator[Scene]:
        """A room of this version with an honest and a hostile server in it."""
        async with AsyncExitStack() as stack:
            settings = self.settings()
            journal = Journal()
            logging.getLogger("hearth").addHandler(journal)
            logging.getLogger("hearth").setLevel(logging.INFO)
            stack.callback(logging.getLogger("hearth").removeHandler, journal)
            run = await stack.enter_async_context(AsyncExitStack())
            server = await run.enter_async_context(running(settings))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            homes = Homes(server, session)
            honest = await stack.enter_async_context(far_peer(self.authority, homes))
            hostile = await stack.enter_async_context(far_peer(self.authority, homes))
            alice = await homes.user("alice")
            room_id, other_room_id = [
                await alice.create_room(preset="public_chat", room_version=version_id, **options)
                for _ in range(2)
            ]
            for one in (room_id, other_room_id):
                await hostile.join(one)
                await honest.join(one)
            scene = Scene(
                homes, settings, alice, honest, hostile, room_id, other_room_id, journal, run
            )
            await scene.honest_events_are_taken()
            await scene.begin()
            yield scene
