from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from homeserver.app import running
from homeserver.config.sections.rooms import Rooms
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.homeserver.rooms.asking import state_content


@asynccontextmanager
async def homes_with(
    database_url: str, directory: Path, *, auto_join: tuple[str, ...] = (), **rooms: Any
) -> AsyncIterator[Homes]:
    """A server with other settings of rooms."""
    settings = settings_for_tests(database_url, directory)
    registration = replace(settings.registration, auto_join_rooms=auto_join)
    settings = replace(settings, rooms=Rooms(**rooms), registration=registration)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


async def make_admin(homes: Homes, client: Client) -> None:
    await homes.services.db.execute(
        "UPDATE accounts SET is_admin = true FROM users"
        " WHERE users.user_nid = accounts.user_nid AND user_id = $1",
        client.user_id,
    )
    homes.services.users.sessions.forget_all()


async def test_what_is_for_administrators_only(database_url: str, tmp_path: Path) -> None:
    only: dict[str, Any] = {"alias_creation": "admins", "directory_publication": "admins"}
    async with homes_with(database_url, tmp_path, **only) as homes:
        alice, root = await homes.user(), await homes.user()
        await make_admin(homes, root)
        room = await alice.create_room()
        for body in ({"room_alias_name": "pub"}, {"visibility": "public"}):
            (await alice.post("v3/createRoom", body)).refused(403, "M_FORBIDDEN")
            (await root.post("v3/createRoom", body)).ok()
        alias, listed = "v3/directory/room/%23bar:test", f"v3/directory/list/room/{room}"
        (await alice.put(alias, {"room_id": room})).refused(403, "M_FORBIDDEN")
        (await alice.put(listed)).refused(403, "M_FORBIDDEN")
        (await root.put(alias, {"room_id": room})).ok()
        (await root.put(listed)).ok()
        (await alice.put(listed, {"visibility": "private"})).ok()


async def test_rooms_may_be_created_by_administrators_only(
    database_url: str, tmp_path: Path
) -> None:
    async with homes_with(database_url, tmp_path, creation="admins") as homes:
        alice, root = await homes.user(), await homes.user()
        await make_admin(homes, root)
        (await alice.post("v3/createRoom")).refused(403, "M_FORBIDDEN")
        room = await root.create_room(invite=[alice.user_id], preset="trusted_private_chat")
        await alice.join(room)
        answer = await alice.post(f"v3/rooms/{room}/upgrade", {"new_version": "11"})
        answer.refused(403, "M_FORBIDDEN")


async def test_the_directory_may_be_closed_or_open_to_all(
    database_url: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"directory_public": True, "directory_publication": "nobody"}
    async with homes_with(database_url, tmp_path, **settings) as homes:
        root = await homes.user()
        await make_admin(homes, root)
        room = await root.create_room()
        (await root.put(f"v3/directory/list/room/{room}")).refused(403, "M_FORBIDDEN")
        assert (await homes.nobody().get("v3/publicRooms")).ok()["chunk"] == []


async def test_a_directory_without_search_is_empty(database_url: str, tmp_path: Path) -> None:
    async with homes_with(database_url, tmp_path, directory_search=False) as homes:
        alice = await homes.user()
        await alice.create_room(visibility="public")
        assert (await alice.get("v3/publicRooms")).ok()["chunk"] == []


async def test_the_default_version_is_that_of_the_settings(
    database_url: str, tmp_path: Path
) -> None:
    async with homes_with(database_url, tmp_path, default_version="10") as homes:
        alice = await homes.user()
        create = await state_content(alice, await alice.create_room(), "m.room.create")
        assert create["room_version"] == "10"


async def test_new_users_join_the_first_rooms(database_url: str, tmp_path: Path) -> None:
    first = ("#lobby:test", "#none:test")
    async with homes_with(database_url, tmp_path, auto_join=first) as homes:
        alice = await homes.user()
        room = await alice.create_room(preset="public_chat", room_alias_name="lobby")
        bob = await homes.user()
        assert (await bob.get("v3/joined_rooms")).ok() == {"joined_rooms": [room]}


async def test_administrators_redact_what_users_of_their_server_sent(
    database_url: str, tmp_path: Path
) -> None:
    async with homes_with(database_url, tmp_path) as homes:
        alice, root = await homes.user(), await homes.user()
        room = await alice.create_room(preset="public_chat")
        await root.join(room)
        event_id = await alice.send(room, "spam")
        path = f"v3/rooms/{room}/redact/{event_id}/t"
        (await root.put(path)).refused(403, "M_FORBIDDEN")
        await make_admin(homes, root)
        (await root.put(path)).ok()


async def test_rooms_are_forgotten_when_they_are_left_if_the_operator_says_so(
    database_url: str, tmp_path: Path
) -> None:
    async with homes_with(database_url, tmp_path, forget_on_leave=True) as homes:
        alice, bob, carol = [await homes.user() for _ in range(3)]
        capabilities = (await alice.get("v3/capabilities")).ok()["capabilities"]
        assert capabilities["m.forget_forced_upon_leave"] == {"enabled": True}
        room = await alice.create_room(preset="public_chat")
        for member in (bob, carol):
            await member.join(room)
        since = (await bob.sync())["next_batch"]
        (await bob.post(f"v3/rooms/{room}/leave")).ok()
        (await alice.post(f"v3/rooms/{room}/kick", {"user_id": carol.user_id})).ok()
        everything = '{"room": {"include_leave": true}}'
        for member in (bob, carol):
            (await member.get(f"v3/rooms/{room}/messages", dir="b")).refused(403, "M_FORBIDDEN")
            assert "rooms" not in await member.sync(filter=everything)
        assert room in (await bob.sync(since))["rooms"]["leave"]
        await bob.join(room)
        (await bob.get(f"v3/rooms/{room}/messages", dir="b")).ok()
