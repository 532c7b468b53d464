"""Signatures of many events at once, and which keys count for them."""

from dataclasses import replace
from typing import Any

import pytest

from federation.outbound.keyring import Keyring
from federation.outbound.ports import StoredKey
from federation.outbound.verification import Signed, keys_wanted, verify_events, verify_many
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.room_versions import ROOM_VERSIONS
from federation.protocol.server_keys import VerifyKey
from federation.protocol.signatures import sign_bytes, sign_event
from tests.federation.world import DAY_MS, NOW_TS, Network, test_key

V4, V11 = ROOM_VERSIONS["4"], ROOM_VERSIONS["11"]
A, KEY = ServerName("a.test:1"), test_key("a")


def keyring_knowing(net: Network, *keys: VerifyKey) -> Keyring:
    for key in keys:
        net.kept.keys[key.server_name, key.key_id] = StoredKey(key, NOW_TS, b"{}")
    return net.us().keyring


def known(valid_until_ts: int = NOW_TS + DAY_MS, expired_ts: int | None = None) -> VerifyKey:
    return VerifyKey(A, KEY.key_id, KEY.verify_key, valid_until_ts, expired_ts)


def event(ts: int = NOW_TS, sender: str = f"@u:{A}", **fields: Any) -> dict[str, Any]:
    content = {"type": "m.room.message", "sender": sender, "origin_server_ts": ts}
    hashes = {"hashes": {"sha256": "x"}, "content": {}, "room_id": "!r"}
    return sign_event(content | hashes | fields, V11, A, KEY)


@pytest.mark.parametrize("count", [0, 1, 5, 200])
async def test_events_that_are_rightly_signed_pass_and_others_do_not(
    net: Network, count: int
) -> None:
    keyring = keyring_knowing(net, known())
    events = [event(depth=number) for number in range(count)]
    for forged in events[::7]:
        forged["depth"] += 1000
    verdicts = await verify_events(keyring, events, V11)
    assert [verdict is None for verdict in verdicts] == [i % 7 != 0 for i in range(count)]


async def test_every_signature_that_is_needed_is_checked(net: Network) -> None:
    keyring = keyring_knowing(net, known())
    events = [
        event() | {"signatures": {}},
        event() | {"signatures": "none"},
        event(sender="@u:b.test:1"),
        event(sender="nobody"),
        event() | {"sender": 5},
    ]
    assert None not in await verify_events(keyring, events, V11)


async def test_a_key_counts_within_its_time_from_room_version_5_on(net: Network) -> None:
    keyring = keyring_knowing(net, known())
    late = [event(NOW_TS + 2 * DAY_MS)]
    assert await verify_events(keyring, late, V11) != [None]
    assert await verify_events(keyring, late, replace(V11, enforce_key_validity=False)) == [None]


async def test_an_event_of_the_future_does_not_spoil_the_others(net: Network) -> None:
    keyring = keyring_knowing(net, known())
    verdicts = await verify_events(keyring, [event(), event(2**50), event(-1)], V11)
    assert [verdict is None for verdict in verdicts] == [True, False, True]


async def test_an_expired_key_counts_for_what_it_signed_before(net: Network) -> None:
    keyring = keyring_knowing(net, known(expired_ts=NOW_TS))
    verdicts = await verify_events(keyring, [event(NOW_TS), event(NOW_TS + 1)], V11)
    assert [verdict is None for verdict in verdicts] == [True, False]


def test_keys_are_wanted_up_to_the_latest_event() -> None:
    events = [event(5), event(9), event(7)]
    assert keys_wanted(events, V11) == {A: {KEY.key_id: 9}}
    assert keys_wanted(events, replace(V4, event_format=V11.event_format)) == {A: {KEY.key_id: 0}}


async def test_single_signatures_are_checked_in_masses() -> None:
    good = Signed(b"m", sign_bytes(b"m", KEY), KEY.verify_key)
    bad = [replace(good, message=b"n"), replace(good, signature=5), replace(good, key=b"short")]
    verdicts = await verify_many([good] * 150 + bad)
    assert [verdict is None for verdict in verdicts] == [True] * 150 + [False] * 3


async def test_keys_of_unknown_algorithms_are_passed_over(net: Network) -> None:
    keyring = keyring_knowing(net, known())
    signed = event()
    signed["signatures"][A][KeyId("rsa:1")] = "x"
    signed["signatures"]["z.test"] = {"ed25519:1": "x"}
    assert await verify_events(keyring, [signed], V11) == [None]
