"""A bridge made with mautrix, the library of most bridges, works with the server, encrypted too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.homeserver.appservices.bridge import Bridge, BridgedHomes, bridged, path_of
from tests.homeserver.encryption.olm_device import ENCRYPTION, OlmDevice

pytest.importorskip("mautrix", reason="mautrix is installed on x86-64 only")

from mautrix.appservice import AppService
from mautrix.appservice.state_store import FileASStateStore
from mautrix.client import Client as MautrixClient
from mautrix.crypto import OlmMachine
from mautrix.crypto.store import MemoryCryptoStore, StateStore
from mautrix.types import (
    EncryptionAlgorithm,
    EventContent,
    EventID,
    EventType,
    RoomEncryptionStateEventContent,
    RoomID,
    UserID,
)

from tests.patience import LONG_POLL_MS, PATIENCE_S

GHOST = UserID("@irc_bob:test")


class EncryptedRooms(StateStore):
    """What mautrix' encryption asks of a bridge: all rooms are encrypted."""

    def __init__(self) -> None:
        self.shared: list[RoomID] = []

    async def is_encrypted(self, room_id: RoomID) -> bool:
        return True

    async def get_encryption_info(self, room_id: RoomID) -> RoomEncryptionStateEventContent:
        return RoomEncryptionStateEventContent(EncryptionAlgorithm.MEGOLM_V1)

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        return self.shared


class Mautrix:
    """A bridge whose events can be waited for."""

    def __init__(self, az: AppService, homes: BridgedHomes) -> None:
        self.az = az
        self.homes = homes
        self.events: list[Any] = []
        self._changed = asyncio.Condition()
        az.matrix_event_handler(self._take)

    async def _take(self, event: Any) -> None:
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    async def wait_for(self, fits: Callable[[Any], bool]) -> Any:
        """The first event that fits, once it has come."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: any(map(fits, self.events)))
        return next(filter(fits, self.events))


@asynccontextmanager
async def mautrix_bridge(database_url: str, directory: Path) -> AsyncIterator[Mautrix]:
    fields = {
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
        "org.matrix.msc3202": True,
        "io.element.msc4190": True,
    }
    registered = Bridge(fields=fields)
    async with bridged(database_url, directory, registered) as homes:
        az = AppService(
            server=homes.base_url,
            domain="test",
            as_token=registered.as_token,
            hs_token=registered.hs_token,
            bot_localpart="ircbot",
            id=registered.service_id,
            state_store=FileASStateStore(str(directory / "mautrix.json"), binary=False),
            ephemeral_events=True,
            encryption_events=True,
        )
        bridge = Mautrix(az, homes)
        await az.start("127.0.0.1", registered.port)
        try:
            yield bridge
        finally:
            await az.stop()


async def test_ghosts_talk_and_are_talked_to(database_url: str, tmp_path: Path) -> None:
    async with mautrix_bridge(database_url, tmp_path) as bridge:
        az, alice = bridge.az, await bridge.homes.user("alice")
        assert await az.ping_self("hello") > 0
        await az.intent.ensure_registered()
        ghost = az.intent.user(GHOST)
        await ghost.ensure_registered()
        await ghost.set_displayname("Bob")
        room_id = RoomID(await alice.create_room(preset="private_chat", invite=[az.bot_mxid]))
        invite = await bridge.wait_for(lambda e: e.type == EventType.ROOM_MEMBER)
        assert (invite.state_key, invite.room_id) == (az.bot_mxid, room_id)
        await az.intent.join_room_by_id(room_id)
        await alice.invite(room_id, GHOST)
        await ghost.join_room_by_id(room_id)
        said = EventID(await alice.send(room_id, "hello ghosts"))
        heard = await bridge.wait_for(lambda e: getattr(e, "event_id", None) == said)
        assert heard.content.body == "hello ghosts"
        answered = await ghost.send_text(room_id, "boo", timestamp=1_600_000_000_000)
        event = (await alice.get(path_of(room_id, f"event/{answered}"))).ok()
        assert (event["sender"], event["content"]["body"]) == (GHOST, "boo")
        assert event["origin_server_ts"] == 1_600_000_000_000
        await ghost.mark_read(room_id, said)
        await alice.put(
            path_of(room_id, f"typing/{alice.user_id}"), {"typing": True, "timeout": LONG_POLL_MS}
        )
        typing = await bridge.wait_for(lambda e: e.type == EventType.TYPING)
        assert typing.content.user_ids == [alice.user_id]
        receipt = await bridge.wait_for(lambda e: e.type == EventType.RECEIPT)
        assert said in receipt.content


async def test_an_encrypting_bridge_reads_and_is_read(database_url: str, tmp_path: Path) -> None:
    async with mautrix_bridge(database_url, tmp_path) as bridge:
        az, homes = bridge.az, bridge.homes
        store, rooms = MemoryCryptoStore("bridge", "pickled"), EncryptedRooms()
        client = MautrixClient(
            base_url=homes.base_url,
            mxid=az.bot_mxid,
            sync_store=store,
            client_session=az.http_session,
        )
        crypto = OlmMachine(client, store, rooms)
        az.otk_handler = crypto.handle_as_otk_counts
        az.device_list_handler = crypto.handle_as_device_lists
        az.to_device_handler = crypto.handle_as_to_device_event
        client.api.token = az.as_token
        await client.create_device_msc4190(device_id="", initial_display_name="Bridge")
        await crypto.load()
        await crypto.share_keys()
        recovery_key = await crypto.generate_recovery_key()
        assert recovery_key

        alice = await homes.user("alice")
        device = OlmDevice(alice)
        await device.publish()
        room_id = RoomID(await alice.create_room(invite=[az.bot_mxid], initial_state=[ENCRYPTION]))
        rooms.shared = [room_id]
        await az.intent.join_room_by_id(room_id)

        said = await device.say(room_id, [alice, homes.acting(_bridge(az), az.bot_mxid)], "secret")
        event = await bridge.wait_for(lambda e: getattr(e, "event_id", None) == said)
        if not await store.has_group_session(room_id, event.content.session_id):
            await crypto.wait_for_session(room_id, event.content.session_id, timeout=PATIENCE_S)
        assert (await crypto.decrypt_megolm_event(event)).content.body == "secret"

        await crypto.share_group_session(room_id, [UserID(alice.user_id)])
        content = await crypto.encrypt_megolm_event(
            room_id, EventType.ROOM_MESSAGE, {"msgtype": "m.text", "body": "answer"}
        )
        # mautrix names encrypted contents by a type of their own, which none of its values has.
        encrypted = cast(EventContent, content)
        await client.send_message_event(room_id, EventType.ROOM_ENCRYPTED, encrypted)
        await device.sync()
        assert "answer" in await device.history(room_id)


def _bridge(az: AppService) -> Bridge:
    return Bridge(as_token=az.as_token, hs_token=az.hs_token)
