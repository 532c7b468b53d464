"""Invites by e-mail address, between our server, others and an identity server, both played."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from federation.protocol.canonical_json import decode
from federation.protocol.signatures import sign_json, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from tests.federation.played import V1, PlayedServer, always
from tests.federation.sides import Side, until
from tests.homeserver.conftest import Client
from tests.patience import PATIENCE_S

ONBIND = V1 + "3pid/onbind"
EXCHANGE = V1 + "exchange_third_party_invite/"
VALID = "/_matrix/identity/v2/pubkey/isvalid"
KEY = signing_key_from_seed("0", b"i" * 32)
OFFER = "m.room.third_party_invite"


async def offer(alice: Client, room_id: str, validity_url: str | None = None) -> None:
    """Have alice invite whoever the identity server names."""
    entry = {"public_key": encode_base64(KEY.verify_key), "key_validity_url": validity_url}
    content = {
        "display_name": "b...@example.org",
        "public_key": encode_base64(b"o" * 32),
        "key_validity_url": "https://127.0.0.1:1/gone",
        "public_keys": [{key: value for key, value in entry.items() if value is not None}],
    }
    await alice.set_state(room_id, OFFER, content, "tok")


def proof_of(user_id: str, **more: Any) -> dict[str, Any]:
    return sign_json({"mxid": user_id, "token": "tok", **more}, "id.test", KEY)


def binding(user_id: str, room_id: str, sender: str, signed: Mapping[str, Any]) -> dict[str, Any]:
    invite = {
        "medium": "email",
        "address": "b@example.org",
        "mxid": user_id,
        "room_id": room_id,
        "sender": sender,
        "signed": signed,
    }
    common = {"medium": "email", "address": "b@example.org", "mxid": user_id}
    return {**common, "invites": [invite]}


def partial(room_id: str, sender: str, target: str, signed: Mapping[str, Any]) -> dict[str, Any]:
    content = {
        "membership": "invite",
        "third_party_invite": {"display_name": "", "signed": signed},
    }
    fields = {"type": "m.room.member", "room_id": room_id, "sender": sender, "state_key": target}
    return {**fields, "content": content}


async def bind(home: Side, body: Mapping[str, Any]) -> Any:
    return await home.client().put(ONBIND, body)


async def member(client: Client, room_id: str, user_id: str) -> Any:
    path = f"v3/rooms/{quote(room_id)}/state/m.room.member/{quote(user_id)}"
    return (await client.get(path)).ok()


async def test_an_invite_waits_for_its_address_to_be_bound(home: Side) -> None:
    alice, bob = await home.user("alice"), await home.user("bob")
    room_id = await alice.create_room(room_version="11")
    await offer(alice, room_id)
    body = binding(bob.user_id, room_id, alice.user_id, proof_of(bob.user_id))
    for _ in range(2):
        (await bind(home, body)).ok()
    content = await member(alice, room_id, bob.user_id)
    assert content["membership"] == "invite"
    assert content["third_party_invite"]["display_name"] == "b...@example.org"
    await bob.join(room_id)
    (await bind(home, body)).ok()
    assert (await member(alice, room_id, bob.user_id))["membership"] == "join"


@pytest.mark.parametrize("change", ["user", "token", "signature"])
async def test_no_invite_is_made_without_a_proof(home: Side, change: str) -> None:
    alice, bob = await home.user("alice"), await home.user("bob")
    room_id = await alice.create_room(room_version="11")
    await offer(alice, room_id)
    signed = proof_of("@eve:x" if change == "user" else bob.user_id)
    if change == "token":
        signed["token"] = "other"
    elif change == "signature":
        signed = sign_json({"mxid": bob.user_id, "token": "tok"}, "id.test", OTHER_KEY)
    answer = await bind(home, binding(bob.user_id, room_id, alice.user_id, signed))
    answer.refused(403, "M_FORBIDDEN")
    unknown = binding("@nobody:" + home.name, room_id, alice.user_id, signed)
    (await bind(home, unknown)).refused(404, "M_NOT_FOUND")


OTHER_KEY = signing_key_from_seed("0", b"j" * 32)


async def test_the_inviters_server_is_asked_about_a_room_elsewhere(
    home: Side, played: PlayedServer
) -> None:
    bob = await home.user("bob")
    room_id, sender = f"!room:{played.name}", played.user("rem")
    asked: list[Mapping[str, Any]] = []

    def note(body: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return {}

    played.answer(EXCHANGE + room_id, note)
    signed = proof_of(bob.user_id)
    (await bind(home, binding(bob.user_id, room_id, sender, signed))).ok()
    assert asked == [partial(room_id, sender, bob.user_id, signed)]
    refusal = (403, {"errcode": "M_FORBIDDEN", "error": "No such offer"})
    played.answer(EXCHANGE + room_id, lambda _body: refusal)
    answer = await bind(home, binding(bob.user_id, room_id, sender, signed))
    answer.refused(403, "M_FORBIDDEN")


async def test_an_invite_in_the_name_of_another_servers_user_goes_to_all(
    home: Side, played: PlayedServer, other_played: PlayedServer
) -> None:
    alice, bob = await home.user("alice"), await home.user("bob")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    arrived = asyncio.Queue[str]()

    def take(server: PlayedServer) -> Any:
        def note(body: Mapping[str, Any]) -> Any:
            if any(pdu.get("state_key") == bob.user_id for pdu in body["pdus"]):
                arrived.put_nowait(server.name)
            return {"pdus": {}}

        return note

    for server in (played, other_played):
        server.answer_below(V1 + "send/", take(server))
        await server.join(home, room_id, "rem")
    levels = {"users": {alice.user_id: 100, played.user("rem"): 50}}
    await alice.set_state(room_id, "m.room.power_levels", levels)
    path = f"{V1}make_leave/{room_id}/{played.user('rem')}"
    ends = (await played.ask(home, "GET", path)).ok()["event"]
    state = await alice.get(f"v3/rooms/{quote(room_id)}/state")
    ids = {
        event["type"]: event["event_id"]
        for event in state.ok()
        if event["type"] != "m.room.member" or event["state_key"] == played.user("rem")
    }
    cited = ("m.room.create", "m.room.power_levels", "m.room.member")
    offered = played.complete(
        {
            **{key: ends[key] for key in ("prev_events", "depth")},
            "auth_events": [ids[event_type] for event_type in cited],
            "room_id": room_id,
            "type": OFFER,
            "state_key": "tok",
            "sender": played.user("rem"),
            "origin_server_ts": 1,
            "content": {"display_name": "b", "public_key": encode_base64(KEY.verify_key)},
        },
        "11",
    )
    results = await played.send(home, "t", decode(offered.encoded))
    assert results == {offered.event_id: {}}
    body = binding(bob.user_id, room_id, played.user("rem"), proof_of(bob.user_id))
    (await bind(home, body)).ok()
    await until(bob, lambda answer: answer.get("rooms", {}).get("invite", {}).get(room_id))
    async with asyncio.timeout(PATIENCE_S):
        assert {await arrived.get(), await arrived.get()} == {played.name, other_played.name}


async def test_an_offer_of_ours_becomes_an_invite_when_the_users_server_asks(
    home: Side, played: PlayedServer
) -> None:
    alice = await home.user("alice")
    room_id = await alice.create_room(room_version="11")
    await offer(alice, room_id, f"https://{played.name}{VALID}")
    zoe = played.user("zoe")
    invited: list[Mapping[str, Any]] = []

    def countersign(body: Mapping[str, Any]) -> Any:
        invited.append(body["event"])
        return {"event": body["event"]}

    played.answer_below("/_matrix/federation/v2/invite/", countersign)
    event = partial(room_id, alice.user_id, zoe, proof_of(zoe))
    answers: tuple[Any, ...] = ({"valid": False}, {"valid": 1}, [], (404, {"valid": True}))
    for answered in answers:
        played.answer(VALID, always(answered))
        answer = await played.ask(home, "PUT", EXCHANGE + room_id, event)
        answer.refused(403, "M_FORBIDDEN")
    played.answer(VALID, lambda _body: {"valid": True})
    for _ in range(2):
        assert (await played.ask(home, "PUT", EXCHANGE + room_id, event)).ok() == {}
    assert len(invited) == 1
    content = await member(alice, room_id, zoe)
    assert content == {
        "membership": "invite",
        "third_party_invite": {"display_name": "b...@example.org", "signed": proof_of(zoe)},
    }
    public_key = quote(encode_base64(KEY.verify_key), safe="")
    assert played.asked(VALID)[-1].target in {
        f"{VALID}?public_key={public_key}",
        f"{VALID}?public_key={quote(encode_base64(KEY.verify_key), safe='/')}",
    }


async def test_only_the_users_own_server_may_ask_and_only_for_true_offers(
    home: Side, played: PlayedServer
) -> None:
    alice, carol = await home.user("alice"), await home.user("carol")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await carol.join(room_id)
    await offer(alice, room_id)
    zoe, ours, path = played.user("zoe"), carol.user_id, EXCHANGE + room_id
    good = partial(room_id, alice.user_id, zoe, proof_of(zoe))
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({**good, "type": "m.room.topic"}, 400, "M_INVALID_PARAM"),
        ({**good, "room_id": "!other:x"}, 400, "M_INVALID_PARAM"),
        ({**good, "content": {"membership": "invite"}}, 400, "M_INVALID_PARAM"),
        (partial(room_id, alice.user_id, ours, proof_of(ours)), 403, "M_FORBIDDEN"),
        (partial(room_id, played.user("rem"), zoe, proof_of(zoe)), 403, "M_FORBIDDEN"),
        (partial(room_id, carol.user_id, zoe, proof_of(zoe)), 403, "M_FORBIDDEN"),
        (partial(room_id, alice.user_id, zoe, proof_of(zoe, token="x")), 403, "M_FORBIDDEN"),
        (partial(room_id, alice.user_id, zoe, proof_of("@eve:x")), 403, "M_FORBIDDEN"),
    ]
    for event, status, errcode in wrong:
        (await played.ask(home, "PUT", path, event)).refused(status, errcode)
    assert not played.asked("/_matrix/federation/v2/invite/")
    elsewhere = partial("!no:where", alice.user_id, zoe, proof_of(zoe))
    answer = await played.ask(home, "PUT", EXCHANGE + "!no:where", elsewhere)
    answer.refused(404, "M_NOT_FOUND")
