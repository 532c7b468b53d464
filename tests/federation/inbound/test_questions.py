"""Spaces, the directory, profiles, devices, OpenID, media and policy for other servers."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest

from federation.inbound import media, policy
from federation.inbound.reading_ports import Answering, ServedMedia, Thumbnail
from federation.protocol.errors import NotFound
from federation.protocol.identifiers import ServerName
from federation.protocol.response import StreamedBody
from homeserver.app import running
from homeserver.http.authenticate import Authenticator
from homeserver.http.dispatch import Dispatcher
from homeserver.http.listener import HttpServer, ListenAddress
from homeserver.http.settings import HttpSettings
from homeserver.services import Services
from tests.federation.inbound.far_server import FAR, FarServer, segment
from tests.homeserver.conftest import Client, Homes, settings_for_tests
from tests.homeserver.http.server import KnownSessions, RecordingServerAuth


async def add_child(space: Client, space_id: str, room_id: str, **content: Any) -> None:
    """Link a room into a space."""
    await space.set_state(space_id, "m.space.child", {"via": ["test"], **content}, room_id)


async def test_a_space_is_shown_one_level_deep(
    homes: Homes, far: FarServer, stranger: FarServer
) -> None:
    alice = await homes.user()
    space = await alice.create_room(
        preset="public_chat", name="Space", creation_content={"type": "m.space"}
    )
    below = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"})
    chat = await alice.create_room(preset="public_chat", name="Chat", topic="Talk")
    closed = await alice.create_room(preset="private_chat")
    joined = await alice.create_room(preset="public_chat")
    await far.member(joined, "join")
    await alice.set_state(joined, "m.room.join_rules", {"join_rule": "invite"})
    allow = [{"type": "m.room_membership", "room_id": joined}]
    restricted = await alice.create_room(
        initial_state=[
            {
                "type": "m.room.join_rules",
                "content": {"join_rule": "restricted", "allow": allow},
            }
        ]
    )
    shutting = await alice.create_room(preset="public_chat")
    await alice.set_state(shutting, "m.room.server_acl", {"allow": ["*"], "deny": ["127.0.0.8"]})
    for number, child in enumerate((chat, below, closed, joined, restricted, shutting)):
        await add_child(alice, space, child, order=str(number), suggested=child == chat)
    await add_child(alice, space, "!gone:else.where", order="9")
    await add_child(alice, below, chat)

    view = (await far.get(f"hierarchy/{segment(space)}")).ok()
    assert view["room"]["name"] == "Space"
    assert view["room"]["room_type"] == "m.space"
    assert [event["state_key"] for event in view["room"]["children_state"]] == [
        chat,
        below,
        closed,
        joined,
        restricted,
        shutting,
        "!gone:else.where",
    ]
    assert set(view["room"]["children_state"][0]) == {
        "type",
        "state_key",
        "content",
        "sender",
        "origin_server_ts",
    }
    assert [room["room_id"] for room in view["children"]] == [chat, below, joined, restricted]
    assert view["children"][0]["topic"] == "Talk"
    assert view["children"][3]["allowed_room_ids"] == [joined]
    assert view["inaccessible_children"] == [closed, shutting]

    suggested = (await far.get(f"hierarchy/{segment(space)}", suggested_only="true")).ok()
    assert [room["room_id"] for room in suggested["children"]] == [chat]
    assert len(suggested["room"]["children_state"]) == 1

    view = (await stranger.get(f"hierarchy/{segment(space)}")).ok()
    assert [room["room_id"] for room in view["children"]] == [chat, below, shutting]
    assert view["inaccessible_children"] == [closed, joined, restricted]

    (await far.get(f"hierarchy/{segment(closed)}")).refused(404, "M_NOT_FOUND")
    (await far.get(f"hierarchy/{segment(shutting)}")).refused(404, "M_NOT_FOUND")
    (await far.get("hierarchy/!no:where")).refused(404, "M_NOT_FOUND")
    room = (await far.get(f"hierarchy/{segment(chat)}")).ok()
    assert (room["room"]["children_state"], room["children"]) == ([], [])


async def test_published_rooms_are_listed_in_pages(homes: Homes, far: FarServer) -> None:
    alice = await homes.user()
    rooms = [
        await alice.create_room(preset="public_chat", visibility="public", name=f"Room {n}")
        for n in range(3)
    ]
    await alice.create_room(preset="public_chat", name="unlisted")
    page = (await far.get("publicRooms")).ok()
    assert {room["room_id"] for room in page["chunk"]} == set(rooms)
    assert page["total_room_count_estimate"] == 3
    first = (await far.get("publicRooms", limit=2)).ok()
    rest = (await far.get("publicRooms", limit=2, since=first["next_batch"])).ok()
    assert [r["room_id"] for r in (*first["chunk"], *rest["chunk"])] == [
        room["room_id"] for room in page["chunk"]
    ]
    body: dict[str, Any] = {"filter": {"generic_search_term": "room 1", "room_types": [None]}}
    found = (await far.post("publicRooms", body)).ok()["chunk"]
    assert [room["name"] for room in found] == ["Room 1"]
    body = {"filter": {"room_types": ["m.space"]}}
    assert (await far.post("publicRooms", body)).ok()["chunk"] == []
    body = {"third_party_instance_id": "irc"}
    assert (await far.post("publicRooms", body)).ok()["chunk"] == []
    for body in ({"limit": -1}, {"limit": "1"}, {"filter": []}, {"filter": {"room_types": [1]}}):
        (await far.post("publicRooms", body)).refused(400, "M_BAD_JSON")
    (await far.get("publicRooms", since="nonsense")).refused(400, "M_INVALID_PARAM")


async def test_a_server_may_keep_its_users_and_rooms_to_itself(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_for_tests(database_url, tmp_path)
    federation = replace(
        settings.federation, enabled=True, allow_profile_lookup=False, allow_device_names=True
    )
    settings = replace(settings, federation=federation)
    async with running(settings) as server, aiohttp.ClientSession() as session:
        homes = Homes(server, session)
        far = FarServer(FAR, homes, session)
        await far.introduce()
        alice = await homes.user("alice")
        await alice.put(f"v3/devices/{alice.device_id}", {"display_name": "phone"})
        (await far.get("publicRooms")).refused(403, "M_FORBIDDEN")
        (await far.post("publicRooms", {})).refused(403, "M_FORBIDDEN")
        (await far.get("query/profile", user_id="@alice:test")).refused(403, "M_FORBIDDEN")
        listed = (await far.get(f"user/devices/{segment('@alice:test')}")).ok()["devices"]
        assert listed[0]["device_display_name"] == "phone"


async def test_profiles_are_told(homes: Homes, far: FarServer) -> None:
    alice = await homes.user("alice")
    path = f"v3/profile/{quote(alice.user_id)}"
    (await alice.put(f"{path}/displayname", {"displayname": "Alice"})).ok()
    (await alice.put(f"{path}/m.tz", {"m.tz": "Europe/Paris"})).ok()
    profile = (await far.get("query/profile", user_id="@alice:test")).ok()
    assert profile == {"displayname": "Alice", "m.tz": "Europe/Paris"}
    one = await far.get("query/profile", user_id="@alice:test", field="m.tz")
    assert one.ok() == {"m.tz": "Europe/Paris"}
    none = await far.get("query/profile", user_id="@alice:test", field="avatar_url")
    assert none.ok() == {}
    none = await far.get("query/profile", user_id="@alice:test", field="org.example.none")
    none.refused(404, "M_NOT_FOUND")
    (await far.get("query/profile", user_id="@bob:test")).refused(404, "M_NOT_FOUND")
    for user_id in ("@alice:else.where", "alice", "@user1:localhost:http"):
        (await far.get("query/profile", user_id=user_id)).refused(400, "M_INVALID_PARAM")
    (await far.get("query/profile")).refused(400, "M_MISSING_PARAM")
    (await far.get("query/unheard_of")).refused(400, "M_INVALID_PARAM")


async def test_aliases_are_told(homes: Homes, far: FarServer) -> None:
    alice = await homes.user()
    room_id = await alice.create_room(preset="public_chat", room_alias_name="hall")
    await far.member(room_id, "join")
    found = (await far.get("query/directory", room_alias="#hall:test")).ok()
    assert found == {"room_id": room_id, "servers": ["test", FAR]}
    (await far.get("query/directory", room_alias="#no:test")).refused(404, "M_NOT_FOUND")
    for alias in ("#hall:else.where", "hall"):
        (await far.get("query/directory", room_alias=alias)).refused(400, "M_INVALID_PARAM")


async def test_devices_are_listed(homes: Homes, far: FarServer) -> None:
    alice = await homes.user("alice")
    other = await homes.second_device(alice)
    listed = (await far.get(f"user/devices/{segment(alice.user_id)}")).ok()
    assert listed["user_id"] == alice.user_id
    assert isinstance(listed["stream_id"], int)
    assert listed["devices"] == [
        {"device_id": alice.device_id, "keys": {}},
        {"device_id": other.device_id, "keys": {}},
    ]
    (await far.get(f"user/devices/{segment('@no:test')}")).refused(404, "M_NOT_FOUND")
    (await far.get(f"user/devices/{segment(far.user())}")).refused(400, "M_INVALID_PARAM")


async def test_keys_are_asked_for(homes: Homes, far: FarServer) -> None:
    alice = await homes.user("alice")
    answer = await far.post("user/keys/query", {"device_keys": {alice.user_id: []}})
    assert answer.ok()["device_keys"] == {alice.user_id: {}}
    wanted = {alice.user_id: {alice.device_id: "signed_curve25519"}}
    answer = await far.post("user/keys/claim", {"one_time_keys": wanted})
    assert answer.ok() == {"one_time_keys": {}}
    for path, body, errcode in (
        ("query", {}, "M_MISSING_PARAM"),
        ("query", {"device_keys": []}, "M_BAD_JSON"),
        ("query", {"device_keys": {alice.user_id: {}}}, "M_BAD_JSON"),
        ("query", {"device_keys": {alice.user_id: [1]}}, "M_BAD_JSON"),
        ("query", {"device_keys": {"alice": []}}, "M_INVALID_PARAM"),
        ("query", {"device_keys": {"@a:else.where": []}}, "M_INVALID_PARAM"),
        ("claim", {"one_time_keys": {alice.user_id: {"A": 1}}}, "M_BAD_JSON"),
        ("claim", {"one_time_keys": {"@a:else.where": {}}}, "M_INVALID_PARAM"),
    ):
        (await far.post(f"user/keys/{path}", body)).refused(400, errcode)


async def test_openid_tokens_tell_who_holds_them(homes: Homes) -> None:
    alice = await homes.user("alice")
    path = f"v3/user/{quote(alice.user_id)}/openid/request_token"
    token = (await alice.post(path)).ok()["access_token"]
    userinfo = "/_matrix/federation/v1/openid/userinfo"
    nobody = homes.nobody()
    assert (await nobody.get(userinfo, access_token=token)).ok() == {"sub": alice.user_id}
    (await nobody.get(userinfo, access_token="wrong")).refused(401, "M_UNKNOWN_TOKEN")
    (await nobody.get(userinfo)).refused(401, "M_MISSING_TOKEN")


async def test_there_are_no_such_media_and_no_policy_yet(far: FarServer) -> None:
    (await far.get("media/download/abc")).refused(404, "M_NOT_FOUND")
    (await far.get("media/thumbnail/abc", width=1, height=1)).refused(404, "M_NOT_FOUND")
    (await far.get("media/thumbnail/abc", width=1)).refused(400, "M_MISSING_PARAM")
    (await far.get("media/thumbnail/abc", width=0, height=1)).refused(400, "M_INVALID_PARAM")
    signed = await far.request("POST", "/_matrix/policy/v1/sign", {})
    signed.refused(404, "M_UNRECOGNIZED")


@dataclass
class OnePicture:
    """Media of which there is one."""

    asked: tuple[Thumbnail, int] | None = None

    async def download(self, media_id: str, timeout_ms: int) -> ServedMedia:
        if media_id == "far":
            return ServedMedia("image/png", location="https://cdn.example/far")
        if media_id != "picture":
            raise NotFound("There are no such media")
        body = StreamedBody(4, png_chunks())
        return ServedMedia("image/png", 'inline; filename="a.png"', body)

    async def thumbnail(self, media_id: str, wanted: Thumbnail, timeout_ms: int) -> ServedMedia:
        self.asked = (wanted, timeout_ms)
        return await self.download(media_id, timeout_ms)


async def png_chunks() -> AsyncGenerator[bytes, None]:
    yield b"\x89P"
    yield b"NG"


class SigningEverything:
    """A policy server that has nothing against anything."""

    async def sign(self, origin: ServerName, event: Any) -> Any:
        return {"test": {"ed25519:policy_server": f"{origin} {event['type']}"}}


@pytest.fixture
def files() -> OnePicture:
    return OnePicture()


async def test_media_come_in_two_parts(files: OnePicture) -> None:
    answering = cast(Answering, SimpleNamespace(media=files, policy=SigningEverything()))
    services = cast(Services, SimpleNamespace(answering=answering))
    authenticator = Authenticator(KnownSessions(), RecordingServerAuth(), lambda: 0)
    settings = HttpSettings()
    endpoints = (*media.ENDPOINTS, *policy.ENDPOINTS)
    server = HttpServer(Dispatcher(endpoints, services, authenticator, settings), settings)
    await server.start([ListenAddress("127.0.0.1", 0)])
    signed = {"Authorization": "X-Matrix origin=other.test"}
    try:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{server.ports[0]}", headers=signed
        ) as session:
            path = "/_matrix/federation/v1/media"
            parts = await read_parts(session, f"{path}/download/picture")
            assert parts == [
                ({"Content-Type": "application/json"}, b"{}"),
                (
                    {
                        "Content-Type": "image/png",
                        "Content-Disposition": 'inline; filename="a.png"',
                    },
                    b"\x89PNG",
                ),
            ]
            parts = await read_parts(session, f"{path}/download/far")
            assert parts[1] == ({"Location": "https://cdn.example/far"}, b"")
            await read_parts(
                session, f"{path}/thumbnail/picture?width=32&height=99999&timeout_ms=7"
            )
            assert files.asked == (Thumbnail(32, 10_000, "scale", None), 7)
            async with session.get(f"{path}/download/other") as response:
                assert response.status == 404
            async with session.post("/_matrix/policy/v1/sign", json={"type": "a"}) as response:
                signature = {"ed25519:policy_server": "other.test a"}
                assert await response.json() == {"test": signature}
    finally:
        await server.stop(grace_s=1)


async def read_parts(
    session: aiohttp.ClientSession, path: str
) -> list[tuple[dict[str, str], bytes]]:
    """The headers and bodies of the parts of an answer."""
    found = []
    async with session.get(path) as response:
        assert response.status == 200
        assert response.content_type == "multipart/mixed"
        async for part in aiohttp.MultipartReader.from_response(response):
            assert isinstance(part, aiohttp.BodyPartReader)
            found.append((dict(part.headers), bytes(await part.read())))
    return found
