"""Rooms that use a policy server: ours asks it, and believes nothing without its word."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest_asyncio

from federation.protocol.canonical_json import decode
from federation.protocol.event_id import reference_bytes
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import get_room_version
from federation.protocol.signatures import sign_bytes, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from tests.federation.played import V1, PlayedServer
from tests.federation.sides import Side
from tests.federation.world import KEYS
from tests.homeserver.conftest import Client

SIGN = "/_matrix/policy/v1/sign"
VERSION = get_room_version("11")
KEY = signing_key_from_seed("policy_server", b"p" * 32)
POLICY = "m.room.policy"


@dataclass
class Guarded:
    """A room of alice's with a policy server, which refuses events whose body is in `refused`."""

    home: Side
    alice: Client
    room_id: str
    server: PlayedServer
    refused: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    signing_key: Any = KEY
    bodies: list[str] = field(default_factory=list)

    async def enable(self, **content: Any) -> None:
        keys = {"ed25519": encode_base64(KEY.verify_key)}
        policy = {"via": self.server.name, "public_keys": keys, **content}
        await self.alice.set_state(self.room_id, POLICY, policy)

    def sign(self, fields: Mapping[str, Any]) -> Any:
        self.bodies.append(fields["content"].get("body", fields["type"]))
        if self.bodies[-1] in self.refused:
            return self.refused[self.bodies[-1]]
        signature = sign_bytes(reference_bytes(fields, VERSION), self.signing_key)
        return {self.server.name: {"ed25519:policy_server": signature}}

    async def stored(self, event_id: str) -> Mapping[str, Any]:
        """The event as other servers get it from us."""
        answer = await self.server.ask(self.home, "GET", f"{V1}event/{quote(event_id)}")
        pdu: Mapping[str, Any] = answer.ok()["pdus"][0]
        return pdu

    async def far_message(self, body: str) -> Pdu:
        """A message of a user on the policy server's own server, without its recommendation."""
        extremities = (await self._query("make_leave"))["event"]
        template = {
            **{key: extremities[key] for key in ("prev_events", "auth_events", "depth")},
            "room_id": self.room_id,
            "type": "m.room.message",
            "sender": self.server.user("rem"),
            "origin_server_ts": 1,
            "content": {"body": body, "msgtype": "m.text"},
        }
        return self.server.complete(template, "11")

    async def _query(self, name: str) -> Any:
        path = f"{V1}{name}/{self.room_id}/{self.server.user('rem')}"
        return (await self.server.ask(self.home, "GET", path)).ok()

    async def bodies_seen(self) -> list[str]:
        answer = await self.alice.get(f"v3/rooms/{quote(self.room_id)}/messages", dir="b", limit=50)
        return [event["content"].get("body") for event in answer.ok()["chunk"]]


@pytest_asyncio.fixture
async def guarded(home: Side, played: PlayedServer) -> Guarded:
    alice = await home.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await played.join(home, room_id, "rem")
    made = Guarded(home, alice, room_id, played)
    played.answer(SIGN, made.sign)
    return made


async def test_our_events_carry_the_policy_servers_signature(guarded: Guarded) -> None:
    await guarded.enable()
    event_id = await guarded.alice.send(guarded.room_id, "fine")
    pdu = await guarded.stored(event_id)
    assert pdu["signatures"].keys() == {guarded.home.name, guarded.server.name}
    topic = await guarded.alice.set_state(guarded.room_id, "m.room.topic", {"topic": "x"})
    assert guarded.server.name in (await guarded.stored(topic))["signatures"]
    policy = await guarded.alice.set_state(guarded.room_id, POLICY, {"via": 1})
    assert guarded.server.name not in (await guarded.stored(policy))["signatures"]
    assert guarded.bodies == ["fine", "m.room.topic"]
    await guarded.alice.send(guarded.room_id, "unguarded")
    assert guarded.bodies == ["fine", "m.room.topic"]


async def test_a_repeated_transaction_is_one_event(guarded: Guarded) -> None:
    await guarded.enable()
    path = f"v3/rooms/{quote(guarded.room_id)}/send/m.room.message/t"
    body = {"msgtype": "m.text", "body": "once"}
    first = (await guarded.alice.put(path, body)).ok()
    assert (await guarded.alice.put(path, body)).ok() == first
    assert (await guarded.bodies_seen()).count("once") == 1


async def test_a_refused_event_is_not_sent_and_the_user_hears_why(guarded: Guarded) -> None:
    await guarded.enable()
    said = {"errcode": "M_FORBIDDEN", "error": "This is spam", "org.example.rule": 7}
    custom = {"errcode": "ORG.EXAMPLE.SPAM", "error": "x"}
    logout = {"errcode": "M_UNKNOWN_TOKEN", "error": "bye", "soft_logout": True}
    guarded.refused = {"spam": (400, said), "custom": (403, custom), "bad": (403, logout)}
    path = f"v3/rooms/{quote(guarded.room_id)}/send/m.room.message/"
    answer = await guarded.alice.put(path + "1", {"msgtype": "m.text", "body": "spam"})
    assert (answer.status, answer.body) == (400, said)
    answer = await guarded.alice.put(path + "2", {"msgtype": "m.text", "body": "custom"})
    assert (answer.status, answer.body) == (403, custom)
    answer = await guarded.alice.put(path + "3", {"msgtype": "m.text", "body": "bad"})
    answer.refused(400, "M_FORBIDDEN")
    guarded.signing_key = signing_key_from_seed("policy_server", b"q" * 32)
    answer = await guarded.alice.put(path + "4", {"msgtype": "m.text", "body": "wrong key"})
    answer.refused(400, "M_FORBIDDEN")
    assert set(await guarded.bodies_seen()) == {None}


async def test_a_policy_server_that_is_gone_lets_nothing_through_until_it_is_switched_off(
    guarded: Guarded,
) -> None:
    await guarded.enable()
    guarded.refused = {"late": (503, {"errcode": "M_UNKNOWN", "error": "x"})}
    path = f"v3/rooms/{quote(guarded.room_id)}/send/m.room.message/"
    message = {"msgtype": "m.text", "body": "late"}
    for _ in range(2):
        # The second time it may be left alone, unless it was heard of meanwhile.
        assert (await guarded.alice.put(path + "1", message)).status in (502, 504)
    await guarded.alice.set_state(guarded.room_id, POLICY, {})
    (await guarded.alice.put(path + "1", message)).ok()


async def test_a_server_without_users_in_the_room_is_no_policy_server(
    guarded: Guarded, other_played: PlayedServer
) -> None:
    await guarded.enable(via=other_played.name)
    await guarded.alice.send(guarded.room_id, "unguarded")
    assert not other_played.asked(SIGN)


async def test_events_of_others_are_signed_on_receipt_or_not_shown(guarded: Guarded) -> None:
    await guarded.enable()
    guarded.refused = {"spam": (400, {"errcode": "M_FORBIDDEN", "error": "no"})}
    results: dict[str, Any] = {}
    for body in ("spam", "fine"):
        message = await guarded.far_message(body)
        results |= await guarded.server.send(guarded.home, body, decode(message.encoded))
    assert list(results.values()) == [{}, {}]
    assert [body for body in await guarded.bodies_seen() if body] == ["fine"]
    pdu = await guarded.stored(message.event_id)
    assert pdu["signatures"][guarded.server.name].keys() == {
        guarded.server.key.key_id,
        "ed25519:policy_server",
    }
    after = await guarded.far_message("after")
    assert after.prev_events == (message.event_id,)


async def test_what_is_signed_already_is_not_asked_about(guarded: Guarded) -> None:
    await guarded.enable()
    message = await guarded.far_message("signed")
    fields = decode(message.encoded)
    signature = guarded.sign(fields)[guarded.server.name]
    fields["signatures"][guarded.server.name] |= signature
    guarded.bodies.clear()
    asked_for_keys = len(guarded.server.asked(KEYS))
    await guarded.server.send(guarded.home, "t", fields)
    assert guarded.bodies == []
    assert len(guarded.server.asked(KEYS)) == asked_for_keys
    assert [body for body in await guarded.bodies_seen() if body] == ["signed"]


async def test_the_policy_in_force_counts_for_events_that_come_together(guarded: Guarded) -> None:
    levels = {"users": {guarded.alice.user_id: 100, guarded.server.user("rem"): 100}}
    await guarded.alice.set_state(guarded.room_id, "m.room.power_levels", levels)
    await guarded.enable()
    guarded.refused = {"first": (400, {"errcode": "M_FORBIDDEN", "error": "no"})}
    first = await guarded.far_message("first")
    common = {**decode(first.encoded), "sender": guarded.server.user("rem")}
    off = guarded.server.complete({**common, "type": POLICY, "state_key": "", "content": {}}, "11")
    then = guarded.server.complete(
        {**common, "prev_events": [off.event_id], "content": {"body": "first"}}, "11"
    )
    pdus = [decode(pdu.encoded) for pdu in (off, then)]
    assert await guarded.server.send(guarded.home, "t", *pdus) == {
        off.event_id: {},
        then.event_id: {},
    }
    assert [body for body in await guarded.bodies_seen() if body] == ["first"]


async def test_who_joins_by_way_of_us_needs_the_policy_servers_word(
    guarded: Guarded, other_played: PlayedServer
) -> None:
    await guarded.enable()
    path = f"{V1}make_join/{guarded.room_id}/{other_played.user('zoe')}"
    template = (await other_played.ask(guarded.home, "GET", path, ver=["11"])).ok()
    join = other_played.complete(template["event"], "11")
    path = f"/_matrix/federation/v2/send_join/{guarded.room_id}/{join.event_id}"
    guarded.refused = {"m.room.member": (400, {"errcode": "M_FORBIDDEN", "error": "no"})}
    answer = await other_played.ask(guarded.home, "PUT", path, decode(join.encoded))
    answer.refused(403, "M_FORBIDDEN")
    guarded.refused = {}
    answer = await other_played.ask(guarded.home, "PUT", path, decode(join.encoded))
    assert "ed25519:policy_server" in answer.ok()["event"]["signatures"][guarded.server.name]


async def test_the_end_of_an_upgraded_room_is_signed_too(guarded: Guarded) -> None:
    await guarded.enable()
    path = f"v3/rooms/{quote(guarded.room_id)}"
    refusal = (400, {"errcode": "M_FORBIDDEN", "error": "stay"})
    guarded.refused = {"This room has been replaced": refusal}
    answer = await guarded.alice.post(f"{path}/upgrade", {"new_version": "11"})
    answer.refused(400, "M_FORBIDDEN")
    (await guarded.alice.get(f"{path}/state/m.room.tombstone")).refused(404, "M_NOT_FOUND")
    guarded.refused = {}
    (await guarded.alice.post(f"{path}/upgrade", {"new_version": "11"})).ok()
    state = (await guarded.alice.get(f"{path}/state")).ok()
    tombstone = next(event for event in state if event["type"] == "m.room.tombstone")
    signatures = (await guarded.stored(tombstone["event_id"]))["signatures"]
    assert "ed25519:policy_server" in signatures[guarded.server.name]
