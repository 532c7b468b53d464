"""What our users ask of other servers: aliases, directories, invites."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.federation.played import V1, PlayedServer
from tests.federation.sides import Side
from tests.federation.world import json_response
from tests.patience import PATIENCE_S

DIRECTORY = V1 + "query/directory"
PUBLIC_ROOMS = V1 + "publicRooms"
NOWHERE = "127.0.0.1:1"


async def test_an_alias_is_asked_of_its_server(home: Side, played: PlayedServer) -> None:
    alias, room_id = f"#räume:{played.name}", f"!room:{played.name}"
    path = f"v3/directory/room/{quote(alias)}"
    servers = ["one.test", 1, "not a server", "two.test"]
    played.answer(DIRECTORY, lambda _body: {"room_id": room_id, "servers": servers})
    found = (await home.client().get(path)).ok()
    assert found == {"room_id": room_id, "servers": ["one.test", "two.test"]}
    assert played.asked(DIRECTORY)[-1].target == f"{DIRECTORY}?room_alias={quote(alias, safe='')}"
    played.answer(DIRECTORY, lambda _body: (404, {"errcode": "M_NOT_FOUND", "error": "x"}))
    (await home.client().get(path)).refused(404, "M_NOT_FOUND")
    played.answer(DIRECTORY, lambda _body: {"room_id": 1})
    (await home.client().get(path)).refused(502, "M_UNKNOWN")
    gone = await home.client().get(f"v3/directory/room/{quote('#room:' + NOWHERE)}")
    gone.refused(504, "M_UNKNOWN")


async def test_the_directory_of_another_server_is_shown(home: Side, played: PlayedServer) -> None:
    alice = await home.user("alice")
    asked: list[Mapping[str, Any]] = []
    page = {"chunk": [{"room_id": "!a:x"}], "next_batch": "n", "total_room_count_estimate": 9}

    def tell(body: Mapping[str, Any]) -> Any:
        asked.append(body)
        return page

    played.answer(PUBLIC_ROOMS, tell)
    path = f"v3/publicRooms?server={played.name}"
    wanted = {"generic_search_term": "x", "room_types": [None, "m.space"]}
    body = {"limit": 5, "since": "s", "filter": wanted, "include_all_networks": True}
    assert (await alice.post(path, body)).ok() == page
    assert asked == [body]
    played.answer(PUBLIC_ROOMS, lambda _body: (403, {"errcode": "M_FORBIDDEN", "error": "no"}))
    (await alice.post(path)).refused(403, "M_FORBIDDEN")
    played.answer(PUBLIC_ROOMS, lambda _body: {"chunk": 1})
    (await alice.post(path)).refused(502, "M_UNKNOWN")
    (await alice.post("v3/publicRooms", server=NOWHERE)).refused(504, "M_UNKNOWN")
    (await alice.post("v3/publicRooms", server="no server")).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("status", "errcode", "told"),
    [
        (403, "M_FORBIDDEN", (403, "M_FORBIDDEN")),
        (403, "M_INVITE_BLOCKED", (403, "M_INVITE_BLOCKED")),
        (400, "M_UNSUPPORTED_ROOM_VERSION", (400, "M_UNSUPPORTED_ROOM_VERSION")),
        (400, "M_INVALID_PARAM", (502, "M_UNKNOWN")),
        (401, "M_UNKNOWN_TOKEN", (502, "M_UNKNOWN")),
    ],
)
async def test_a_refused_invite_says_why(
    home: Side, played: PlayedServer, status: int, errcode: str, told: tuple[int, str]
) -> None:
    alice = await home.user("alice")
    room_id = await alice.create_room()
    refusal = {"errcode": errcode, "error": "no"}
    played.answer_below("/_matrix/federation/v2/invite/", lambda _body: (status, refusal))
    path = f"v3/rooms/{quote(room_id)}/invite"
    (await alice.post(path, {"user_id": played.user("rem")})).refused(*told)
    members = (await alice.get(f"v3/rooms/{quote(room_id)}/members")).ok()["chunk"]
    assert [event["state_key"] for event in members] == [alice.user_id]


async def test_a_room_does_not_wait_for_the_server_of_an_invited_user(
    home: Side, played: PlayedServer
) -> None:
    alice = await home.user("alice")
    room_id = await alice.create_room()
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def sign(request: web.BaseRequest) -> web.StreamResponse:
        event = await request.json()
        is_asked.set()
        await may_answer.wait()
        return json_response(200, {"event": event["event"]})

    played.peer.fallback = sign
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        inviting = group.create_task(alice.invite(room_id, played.user("rem")))
        await is_asked.wait()
        for text in ("meanwhile", "and on"):
            await alice.send(room_id, text)
        assert not inviting.done()
        may_answer.set()
    await alice.send(room_id, "after")
    place = f"v3/rooms/{quote(room_id)}/state/m.room.member/{quote(played.user('rem'))}"
    assert (await alice.get(place)).ok()["membership"] == "invite"
    page = (await alice.get(f"v3/rooms/{quote(room_id)}/messages", dir="b", limit=4)).ok()
    bodies = [event["content"].get("body") for event in page["chunk"]]
    assert bodies[0] == "after"
    assert set(bodies) == {"after", None, "and on", "meanwhile"}
