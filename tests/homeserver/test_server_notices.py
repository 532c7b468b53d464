"""What the server itself tells its users, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from homeserver.app import running
from homeserver.config.sections.rooms import Rooms
from homeserver.config.sections.server_notices import ServerNotices
from tests.homeserver.conftest import Answer, Client, Homes, settings_for_tests
from tests.homeserver.rooms.asking import state_content
from tests.homeserver.rooms.test_room_settings import make_admin

PATH = "/_synapse/admin/v1/send_server_notice"
REFUSED = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
NOTICES = "@notices:test"
HELLO = {"msgtype": "m.text", "body": "hello"}


@asynccontextmanager
async def notifying(database_url: str, directory: Path, **notices: Any) -> AsyncIterator[Homes]:
    """A server that sends notices, encrypts whatever it can, and has an administrator."""
    settings = replace(
        settings_for_tests(database_url, directory),
        server_notices=ServerNotices(localpart="notices", **notices),
        rooms=Rooms(encryption="all"),
    )
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


async def administrator(homes: Homes) -> Client:
    root = await homes.user()
    await make_admin(homes, root)
    return root


async def notify(root: Client, target: Client, txn_id: str | None = None, **more: Any) -> Answer:
    body = {"user_id": target.user_id, "content": HELLO, **more}
    if txn_id is None:
        return await root.post(PATH, body)
    return await root.put(f"{PATH}/{txn_id}", body)


async def invited_to(client: Client) -> list[str]:
    return list((await client.sync()).get("rooms", {}).get("invite", ()))


async def test_a_user_is_invited_to_read_and_cannot_refuse(
    database_url: str, tmp_path: Path
) -> None:
    async with notifying(database_url, tmp_path, room_topic="Read me") as homes:
        root, alice = await administrator(homes), await homes.user()
        event_id = (await notify(root, alice)).ok()["event_id"]
        (room_id,) = await invited_to(alice)
        at = f"v3/rooms/{quote(room_id)}"
        (await alice.post(f"{at}/leave")).refused(403, REFUSED)
        own = f"{at}/state/m.room.member/{quote(alice.user_id)}"
        (await alice.put(own, {"membership": "leave"})).refused(403, REFUSED)
        await alice.join(room_id)
        room = (await alice.sync())["rooms"]["join"][room_id]
        (event,) = [e for e in room["timeline"]["events"] if e["event_id"] == event_id]
        assert (event["sender"], event["content"]) == (NOTICES, HELLO)
        tags = [e["content"] for e in room["account_data"]["events"] if e["type"] == "m.tag"]
        assert tags == [{"tags": {"m.server_notice": {}}}]
        assert (await state_content(alice, room_id, "m.room.name"))["name"] == "Server notices"
        assert (await state_content(alice, room_id, "m.room.topic"))["topic"] == "Read me"
        encryption = await alice.get(f"{at}/state/m.room.encryption/")
        encryption.refused(404, "M_NOT_FOUND")
        (await alice.put(f"{at}/send/m.room.message/1", HELLO)).refused(403, "M_FORBIDDEN")
        profile = (await alice.get(f"v3/profile/{quote(NOTICES)}")).ok()
        assert profile == {"displayname": "Server notices"}


async def test_a_user_who_has_left_is_invited_to_the_same_room_again(
    database_url: str, tmp_path: Path
) -> None:
    async with notifying(database_url, tmp_path) as homes:
        root, alice, bob = await administrator(homes), await homes.user(), await homes.user()
        (await notify(root, alice)).ok()
        (room_id,) = await invited_to(alice)
        await alice.join(room_id)
        (await alice.post(f"v3/rooms/{quote(room_id)}/leave")).ok()
        (await notify(root, alice)).ok()
        (await notify(root, bob)).ok()
        assert await invited_to(alice) == [room_id]
        assert await invited_to(bob) != [room_id]


async def test_a_notice_that_is_sent_again_is_told_once(database_url: str, tmp_path: Path) -> None:
    async with notifying(database_url, tmp_path, auto_join=True) as homes:
        root, alice = await administrator(homes), await homes.user()
        ids = {(await notify(root, alice, "same")).ok()["event_id"] for _ in range(3)}
        assert len(ids) == 1
        (await notify(root, alice, type="m.room.topic", state_key="")).ok()
        ((room_id, room),) = (await alice.sync())["rooms"]["join"].items()
        kinds = [event["type"] for event in room["timeline"]["events"]]
        assert kinds.count("m.room.message") == 1
        assert await state_content(alice, room_id, "m.room.topic") == HELLO


@pytest.mark.parametrize("name", ["notices"])
async def test_somebodys_account_does_not_send_notices(
    database_url: str, tmp_path: Path, name: str
) -> None:
    async with notifying(database_url, tmp_path) as homes:
        root, alice = await administrator(homes), await homes.user(name)
        (await notify(root, alice)).refused(400, "M_BAD_STATE")


async def test_who_may_send_notices_and_to_whom(database_url: str, tmp_path: Path) -> None:
    async with notifying(database_url, tmp_path) as homes:
        root, alice = await administrator(homes), await homes.user()
        (await notify(alice, alice)).refused(403, "M_FORBIDDEN")
        (await notify(root, alice, user_id="@nobody:test")).refused(404, "M_NOT_FOUND")
        (await notify(root, alice, user_id="@a:elsewhere")).refused(400, "M_INVALID_PARAM")
        (await notify(root, alice, content=None)).refused(400, "M_MISSING_PARAM")


async def test_without_a_sender_there_are_no_notices(homes: Homes) -> None:
    root, alice = await administrator(homes), await homes.user()
    (await notify(root, alice)).refused(400, "M_UNKNOWN")
