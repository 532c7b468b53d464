"""Transactions of other servers, over real sockets: what is taken, refused, and told twice."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from federation.inbound.edus import Edus
from federation.inbound.transactions import AT_ONCE, MOST_WAITING, Transactions
from federation.protocol.build_event import build_event
from federation.protocol.canonical_json import decode
from federation.protocol.errors import LimitExceeded, MatrixError, NotFound
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId, RoomId, ServerName
from federation.protocol.room_versions import RoomVersion, get_room_version
from federation.protocol.signatures import signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from storage.database import DatabaseUnavailable
from storage.events import find_event
from storage.remote_devices import (
    KeepFetchedList,
    begin_fetch,
    delete_unshared_lists,
    good_lists,
)
from tests.federation.inbound.far_server import FarServer
from tests.homeserver.conftest import Answer, Client, Homes

NOW_TS = 1_800_000_000_000


async def send(
    far: FarServer, txn_id: str, *pdus: Mapping[str, Any], edus: Sequence[Any] = (), **more: Any
) -> Answer:
    """PUT a transaction."""
    body = {
        "origin": far.name,
        "origin_server_ts": NOW_TS,
        "pdus": list(pdus),
        "edus": list(edus),
        **more,
    }
    return await far.request("PUT", f"/_matrix/federation/v1/send/{txn_id}", body)


async def message(far: FarServer, room_id: str, body: str, **more: Any) -> dict[str, Any]:
    """An event of a user of the far server that follows the room as it stands."""
    room = await far.homes.services.send._live.get(room_id)
    version = room.version
    places = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", far.user())]
    await far.homes.services.send._live.load_entries(room, places)
    entries = [room.state[place] for place in places[1 if version.create_event_is_room_id else 0 :]]
    pdu = build_event(
        room_version=version,
        room_id=RoomId(room_id),
        sender=far.user(),
        event_type="m.room.message",
        content={"msgtype": "m.text", "body": body, **more},
        depth=room.max_depth + 1,
        origin_server_ts=NOW_TS,
        prev_events=list(room.extremities.values()),
        auth_events=[entry.pdu.event_id for entry in entries if entry],
        server_name=far.name,
        key=far._key,
    )
    fields: dict[str, Any] = decode(pdu.encoded)
    return fields


def id_of(fields: Mapping[str, Any], version_id: str = "12") -> EventId:
    return event_id_of(fields, get_room_version(version_id))


@pytest.fixture
async def alice(homes: Homes) -> Client:
    return await homes.user("alice")


async def shared_room(alice: Client, far: FarServer) -> str:
    room_id = await alice.create_room(preset="public_chat")
    await far.member(room_id, "join")
    return room_id


async def timeline(client: Client, room_id: str) -> list[str]:
    rooms = (await client.sync())["rooms"]["join"]
    events = rooms[room_id]["timeline"]["events"]
    return [one["content"].get("body", "") for one in events if one["type"] == "m.room.message"]


async def test_events_come_into_their_rooms(homes: Homes, far: FarServer, alice: Client) -> None:
    first, second = await shared_room(alice, far), await shared_room(alice, far)
    pdus = [await message(far, first, "one"), await message(far, second, "two")]
    answer = (await send(far, "t1", *pdus)).ok()
    assert answer == {"pdus": {id_of(pdu): {} for pdu in pdus}}
    assert await timeline(alice, first) == ["one"]
    assert await timeline(alice, second) == ["two"]


async def test_the_same_transaction_is_answered_the_same(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    pdu = await message(far, room_id, "one")
    first = (await send(far, "t1", pdu)).ok()
    again = (await send(far, "t1", {"not": "the same"})).ok()
    assert first == again
    other = (await send(far, "t2", pdu)).ok()
    assert other == first
    assert await timeline(alice, room_id) == ["one"]


async def test_transactions_of_two_servers_are_not_mixed_up(
    far: FarServer, stranger: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    pdu = await message(far, room_id, "one")
    assert (await send(far, "t1", pdu)).ok()["pdus"]
    assert (await send(stranger, "t1")).ok() == {"pdus": {}}


async def test_a_refused_event_is_named_and_the_others_are_kept(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    good = await message(far, room_id, "good")
    forged = {**await message(far, room_id, "bad"), "depth": 5_000}
    nowhere = {**good, "room_id": "!nowhere:far.example", "event_id": "$old:far.example"}
    answer = (await send(far, "t1", forged, good, nowhere, {"no": "event"})).ok()["pdus"]
    assert answer[id_of(good)] == {}
    assert "error" in answer[id_of(forged)]
    assert "error" in answer["$old:far.example"]
    assert await find_event(homes.services.db, id_of(forged)) is None
    assert await timeline(alice, room_id) == ["good"]


async def test_a_server_that_is_shut_out_is_told_so_of_each_event(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    room_id, open_room = await shared_room(alice, far), await shared_room(alice, far)
    acl = {"allow": ["*"], "deny": [far.name.partition(":")[0]], "allow_ip_literals": True}
    await alice.set_state(room_id, "m.room.server_acl", acl)
    pdu, other = await message(far, room_id, "one"), await message(far, open_room, "two")
    answer = (await send(far, "t1", pdu, other, edus=[typing(room_id, far.user())])).ok()["pdus"]
    assert "error" in answer[id_of(pdu)]
    assert answer[id_of(other)] == {}
    assert await find_event(homes.services.db, id_of(pdu)) is None
    assert await typists(alice, room_id) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"pdus": [{}] * 51}, "M_BAD_JSON"),
        ({"pdus": [], "edus": [{}] * 101}, "M_BAD_JSON"),
        ({"pdus": {}}, "M_BAD_JSON"),
    ],
)
async def test_a_transaction_that_is_too_large_is_refused(
    far: FarServer, body: dict[str, Any], errcode: str
) -> None:
    answer = await far.request("PUT", "/_matrix/federation/v1/send/t1", body)
    answer.refused(400, errcode)


async def test_nobody_sends_in_the_name_of_another(far: FarServer) -> None:
    (await send(far, "t1", origin="other.example")).refused(403, "M_FORBIDDEN")


async def test_more_than_clients_may_send_is_taken_from_servers(far: FarServer) -> None:
    big = {"edu_type": "org.example.big", "content": {"text": "x" * 3_000_000}}
    assert (await send(far, "t1", edus=[big])).ok() == {"pdus": {}}
    huge = {"edu_type": "org.example.big", "content": {"text": "x" * 13_000_000}}
    (await send(far, "t2", edus=[huge])).refused(413, "M_TOO_LARGE")


def typing(room_id: str, user_id: str, is_typing: bool = True) -> dict[str, Any]:
    content = {"room_id": room_id, "user_id": user_id, "typing": is_typing}
    return {"edu_type": "m.typing", "content": content}


async def ephemeral(client: Client, room_id: str, kind: str) -> list[Any]:
    rooms = (await client.sync())["rooms"]["join"]
    events = rooms[room_id].get("ephemeral", {}).get("events", [])
    return [one["content"] for one in events if one["type"] == kind]


async def typists(client: Client, room_id: str) -> list[str]:
    return [
        user for one in await ephemeral(client, room_id, "m.typing") for user in one["user_ids"]
    ]


async def test_who_types_elsewhere_is_shown_while_they_do(far: FarServer, alice: Client) -> None:
    room_id = await shared_room(alice, far)
    edus = [
        typing(room_id, far.user()),
        typing(room_id, far.user("nobody")),
        typing(room_id, alice.user_id),
        typing("!nowhere:far.example", far.user()),
    ]
    (await send(far, "t1", edus=edus)).ok()
    assert await typists(alice, room_id) == [far.user()]
    (await send(far, "t2", edus=[typing(room_id, far.user(), False)])).ok()
    assert await typists(alice, room_id) == []


def receipt(room_id: str, user_id: str, event_id: str, thread: str | None = None) -> dict[str, Any]:
    data = {"ts": 5} if thread is None else {"ts": 5, "thread_id": thread}
    content = {room_id: {"m.read": {user_id: {"event_ids": [event_id], "data": data}}}}
    return {"edu_type": "m.receipt", "content": content}


async def receipts(client: Client, room_id: str) -> dict[tuple[str, str, str | None], int]:
    """Event, user and thread of the receipts that a client is shown, with their times."""
    return {
        (event_id, user, data.get("thread_id")): data["ts"]
        for one in await ephemeral(client, room_id, "m.receipt")
        for event_id, by_type in one.items()
        for user, data in by_type["m.read"].items()
    }


async def test_what_was_read_elsewhere_is_shown(far: FarServer, alice: Client) -> None:
    room_id = await shared_room(alice, far)
    first, second = await alice.send(room_id, "one"), await alice.send(room_id, "two")
    edus = [
        receipt(room_id, far.user(), second),
        receipt(room_id, far.user(), first),
        receipt(room_id, far.user(), first, "main"),
        receipt(room_id, far.user("nobody"), first),
        receipt(room_id, alice.user_id, first),
    ]
    (await send(far, "t1", edus=edus)).ok()
    shown = await receipts(alice, room_id)
    assert shown == {(second, far.user(), None): 5, (first, far.user(), "main"): 5}


async def test_a_receipt_for_an_event_that_is_yet_to_come_counts(
    far: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    (await send(far, "t1", edus=[receipt(room_id, far.user(), "$later")])).ok()
    assert await receipts(alice, room_id) == {("$later", far.user(), None): 5}


def presence(*shown: tuple[str, str]) -> dict[str, Any]:
    push = [
        {"user_id": user, "presence": word, "last_active_ago": 5, "status_msg": "far"}
        for user, word in shown
    ]
    return {"edu_type": "m.presence", "content": {"push": push}}


async def present(client: Client) -> dict[str, str]:
    events = (await client.sync()).get("presence", {}).get("events", [])
    return {one["sender"]: one["content"]["presence"] for one in events}


async def test_presence_elsewhere_is_shown_until_nothing_is_heard_of_it(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    told = presence((far.user(), "online"), (far.user("unknown"), "online"))
    (await send(far, "t1", edus=[told, presence((alice.user_id, "unavailable"))])).ok()
    assert (await present(alice)).get(far.user()) == "online"
    status = (await alice.get(f"v3/presence/{far.user()}/status")).ok()
    assert (status["presence"], status["status_msg"]) == ("online", "far")
    assert far.user("unknown") not in await present(alice)
    service = homes.services.personal.presence
    for remote in service._remote.values():
        remote.heard_ts -= 31 * 60_000
    service.check()
    await homes.services.committer.commit()
    assert (await present(alice)).get(far.user()) == "offline"


async def test_presence_that_is_told_again_changes_nothing(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    (await send(far, "t1", edus=[presence((far.user(), "online"))])).ok()
    since = (await alice.sync())["next_batch"]
    (await send(far, "t2", edus=[presence((far.user(), "online"))])).ok()
    assert "presence" not in await alice.sync(since)


def to_device(far: FarServer, message_id: str, messages: Any, **more: Any) -> dict[str, Any]:
    content = {
        "sender": far.user(),
        "type": "m.test",
        "message_id": message_id,
        "messages": messages,
        **more,
    }
    return {"edu_type": "m.direct_to_device", "content": content}


async def waiting(homes: Homes, client: Client) -> list[Any]:
    """The messages that wait for a client's device, in order."""
    rows = await homes.services.db.fetch(
        "SELECT message FROM to_device_messages JOIN devices USING (device_nid)"
        " WHERE device_id = $1 ORDER BY stream_position",
        client.device_id,
    )
    return [decode(row[0]) for row in rows]


async def test_messages_to_devices_wait_for_them_once_and_in_order(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    phone = await homes.second_device(alice)
    edus = [
        to_device(far, "m1", {alice.user_id: {alice.device_id: {"n": 1}}}),
        to_device(far, "m2", {alice.user_id: {"*": {"n": 2}}, far.user(): {"*": {}}}),
        to_device(far, "m1", {alice.user_id: {alice.device_id: {"n": 1}}}),
        to_device(far, "m3", {alice.user_id: {"GONE": {}}, "@nobody:test": {"*": {}}}),
        to_device(far, "m4", {alice.user_id: {"*": {}}}, sender=alice.user_id),
    ]
    (await send(far, "t1", edus=edus)).ok()
    (await send(far, "t2", edus=edus[:2])).ok()
    assert await waiting(homes, alice) == [
        {"type": "m.test", "sender": far.user(), "content": {"n": n}} for n in (1, 2)
    ]
    assert [one["content"] for one in await waiting(homes, phone)] == [{"n": 2}]


def keys_of(far: FarServer, number: int) -> dict[str, Any]:
    return {"user_id": far.user(), "device_id": "FAR", "algorithms": [str(number)]}


def device_update(far: FarServer, stream_id: int, *prev_ids: int, **more: Any) -> dict[str, Any]:
    content = {
        "user_id": far.user(),
        "device_id": "FAR",
        "stream_id": stream_id,
        "prev_id": list(prev_ids),
        "keys": keys_of(far, stream_id),
        **more,
    }
    return {"edu_type": "m.device_list_update", "content": content}


async def devices(homes: Homes) -> tuple[Any, list[Any]]:
    db = homes.services.db
    row = await db.fetchrow("SELECT stream_id, is_complete FROM remote_device_lists")
    keys = await db.fetch("SELECT keys FROM remote_devices")
    return row and tuple(row), [key and decode(key) for (key,) in keys]


async def follow_list(homes: Homes, far: FarServer, stream_id: int) -> None:
    """Know all devices of the far user as of an update."""
    user_nid = await homes.services.names.users.get_nid(far.user())
    mark = await begin_fetch(homes.services.db, user_nid)
    await homes.services.committer.commit(
        KeepFetchedList(user_nid, far.user(), mark, stream_id, (), None, None)
    )


async def test_device_lists_are_followed_until_an_update_is_missing(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    (await send(far, "t1", edus=[device_update(far, 3)])).ok()
    assert await devices(homes) == (None, []), "nobody has asked for the devices"
    await follow_list(homes, far, 3)
    (await send(far, "t2", edus=[device_update(far, 4, 3)])).ok()
    assert await devices(homes) == ((4, True), [keys_of(far, 4)])
    (await send(far, "t3", edus=[device_update(far, 4, 3)])).ok()
    assert await devices(homes) == ((4, True), [keys_of(far, 4)])
    (await send(far, "t4", edus=[device_update(far, 6, 5)])).ok()
    assert await devices(homes) == ((6, False), [])


@pytest.mark.parametrize(("stream_id", "prev_ids"), [(2, (1,)), (5, ())])
async def test_a_list_is_in_doubt_when_its_updates_begin_anew(
    homes: Homes, far: FarServer, alice: Client, stream_id: int, prev_ids: tuple[int, ...]
) -> None:
    await shared_room(alice, far)
    await follow_list(homes, far, 4)
    (await send(far, "t1", edus=[device_update(far, stream_id, *prev_ids)])).ok()
    (_, is_complete), keys = await devices(homes)
    assert (is_complete, keys) == (False, [])


async def test_devices_are_taken_out_of_a_list_and_no_keys_of_others_into_it(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    await follow_list(homes, far, 4)
    foreign = {**keys_of(far, 5), "user_id": alice.user_id}
    (await send(far, "t1", edus=[device_update(far, 5, 4, keys=foreign)])).ok()
    assert await devices(homes) == ((5, True), [None])
    (await send(far, "t2", edus=[device_update(far, 6, 5, deleted=True, keys=None)])).ok()
    assert await devices(homes) == ((6, True), [])


async def test_a_list_is_no_longer_followed_when_no_room_was_shared_for_a_while(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    await follow_list(homes, far, 4)
    await far.member(room_id, "leave")
    (await send(far, "t1", edus=[device_update(far, 5, 4)])).ok()
    assert await devices(homes) == ((4, True), []), "nobody here may see it"
    await far.member(room_id, "join")
    user_nid = await homes.services.names.users.get_nid(far.user())
    assert await good_lists(homes.services.db, [user_nid]) == set()
    (await send(far, "t2", edus=[device_update(far, 6, 4)])).ok()
    assert await devices(homes) == ((6, False), [])


async def test_lists_of_users_whom_nobody_meets_any_more_are_forgotten(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    room_id = await shared_room(alice, far)
    await follow_list(homes, far, 4)
    assert await delete_unshared_lists(homes.services.db, 10) == 0
    await far.member(room_id, "leave")
    assert await delete_unshared_lists(homes.services.db, 10) == 1
    assert await devices(homes) == (None, [])


async def test_nothing_is_kept_of_devices_whose_users_nobody_here_meets(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    keys = {"edu_type": "m.signing_key_update", "content": {"user_id": far.user()}}
    (await send(far, "t1", edus=[device_update(far, 3), keys])).ok()
    assert await devices(homes) == (None, [])


def signing_key(user_id: str, usage: str, seed: bytes) -> dict[str, Any]:
    public_key = encode_base64(signing_key_from_seed("x", seed * 32).verify_key)
    keys = {f"ed25519:{public_key}": public_key}
    return {"user_id": user_id, "usage": [usage], "keys": keys}


async def test_cross_signing_keys_of_users_who_are_followed_are_kept(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    master = signing_key(far.user(), "master", b"m")
    self_signing = signing_key(far.user(), "self_signing", b"s")

    async def send_all(begin: str) -> list[Any]:
        contents: list[dict[str, Any]] = [
            {"master_key": master},
            {"self_signing_key": self_signing},
            {"master_key": signing_key(alice.user_id, "master", b"a")},
            {"master_key": {"n": 1}, "self_signing_key": master},
            {"user_id": alice.user_id, "master_key": signing_key(alice.user_id, "master", b"a")},
        ]
        for n, content in enumerate(contents):
            whole = {"user_id": far.user(), **content}
            edu = {"edu_type": "m.signing_key_update", "content": whole}
            (await send(far, f"{begin}{n}", edus=[edu])).ok()
        rows = await homes.services.db.fetch(
            "SELECT master_key, self_signing_key FROM remote_cross_signing_keys"
        )
        return [(decode(a), decode(b)) for a, b in rows]

    assert await send_all("a") == []
    await follow_list(homes, far, 4)
    assert await send_all("b") == [(master, self_signing)]


async def test_a_bad_edu_does_not_spoil_the_others(far: FarServer, alice: Client) -> None:
    room_id = await shared_room(alice, far)
    edus: list[Any] = [
        {"edu_type": "m.typing", "content": {}},
        {"edu_type": "m.typing", "content": []},
        {"edu_type": "org.example.unknown", "content": {}},
        {"edu_type": "m.presence", "content": {"push": "x"}},
        {"edu_type": "m.direct_to_device", "content": {"sender": 7}},
        to_device(far, "m1", {alice.user_id: {"*": {"n": 10**30}}}),
        {"edu_type": "m.receipt", "content": {room_id: 7}},
        "nonsense",
        typing(room_id, far.user()),
    ]
    (await send(far, "t1", edus=edus)).ok()
    assert await typists(alice, room_id) == [far.user()]
    assert "to_device" not in await alice.sync()


async def test_keys_with_numbers_that_nobody_can_hand_on_are_not_kept(
    homes: Homes, far: FarServer, alice: Client
) -> None:
    await shared_room(alice, far)
    await follow_list(homes, far, 1)
    odd = device_update(far, 2, 1, keys={**keys_of(far, 2), "odd": 10**30})
    (await send(far, "t1", edus=[odd])).ok()
    body: Any = {"device_keys": {far.user(): []}}
    assert (await alice.post("v3/keys/query", body)).status == 200


class Door:
    """Takes events as it is told to."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.taken = 0
        self.error: Exception | None = None

    async def receive(
        self, origin: str, room_id: str, events: Sequence[Mapping[str, Any]]
    ) -> dict[EventId, str | None]:
        self.taken += 1
        await self.is_open.wait()
        if self.error is not None:
            raise self.error
        return {EventId(str(one["event_id"])): None for one in events}

    async def find_version(self, room_id: str) -> RoomVersion | None:
        return get_room_version("1")

    async def find_denied(self, origin: str, room_ids: Any) -> set[str]:
        return set()


class Memory:
    """Remembers answers."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], bytes] = {}

    async def find_answer(self, origin: ServerName, txn_id: str) -> bytes | None:
        return self.answers.get((origin, txn_id))

    async def keep_answer(
        self, origin: ServerName, txn_id: str, received_ts: int, answer: bytes
    ) -> None:
        self.answers[origin, txn_id] = answer


def at_the_door() -> tuple[Transactions, Door, Memory]:
    door, memory = Door(), Memory()
    edus = Edus(None, door)  # type: ignore[arg-type]
    return Transactions(door, edus, memory, door, door, lambda: 0), door, memory


BODY = {"pdus": [{"room_id": "!r:far.example", "event_id": "$e:far.example"}]}
FAR_NAME = ServerName("far.example")


async def test_a_transaction_that_comes_again_meanwhile_waits_for_the_answer() -> None:
    transactions, door, _ = at_the_door()
    both = [asyncio.create_task(transactions.receive(FAR_NAME, "t", BODY)) for _ in range(2)]
    while not door.taken:
        await asyncio.sleep(0)
    door.is_open.set()
    assert len(set(await asyncio.gather(*both))) == 1
    assert door.taken == 1


async def test_a_server_has_only_so_many_transactions_waiting() -> None:
    transactions, door, _ = at_the_door()
    many = [
        asyncio.create_task(transactions.receive(FAR_NAME, f"t{n}", BODY))
        for n in range(AT_ONCE + MOST_WAITING)
    ]
    while door.taken < AT_ONCE:
        await asyncio.sleep(0)
    with pytest.raises(LimitExceeded):
        await transactions.receive(FAR_NAME, "one more", BODY)
    assert door.taken == AT_ONCE
    door.is_open.set()
    await asyncio.gather(*many)
    await transactions.receive(FAR_NAME, "one more", BODY)
    assert not transactions._turns
    assert not transactions._under_way


@pytest.mark.parametrize("error", [NotFound("gone"), ValueError("a bug of ours")])
async def test_events_that_cannot_be_taken_are_refused(error: Exception) -> None:
    transactions, door, memory = at_the_door()
    door.is_open.set()
    door.error = error
    answer = decode(await transactions.receive(FAR_NAME, "t", BODY))
    assert "error" in answer["pdus"]["$e:far.example"]
    assert memory.answers


async def test_while_the_database_is_away_a_transaction_is_to_come_again() -> None:
    transactions, door, memory = at_the_door()
    door.is_open.set()
    door.error = DatabaseUnavailable()
    with pytest.raises(MatrixError) as raised:
        await transactions.receive(FAR_NAME, "t", BODY)
    assert raised.value.status == 503
    assert not memory.answers
    door.error = None
    assert decode(await transactions.receive(FAR_NAME, "t", BODY)) == {
        "pdus": {"$e:far.example": {}}
    }


async def test_who_waited_for_a_transaction_that_was_cut_off_is_told_to_come_again() -> None:
    transactions, door, _ = at_the_door()
    first = asyncio.create_task(transactions.receive(FAR_NAME, "t", BODY))
    while not door.taken:
        await asyncio.sleep(0)
    second = asyncio.create_task(transactions.receive(FAR_NAME, "t", BODY))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(MatrixError) as raised:
        await second
    assert raised.value.status == 503
