"""mautrix with its encryption, the library of many bots and bridges: it verifies and talks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.encryption.olm_device import ENCRYPTION

pytest.importorskip("olm", reason="needs mautrix with python-olm, which not every system has")

from mautrix.client import Client as MautrixClient
from mautrix.client import MemoryStateStore
from mautrix.crypto import OlmMachine
from mautrix.crypto.store import MemoryCryptoStore
from mautrix.crypto.store import StateStore as EncryptionStates
from mautrix.types import DeviceID, EventType, RoomID, TrustState, UserID

from tests.patience import PATIENCE_S


class RoomStates(MemoryStateStore):
    """What mautrix' encryption asks of the states of rooms."""

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        return [room_id for room_id, members in self.members.items() if user_id in members]


class Bot:
    """A bot that syncs and remembers what it has heard."""

    def __init__(self, homes: Homes, user: Client) -> None:
        self.heard: list[str] = []
        self.states = RoomStates()
        self.client = MautrixClient(
            mxid=UserID(user.user_id),
            device_id=DeviceID(user.device_id),
            base_url=homes.base_url,
            token=user.token,
            state_store=self.states,
        )
        store = MemoryCryptoStore(user.user_id, "pickle")
        self.client.sync_store = store
        # To mautrix' encryption, the states that its client keeps are of a type without relation.
        states = cast(EncryptionStates, self.states)
        self.machine = OlmMachine(self.client, store, states)
        self.client.crypto = self.machine
        self.client.add_event_handler(EventType.ROOM_MESSAGE, self.hear)

    async def hear(self, event: Any) -> None:
        if event.sender != self.client.mxid:
            self.heard.append(event.content.body)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0)

    async def until_encrypted(self, room_id: RoomID) -> None:
        await self.until(lambda: room_id in self.states.encryption)


@asynccontextmanager
async def running_bot(homes: Homes, user: Client) -> AsyncIterator[Bot]:
    bot = Bot(homes, user)
    await bot.machine.load()
    await bot.machine.share_keys()
    bot.client.start(None)
    yield bot
    bot.client.stop()
    await bot.client.api.session.close()


async def trust(bot: Bot, user: Client) -> TrustState:
    """How far a bot trusts another's device."""
    device = await bot.machine.get_or_fetch_device(UserID(user.user_id), DeviceID(user.device_id))
    assert device is not None
    return await bot.machine.resolve_trust(device)


@pytest.mark.filterwarnings("ignore:The sender_key field:DeprecationWarning")
async def test_bots_verify_by_cross_signing_and_talk(homes: Homes) -> None:
    alice, bob = await homes.user("alice"), await homes.user("bob")
    room_id = RoomID(await alice.create_room(invite=[bob.user_id], initial_state=[ENCRYPTION]))
    await bob.join(room_id)
    async with running_bot(homes, alice) as one, running_bot(homes, bob) as other:
        for bot in (one, other):
            await bot.until_encrypted(room_id)
        await one.client.send_text(room_id, "hello")
        await other.until(lambda: other.heard == ["hello"])
        await other.client.send_text(room_id, "hello yourself")
        await one.until(lambda: one.heard == ["hello yourself"])
        recovery_key = await one.machine.generate_recovery_key()
        phone = await homes.second_device(alice)
        async with running_bot(homes, phone) as second:
            await second.until_encrypted(room_id)
            assert await trust(other, phone) < TrustState.CROSS_SIGNED_TOFU
            await second.machine.verify_with_recovery_key(recovery_key)
            await other.machine.get_cross_signing_public_keys(UserID(alice.user_id))
            async with asyncio.timeout(PATIENCE_S):
                while await trust(other, phone) < TrustState.CROSS_SIGNED_TOFU:
                    await asyncio.sleep(0)
            await second.client.send_text(room_id, "from the new one")
            await other.until(lambda: other.heard[-1] == "from the new one")
