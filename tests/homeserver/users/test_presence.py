from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from federation.protocol.errors import Forbidden, InvalidParam
from homeserver.users.presence import (
    GONE_AFTER_MS,
    IDLE_AFTER_MS,
    SILENT_AFTER_MS,
    Presence,
)
from storage.changes import PresenceSet
from storage.presence import SetPresence
from tests.committing import Store, add_account, add_room, open_store, set_membership

ALICE = "@alice:hs1"


@dataclass
class World:
    """Alice, the clock and what was told of her."""

    store: Store
    presence: Presence
    alice: int
    now: int = 1_000_000

    async def told(self) -> list[tuple[str, bool]]:
        """What others were told, after all that was submitted is committed."""
        await self.store.committer.commit()
        changes = [c for c in self.store.published if isinstance(c, PresenceSet)]
        self.store.published.clear()
        return [(change.presence, change.currently_active) for change in changes]

    async def sync(self, set_presence: str = "online", device_nid: int = 1) -> None:
        """A sync that ends at once."""
        async with self.presence.syncing(ALICE, self.alice, device_nid, set_presence):
            pass

    def after(self, ms: int) -> None:
        """Time passes, and is noticed."""
        self.now += ms
        self.presence.check()


@asynccontextmanager
async def open_world(database_url: str, *, enabled: bool = True) -> AsyncIterator[World]:
    async with open_store(database_url) as store:
        alice = await add_account(store, ALICE)
        presence = Presence(
            store.db, store.names, store.committer, lambda: world.now, enabled=enabled
        )
        world = World(store, presence, alice)
        yield world


async def test_syncing_makes_online_and_not_syncing_makes_offline(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.sync()
        await world.sync()
        assert await world.told() == [("online", True)]
        world.after(GONE_AFTER_MS)
        assert await world.told() == []
        world.after(1)
        assert await world.told() == [("offline", False)]
        await world.sync()
        assert await world.told() == [("online", True)]


async def test_a_long_poll_keeps_a_user_there(database_url: str) -> None:
    async with open_world(database_url) as world:
        async with world.presence.syncing(ALICE, world.alice, 1):
            world.after(GONE_AFTER_MS * 3 // 2)
        assert await world.told() == [("online", True)]
        world.after(GONE_AFTER_MS)
        assert await world.told() == [("online", False)]


async def test_doing_nothing_makes_silent_and_then_idle(database_url: str) -> None:
    async with open_world(database_url) as world, world.presence.syncing(ALICE, world.alice, 1):
        world.after(SILENT_AFTER_MS + 1)
        assert await world.told() == [("online", True), ("online", False)]
        world.after(IDLE_AFTER_MS)
        assert await world.told() == [("unavailable", False)]
        await world.sync()
        assert await world.told() == []
        world.presence.note_activity(world.alice)
        assert await world.told() == [("online", True)]


async def test_activity_is_told_once_while_it_lasts(database_url: str) -> None:
    async with open_world(database_url) as world:
        async with world.presence.syncing(ALICE, world.alice, 1):
            for _ in range(10):
                world.after(SILENT_AFTER_MS // 2)
                world.presence.note_activity(world.alice)
        assert await world.told() == [("online", True)]
        status = await world.presence.status(world.alice, ALICE)
        assert status == {"presence": "online", "last_active_ago": 0, "currently_active": True}


async def test_activity_ends_a_presence_of_unavailable(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.presence.set_status(ALICE, world.alice, 1, "unavailable", "lunch")
        world.presence.note_activity(world.alice)
        assert await world.told() == [("unavailable", False), ("online", True)]


async def test_the_most_present_device_counts(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.sync("unavailable", device_nid=1)
        await world.sync("online", device_nid=2)
        await world.sync("unavailable", device_nid=1)
        assert await world.told() == [("unavailable", False), ("online", True)]
        await world.sync("offline", device_nid=3)
        await world.sync("unavailable", device_nid=2)
        assert await world.told() == [("unavailable", False)]


async def test_a_status_is_kept_while_the_user_is_gone(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.presence.set_status(ALICE, world.alice, 1, "online", "on holiday")
        world.after(GONE_AFTER_MS + 1)
        await world.told()
        assert (await world.presence.status(world.alice, ALICE))["status_msg"] == "on holiday"
        await world.sync()
        await world.told()
        (row,) = [await world.presence.status(world.alice, ALICE)]
        assert (row["presence"], row["status_msg"]) == ("online", "on holiday")
        await world.presence.set_status(ALICE, world.alice, 1, "offline", None)
        assert await world.presence.status(world.alice, ALICE) == {
            "presence": "offline",
            "last_active_ago": 0,
        }


async def test_presence_is_told_to_those_who_share_a_room(database_url: str) -> None:
    async with open_world(database_url) as world:
        bob = await add_account(world.store, "@bob:hs1")
        with pytest.raises(Forbidden):
            await world.presence.status(bob, ALICE)
        with pytest.raises(Forbidden):
            await world.presence.status(bob, "@nobody:hs1")
        room = await add_room(world.store, "!room")
        await set_membership(world.store, world.alice, room)
        await set_membership(world.store, bob, room)
        assert await world.presence.status(bob, ALICE) == {"presence": "offline"}


async def test_those_whom_a_former_process_left_present_go_unless_they_sync(
    database_url: str,
) -> None:
    async with open_world(database_url) as world:
        bob = await add_account(world.store, "@bob:hs1")
        await world.store.committer.commit(
            SetPresence(world.alice, ALICE, "online", "here", world.now, True),
            SetPresence(bob, "@bob:hs1", "online", None, world.now, True),
        )
        await world.told()
        await world.presence.adopt()
        await world.sync()
        assert await world.told() == []
        world.now += GONE_AFTER_MS
        await world.sync()
        world.after(1)
        assert await world.told() == [("offline", False)]
        assert (await world.presence.status(world.alice, ALICE))["status_msg"] == "here"


async def test_who_is_here_is_not_gone_though_another_process_says_so(database_url: str) -> None:
    async with open_world(database_url) as world:
        await world.sync()
        await world.told()
        gone = PresenceSet(1, world.alice, ALICE, "offline", None, 0, False)
        await world.presence.heard([gone], own=False)
        world.after(0)
        assert await world.told() == [("online", True)]


async def test_an_unknown_presence_is_refused(database_url: str) -> None:
    async with open_world(database_url) as world:
        with pytest.raises(InvalidParam):
            await world.presence.set_status(ALICE, world.alice, 1, "busy", None)


async def test_without_presence_nothing_is_kept(database_url: str) -> None:
    async with open_world(database_url, enabled=False) as world:
        await world.sync()
        await world.presence.set_status(ALICE, world.alice, 1, "online", "hello")
        assert await world.told() == []
        assert await world.presence.status(world.alice, ALICE) == {"presence": "offline"}
