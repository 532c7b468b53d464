"""The keys of other servers: where they come from, and what is believed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from federation.outbound.keyring import MOST_STRANGERS, STRANGERS_AT_ONCE
from federation.outbound.ports import StoredKey
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import KeyQuery, VerifyKey, build_server_keys
from federation.protocol.signatures import SigningKey, sign_json
from tests.federation.world import (
    DAY_MS,
    KEYS,
    NOW_TS,
    Handler,
    Kept,
    Network,
    Peer,
    Us,
    json_response,
    published,
    test_key,
)
from tests.patience import PATIENCE_S

QUERY = "/_matrix/key/v2/query"
A_KEY, B_KEY, NOTARY_KEY = test_key("a"), test_key("b"), test_key("notary")


async def server(net: Network, host: str, *keys: SigningKey) -> tuple[Peer, ServerName]:
    peer = await net.peer(host, port=0, hosts=[host])
    name = ServerName(f"{host}:{peer.port}")
    peer.answers[KEYS] = published(name, *keys)
    return peer, name


async def key_of(
    us: Us, name: str, key: SigningKey = A_KEY, minimum_ts: int = NOW_TS, **options: Any
) -> VerifyKey | None:
    wanted = {ServerName(name): {key.key_id: minimum_ts}}
    found = await us.keyring.verify_keys(wanted, **options)
    return found.get(ServerName(name), {}).get(key.key_id)


def notarising(*objects: dict[str, Any], name: str, key: SigningKey = NOTARY_KEY) -> Handler:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        signed = [sign_json(one, name, key) for one in objects]
        return json_response(200, {"server_keys": signed})

    return answer


async def test_a_key_is_fetched_once_from_its_server(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    for _ in range(3):
        key = await key_of(us, name)
        assert key is not None
        assert (key.key, key.expired_ts) == (A_KEY.verify_key, None)
    assert len(peer.seen) == 1
    assert net.kept.reads == 1


async def test_keys_survive_a_restart(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    await key_of(net.us(), name)
    us = net.us()
    assert await key_of(us, name) is not None
    assert await key_of(us, name) is not None
    assert len(peer.seen) == 1
    assert net.kept.reads == 2


async def test_many_who_want_a_key_at_once_are_one_request(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    found = await asyncio.gather(*(key_of(us, name) for _ in range(10)))
    assert None not in found
    assert len(peer.seen) == 1


class LateReading(Kept):
    """Answers all but the first reader only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def stored_keys(
        self, wanted: Mapping[ServerName, Sequence[KeyId]]
    ) -> Sequence[StoredKey]:
        found = await super().stored_keys(wanted)
        if self.reads > 1:
            await self.let_go.wait()
        return found


async def test_who_looks_for_a_key_while_another_gets_it_has_it_too(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    net.kept = kept = LateReading()
    us = net.us()
    first, second = (asyncio.create_task(key_of(us, name)) for _ in range(2))
    assert await first is not None
    kept.let_go.set()
    assert await second is not None
    assert len(peer.seen) == 1


async def test_keys_of_many_servers_come_together(net: Network) -> None:
    servers = [await server(net, f"s{number}.test", A_KEY) for number in range(12)]
    wanted = {name: {A_KEY.key_id: NOW_TS} for _, name in servers}
    found = await net.us().keyring.verify_keys(wanted)
    assert found.keys() == wanted.keys()
    assert net.kept.reads == 1


async def test_our_own_keys_are_not_asked_for(net: Network) -> None:
    old = VerifyKey(net.own.server_name, KeyId("ed25519:old"), B_KEY.verify_key, 5, 5)
    net.own = replace(net.own, old=(old,))
    wanted = {net.own.server_name: {net.key.key_id: NOW_TS, old.key_id: 4}}
    found = (await net.us().keyring.verify_keys(wanted))[net.own.server_name]
    assert found[net.key.key_id].key == net.key.verify_key
    assert found[old.key_id] == old
    assert net.kept.reads == 0


async def test_a_key_that_is_no_longer_valid_is_asked_for_again(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    await key_of(us, name)
    net.now_ts += 2 * DAY_MS
    peer.answers[KEYS] = published(name, A_KEY, valid_until_ts=net.now_ts + DAY_MS)
    key = await key_of(us, name, minimum_ts=net.now_ts)
    assert key is not None
    assert key.valid_until_ts == net.now_ts + DAY_MS
    assert len(peer.seen) == 2


async def test_an_old_event_needs_no_fresh_key(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    await key_of(us, name)
    net.now_ts += 30 * DAY_MS
    assert await key_of(us, name, minimum_ts=NOW_TS) is not None
    assert await key_of(us, name, minimum_ts=0) is not None
    assert len(peer.seen) == 1


async def test_a_key_that_falls_short_is_returned_if_nothing_better_is_there(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    await key_of(us, name)
    net.now_ts += 2 * DAY_MS
    peer.answers[KEYS] = (500, {})
    key = await key_of(us, name, minimum_ts=net.now_ts)
    assert key is not None
    assert key.valid_until_ts < net.now_ts


async def test_nobody_is_asked_for_keys_of_the_far_future(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    for _ in range(3):
        assert await key_of(us, name, minimum_ts=NOW_TS + 365 * DAY_MS) is not None
        net.now_ts += 20_000
    assert len(peer.seen) == 1


async def test_validity_is_cut_to_a_week(net: Network) -> None:
    peer, name = await server(net, "a.test")
    peer.answers[KEYS] = published(name, A_KEY, valid_until_ts=2**60)
    key = await key_of(net.us(), name)
    assert key is not None
    assert key.valid_until_ts == NOW_TS + 7 * DAY_MS


async def test_an_old_key_counts_until_it_expired(net: Network) -> None:
    peer, name = await server(net, "a.test")
    old = VerifyKey(name, A_KEY.key_id, A_KEY.verify_key, 0, NOW_TS - 5)
    peer.answers[KEYS] = build_server_keys(name, [B_KEY], [old], valid_until_ts=NOW_TS + DAY_MS)
    key = await key_of(net.us(), name, minimum_ts=NOW_TS - 6)
    assert key is not None
    assert key.expired_ts == NOW_TS - 5


def forged(name: str) -> dict[str, Any]:
    fields = published(name, A_KEY)
    return fields | {"valid_until_ts": fields["valid_until_ts"] + 1}


@pytest.mark.parametrize(
    "answer",
    [
        forged,
        lambda name: published("other.test", A_KEY),
        lambda name: published(name, A_KEY) | {"signatures": {}},
        lambda name: published(name, A_KEY) | {"verify_keys": {}},
        lambda name: sign_json(
            {
                "server_name": name,
                "valid_until_ts": NOW_TS + DAY_MS,
                "verify_keys": {"ed25519:a": {"key": "short"}},
            },
            name,
            A_KEY,
        ),
        lambda name: [],
        lambda name: (404, {}),
    ],
)
async def test_keys_that_are_not_rightly_signed_are_not_believed(net: Network, answer: Any) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    peer.answers[KEYS] = answer(name)
    assert await key_of(net.us(), name) is None
    assert net.kept.keys == {}


async def test_a_key_that_was_swapped_is_taken_from_its_server(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    await key_of(us, name)
    swapped = replace(B_KEY, key_id=A_KEY.key_id)
    net.now_ts += 2 * DAY_MS
    peer.answers[KEYS] = published(name, swapped, valid_until_ts=net.now_ts + DAY_MS)
    key = await key_of(us, name, minimum_ts=net.now_ts)
    assert key is not None
    assert key.key == B_KEY.verify_key


async def test_a_missing_key_is_asked_for_less_and_less_often(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    for _ in range(5):
        assert await key_of(us, name, B_KEY) is None
    assert len(peer.seen) == 1
    for _ in range(3600):
        net.now_ts += 1_000
        await key_of(us, name, B_KEY)
    assert 5 < len(peer.seen) < 15


async def test_strangers_cannot_make_us_ask_all_the_time_nor_hide_a_new_key(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    for number in range(100):
        net.now_ts += 100
        await key_of(us, name, replace(B_KEY, key_id=KeyId(f"ed25519:x{number}")))
    assert len(peer.seen) == 1
    peer.answers[KEYS] = published(name, B_KEY)
    net.now_ts += 10_000
    assert await key_of(us, name, B_KEY) is not None


async def test_a_server_that_is_left_alone_is_asked_where_it_must_be(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    peer.answers[KEYS] = (500, {})
    assert await key_of(us, name) is None
    peer.answers[KEYS] = published(name, A_KEY)
    net.now_ts += 10_000
    state = await us.backoff.state_of(name)
    net.kept.health[name] = replace(state, retry_at_ts=net.now_ts + DAY_MS)
    us = net.us()
    assert await key_of(us, name) is None
    net.now_ts += 10_000
    assert await key_of(us, name, backoff=False) is not None


@pytest.mark.parametrize("name", ["", "a b", "a\0b", "a.test:0"])
async def test_names_that_are_none_have_no_keys(net: Network, name: str) -> None:
    assert await key_of(net.us(), name) is None
    _, good = await server(net, "a.test", A_KEY)
    bad_id = replace(A_KEY, key_id=KeyId("ed25519:\0"))
    assert await key_of(net.us(), good, bad_id) is None


async def notary(net: Network, *objects: dict[str, Any]) -> tuple[Peer, ServerName]:
    peer, name = await server(net, "notary.test", NOTARY_KEY)
    peer.answers[QUERY] = notarising(*objects, name=name)
    return peer, name


async def test_a_notary_tells_the_keys_of_a_server_that_is_gone(net: Network) -> None:
    peer, name = await notary(net, published("gone.test:1", A_KEY))
    us = net.us(notaries=[name])
    key = await key_of(us, "gone.test:1")
    assert key is not None
    assert key.key == A_KEY.verify_key
    asked = next(seen for seen in peer.seen if seen.target == QUERY)
    assert orjson.loads(asked.body) == {
        "server_keys": {"gone.test:1": {"ed25519:a": {"minimum_valid_until_ts": NOW_TS}}}
    }


async def test_the_second_notary_is_asked_if_the_first_does_not_know(net: Network) -> None:
    _, second = await notary(net, published("gone.test:1", A_KEY))
    us = net.us(notaries=[ServerName("deaf.test:1"), second])
    assert await key_of(us, "gone.test:1") is not None


@pytest.mark.parametrize("fault", ["notary", "server", "unasked", "garbage"])
async def test_a_notary_is_believed_only_what_is_signed_twice(net: Network, fault: str) -> None:
    peer, name = await notary(net)
    right = published("gone.test:1", A_KEY)
    wrong: dict[str, Any] = {
        "notary": notarising(right, name=name, key=replace(B_KEY, key_id=NOTARY_KEY.key_id)),
        "server": notarising(forged("gone.test:1"), name=name),
        "unasked": notarising(published("other.test", A_KEY), name=name),
        "garbage": {"server_keys": [5, None, {"server_name": []}, {"signatures": {name: 1}}]},
    }
    peer.answers[QUERY] = wrong[fault]
    assert await key_of(net.us(notaries=[name]), "gone.test:1") is None
    assert not any(place[0] != name for place in net.kept.keys)


async def test_for_many_servers_notaries_are_asked_first(net: Network) -> None:
    names = [ServerName(f"s{number}.test:1") for number in range(20)]
    peer, name = await notary(net, *(published(one, A_KEY) for one in names))
    us = net.us(notaries=[name])
    found = await us.keyring.verify_keys({one: {A_KEY.key_id: NOW_TS} for one in names})
    assert found.keys() == set(names)
    assert sum(seen.target == QUERY for seen in peer.seen) == 1
    assert not any(one.startswith("s1") for one in net.hosts.asked)


async def test_objects_for_a_notarys_clients_are_as_their_servers_signed_them(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY, B_KEY)
    us = net.us()
    objects = await us.keyring.stored_objects([KeyQuery(name, (), NOW_TS)])
    assert [orjson.loads(one) for one in objects] == [peer.answers[KEYS]]
    await us.keyring.stored_objects([KeyQuery(name, (A_KEY.key_id,), NOW_TS)])
    assert len(peer.seen) == 1


async def test_objects_are_renewed_at_half_of_their_life_if_possible(net: Network) -> None:
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    query = KeyQuery(name, (), NOW_TS)
    await us.keyring.stored_objects([query])
    net.now_ts += DAY_MS // 2
    assert len(await us.keyring.stored_objects([query])) == 1
    assert len(peer.seen) == 2
    peer.answers[KEYS] = (500, {})
    net.now_ts += 30 * DAY_MS
    assert len(await us.keyring.stored_objects([query])) == 1, "what was known is told"
    assert await us.keyring.stored_objects([KeyQuery(ServerName("no.test:1"), (), 0)]) == []


async def test_strangers_keep_no_known_server_waiting(net: Network) -> None:
    """Whoever claims to be servers that never answer holds up only those never heard of."""
    peer, name = await server(net, "a.test", A_KEY)
    us = net.us()
    assert await key_of(us, name) is not None
    net.now_ts += 8 * DAY_MS
    peer.answers[KEYS] = published(name, A_KEY, valid_until_ts=net.now_ts + DAY_MS)
    asked = asyncio.Event()

    async def silent(_request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    liar = await net.peer("*.x.test", port=0)
    liar.answers[KEYS] = silent
    claimed = [f"n{number}.x.test" for number in range(MOST_STRANGERS + 5)]
    net.hosts.table |= dict.fromkeys(claimed, (liar.address,))
    strangers = [
        asyncio.create_task(key_of(us, f"{host}:{liar.port}", backoff=False)) for host in claimed
    ]
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
            fresh = await key_of(us, name, minimum_ts=net.now_ts, backoff=False)
        assert fresh is not None
        assert fresh.valid_until_ts >= net.now_ts
        assert sum(task.done() for task in strangers) == len(claimed) - MOST_STRANGERS
        assert len(liar.seen) <= STRANGERS_AT_ONCE
    finally:
        for task in strangers:
            task.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)
