"""Invites by e-mail address and bindings of addresses, with an identity server that is played."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import pytest_asyncio

from federation.protocol.unpadded_base64 import encode_urlsafe_base64
from homeserver.config.sections.mail import ThirdPartyIds
from tests.federation.played import PlayedServer
from tests.federation.sides import Side
from tests.homeserver.conftest import Client

V2 = "/_matrix/identity/v2"
ADDRESS = "carol@example.org"
PEPPER = "matrixrocks"


@pytest_asyncio.fixture
async def trusting(home: Side, played: PlayedServer) -> AsyncIterator[Side]:
    """A server of ours that trusts the played identity server."""
    await home.stop()
    home.settings = replace(
        home.settings, third_party_ids=ThirdPartyIds(identity_servers=(played.name,))
    )
    await home.start()
    yield home


def hashed(address: str, pepper: str) -> str:
    text = f"{address} email {pepper}".encode()
    return encode_urlsafe_base64(hashlib.sha256(text).digest())


def know(played: PlayedServer, bound: Mapping[str, str]) -> None:
    """Have the identity server know whose addresses are; its pepper changes right at first."""
    peppers = ["old", PEPPER]

    def details(_: Mapping[str, Any]) -> Any:
        pepper = peppers.pop(0) if len(peppers) > 1 else peppers[0]
        return {"lookup_pepper": pepper, "algorithms": ["none", "sha256"]}

    def look_up(body: Mapping[str, Any]) -> Any:
        if body["pepper"] != PEPPER:
            return 400, {"errcode": "M_INVALID_PEPPER"}
        wanted = {hashed(address, PEPPER): user for address, user in bound.items()}
        assert body["algorithm"] == "sha256"
        return {"mappings": {h: wanted[h] for h in body["addresses"] if h in wanted}}

    played.answer(f"{V2}/hash_details", details)
    played.answer(f"{V2}/lookup", look_up)


def by_address(played: PlayedServer, **changes: str) -> dict[str, str]:
    return {
        "id_server": played.name,
        "id_access_token": "sesame",
        "medium": "email",
        "address": "Carol@Example.org",
        **changes,
    }


async def invite(client: Client, room_id: str, body: Mapping[str, Any]) -> Any:
    return await client.post(f"v3/rooms/{quote(room_id)}/invite", body)


async def state(client: Client, room_id: str, event_type: str) -> Any:
    events = (await client.get(f"v3/rooms/{quote(room_id)}/state")).ok()
    return [event for event in events if event["type"] == event_type]


async def test_who_has_the_address_is_invited(trusting: Side, played: PlayedServer) -> None:
    alice, carol = await trusting.user("alice"), await trusting.user("carol")
    know(played, {ADDRESS: carol.user_id})
    room_id = await alice.create_room()
    (await invite(alice, room_id, by_address(played))).ok()
    await carol.join(room_id)
    asked = played.asked(f"{V2}/lookup")[0]
    assert asked.headers["Authorization"] == "Bearer sesame"
    assert ADDRESS.encode() not in asked.body


async def test_an_invite_waits_for_an_address_that_nobody_has(
    trusting: Side, played: PlayedServer
) -> None:
    alice = await trusting.user("alice")
    know(played, {})
    stored: list[Mapping[str, Any]] = []

    def store(body: Mapping[str, Any]) -> Any:
        stored.append(body)
        keys = [{"public_key": "a2V5", "key_validity_url": "https://id/valid"}, {"public_key": "b"}]
        return {"token": "tok", "public_keys": keys, "display_name": "c...@e..."}

    played.answer(f"{V2}/store-invite", store)
    room_id = await alice.create_room(name="Tea")
    (await invite(alice, room_id, by_address(played))).ok()
    (told,) = stored
    assert (told["address"], told["room_name"], told["sender"]) == (ADDRESS, "Tea", alice.user_id)
    assert told["room_join_rules"] == "invite"
    (event,) = await state(alice, room_id, "m.room.third_party_invite")
    assert event["state_key"] == "tok"
    content = event["content"]
    assert (content["display_name"], content["public_key"]) == ("c...@e...", "a2V5")
    assert content["key_validity_url"] == "https://id/valid"
    assert content["public_keys"][1]["key_validity_url"].endswith("/pubkey/isvalid")


async def test_the_identity_server_is_not_asked_by_who_may_not_invite(
    trusting: Side, played: PlayedServer
) -> None:
    alice, eve = await trusting.user("alice"), await trusting.user("eve")
    know(played, {})
    room_id = await alice.create_room(
        preset="public_chat", power_level_content_override={"invite": 50}
    )
    (await invite(eve, room_id, by_address(played))).refused(403, "M_FORBIDDEN")
    await eve.join(room_id)
    (await invite(eve, room_id, by_address(played))).refused(403, "M_FORBIDDEN")
    assert played.asked(V2) == []


async def test_a_new_room_invites_by_address(trusting: Side, played: PlayedServer) -> None:
    alice, carol = await trusting.user("alice"), await trusting.user("carol")
    know(played, {ADDRESS: carol.user_id})
    body = {"is_direct": True, "invite_3pid": [by_address(played)]}
    room_id = (await alice.post("v3/createRoom", body)).ok()["room_id"]
    members = await state(alice, room_id, "m.room.member")
    content = {event["state_key"]: event["content"] for event in members}[carol.user_id]
    assert (content["membership"], content["is_direct"]) == ("invite", True)


async def test_only_trusted_identity_servers_are_asked(home: Side, played: PlayedServer) -> None:
    alice = await home.user("alice")
    room_id = await alice.create_room()
    refusal = (400, "M_SERVER_NOT_TRUSTED")
    (await invite(alice, room_id, by_address(played))).refused(*refusal)
    body = {"invite_3pid": [by_address(played)]}
    (await alice.post("v3/createRoom", body)).refused(*refusal)
    bind = {"id_server": played.name, "id_access_token": "t", "sid": "s", "client_secret": "c"}
    (await alice.post("v3/account/3pid/bind", bind)).refused(*refusal)
    assert played.peer.seen == []


async def test_an_address_is_bound_and_unbound(trusting: Side, played: PlayedServer) -> None:
    alice = await trusting.user("alice")
    played.answer(f"{V2}/3pid/bind", lambda _: {"medium": "email", "address": ADDRESS})
    played.answer(f"{V2}/3pid/unbind", lambda _: {})
    bind = {"id_server": played.name, "id_access_token": "t", "sid": "s", "client_secret": "c"}
    (await alice.post("v3/account/3pid/bind", bind)).ok()
    asked = orjson.loads(played.asked(f"{V2}/3pid/bind")[0].body)
    assert asked == {"sid": "s", "client_secret": "c", "mxid": alice.user_id}
    removal = {"medium": "email", "address": ADDRESS}
    gone = (await alice.post("v3/account/3pid/unbind", removal)).ok()
    assert gone == {"id_server_unbind_result": "success"}
    (unbound,) = played.asked(f"{V2}/3pid/unbind")
    assert unbound.headers["Authorization"].startswith(f'X-Matrix origin="{trusting.name}"')
    again = (await alice.post("v3/account/3pid/unbind", removal)).ok()
    assert again == {"id_server_unbind_result": "no-support"}


async def test_what_is_no_token_is_not_sent(trusting: Side, played: PlayedServer) -> None:
    alice = await trusting.user("alice")
    for token in ("a\nb", "ä", "a\r\nHost: b"):
        bind = {"id_server": played.name, "id_access_token": token, "sid": "s"}
        answer = await alice.post("v3/account/3pid/bind", {**bind, "client_secret": "c"})
        answer.refused(400, "M_INVALID_PARAM")
    assert played.asked(V2) == []


async def test_an_address_goes_from_an_account_without_its_identity_server(
    trusting: Side, played: PlayedServer
) -> None:
    alice = await trusting.user("alice")
    played.answer(f"{V2}/3pid/unbind", lambda _: (500, {}))
    for server in (played.name, "untrusted.example.org"):
        removal = {"medium": "email", "address": ADDRESS, "id_server": server}
        gone = (await alice.post("v3/account/3pid/delete", removal)).ok()
        assert gone == {"id_server_unbind_result": "no-support"}


@pytest.mark.parametrize("status", [404, 500])
async def test_deactivating_unbinds_as_far_as_that_is_possible(
    trusting: Side, played: PlayedServer, status: int
) -> None:
    alice = await trusting.user("alice")
    played.answer(f"{V2}/3pid/bind", lambda _: {"medium": "email", "address": ADDRESS})
    played.answer(f"{V2}/3pid/unbind", lambda _: (status, {"errcode": "M_UNRECOGNIZED"}))
    bind = {"id_server": played.name, "id_access_token": "t", "sid": "s", "client_secret": "c"}
    (await alice.post("v3/account/3pid/bind", {"three_pid_creds": bind} | bind)).ok()
    identifier = {"type": "m.id.user", "user": alice.user_id}
    password = {"password": "a password that is long", "type": "m.login.password"}
    body = {"auth": {**password, "identifier": identifier}}
    done = (await alice.post("v3/account/deactivate", body)).ok()
    assert done == {"id_server_unbind_result": "no-support"}
    assert len(played.asked(f"{V2}/3pid/unbind")) == 1
