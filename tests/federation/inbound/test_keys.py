"""The key endpoints of a whole server: its own keys, and those of others as a notary."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from signedjson.key import decode_verify_key_bytes
from signedjson.sign import verify_signed_json
from unpaddedbase64 import decode_base64

from federation.protocol.identifiers import ServerName
from federation.protocol.server_keys import parse_server_keys
from homeserver.app import running
from homeserver.clock import system_clock
from homeserver.config.keys import replace_signing_key
from homeserver.config.sections.federation import Outgoing
from homeserver.config.sections.server import Listener
from homeserver.config.settings import Settings
from tests.federation.certificates import Authority
from tests.federation.world import KEYS, Network, Peer, published, test_key
from tests.homeserver.conftest import Homes, settings_for_tests

DAY_MS = 86_400_000
QUERY = "/_matrix/key/v2/query"
A_KEY = test_key("a")


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Homes]:
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Homes(server, session)


@pytest.fixture
def settings(database_url: str, tmp_path: Path, authority: Authority) -> Settings:
    """Of a server that may connect to other servers on loopback."""
    outgoing = Outgoing(extra_ca_files=(authority.certificate,), allow_ip_ranges=("127.0.0.0/8",))
    made = settings_for_tests(database_url, tmp_path)
    federation = replace(made.federation, enabled=True, trusted_key_servers=())
    return replace(made, outgoing=outgoing, federation=federation)


async def get(homes: Homes, target: str, **query: Any) -> Any:
    return (await homes.nobody().get(target, **query)).ok()


async def other_server(net: Network) -> tuple[Peer, ServerName]:
    peer = await net.peer(port=0)
    name = ServerName(f"{peer.address}:{peer.port}")
    peer.answers[KEYS] = published(name, A_KEY, valid_until_ts=system_clock() + DAY_MS)
    return peer, name


def check_by_reference(fields: dict[str, Any], server_name: str, keys: dict[str, Any]) -> None:
    """Have signedjson check the signatures of a server."""
    for key_id, key in keys.items():
        verify_key = decode_verify_key_bytes(key_id, decode_base64(key["key"]))
        verify_signed_json(fields, server_name, verify_key)


async def test_the_servers_keys_are_published_and_signed(homes: Homes) -> None:
    fields = await get(homes, KEYS)
    assert fields["server_name"] == "test"
    assert fields["old_verify_keys"] == {}
    assert fields["valid_until_ts"] > system_clock() + 3_600_000
    check_by_reference(fields, "test", fields["verify_keys"])
    parse_server_keys(fields, ServerName("test"), received_ts=system_clock())
    assert await get(homes, f"{KEYS}/ed25519:whatever") == fields


async def test_the_server_says_what_it_is(homes: Homes) -> None:
    server = (await get(homes, "/_matrix/federation/v1/version"))["server"]
    assert server["name"] == "hearth"
    assert server["version"]


async def test_a_rotated_key_is_published_as_expired(settings: Settings) -> None:
    async with started(settings) as homes:
        before = await get(homes, KEYS)
    rotated_ts = system_clock()
    new = replace_signing_key(settings.server.signing_key_path)
    async with started(settings) as homes:
        after = await get(homes, KEYS)
    assert list(after["verify_keys"]) == [new.key_id]
    check_by_reference(after, "test", after["verify_keys"])
    ((old_id, old),) = after["old_verify_keys"].items()
    assert before["verify_keys"][old_id]["key"] == old["key"]
    assert rotated_ts <= old["expired_ts"] <= system_clock()


async def test_a_notary_signs_what_a_server_has_signed(settings: Settings, net: Network) -> None:
    peer, name = await other_server(net)
    async with started(settings) as homes:
        own = await get(homes, KEYS)
        (fields,) = (await get(homes, f"{QUERY}/{name}"))["server_keys"]
        body = {"server_keys": {name: {A_KEY.key_id: {"minimum_valid_until_ts": 1}}, "test": {}}}
        bulk = (await homes.nobody().post(QUERY, body)).ok()["server_keys"]
    check_by_reference(fields, "test", own["verify_keys"])
    check_by_reference(fields, name, fields["verify_keys"])
    assert {k: v for k, v in fields.items() if k != "signatures"} == {
        k: v for k, v in peer.answers[KEYS].items() if k != "signatures"
    }
    assert [one["server_name"] for one in bulk] == [name, "test"]
    assert len(peer.seen) == 1


async def test_a_notary_tells_what_it_knew_of_a_server_that_is_gone(
    settings: Settings, net: Network
) -> None:
    peer, name = await other_server(net)
    async with started(settings) as homes:
        await get(homes, f"{QUERY}/{name}")
    peer.answers[KEYS] = (500, {})
    later_ts = system_clock() + 30 * DAY_MS
    async with started(settings) as homes:
        told = await get(homes, f"{QUERY}/{name}", minimum_valid_until_ts=later_ts)
        assert len(told["server_keys"]) == 1
        assert len(peer.seen) == 2
        assert await get(homes, f"{QUERY}/127.0.0.1:1") == {"server_keys": []}


async def test_a_notary_knows_its_own_keys(homes: Homes) -> None:
    own = await get(homes, KEYS)
    assert await get(homes, f"{QUERY}/test") == {"server_keys": [own]}
    nothing = (await homes.nobody().post(QUERY, {"server_keys": {}})).ok()
    assert nothing == {"server_keys": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"server_keys": []},
        {"server_keys": {"a.test": []}},
        {"server_keys": {"a.test": {"ed25519:a": 5}}},
        {"server_keys": {"a.test": {"ed25519:a": {"minimum_valid_until_ts": "now"}}}},
        {"server_keys": {"a.test": {"ed25519:a": {"minimum_valid_until_ts": -1}}}},
        {"server_keys": {"a.test": {"ed25519:a": {"minimum_valid_until_ts": 2**63}}}},
    ],
)
async def test_malformed_questions_to_a_notary_are_refused(homes: Homes, body: Any) -> None:
    (await homes.nobody().post(QUERY, body)).refused(400, "M_BAD_JSON")


async def test_questions_to_a_notary_are_limited(homes: Homes) -> None:
    many: dict[str, Any] = {"server_keys": {f"s{number}.test": {} for number in range(1001)}}
    (await homes.nobody().post(QUERY, many)).refused(413, "M_TOO_LARGE")
    (await homes.nobody().get(f"{QUERY}/a%20b")).refused(400, "M_INVALID_PARAM")
    answer = (await homes.nobody().post(QUERY, {"server_keys": {"no name": {}}})).ok()
    assert answer == {"server_keys": []}


async def test_a_server_without_federation_does_not_answer_servers(settings: Settings) -> None:
    settings = replace(settings, federation=replace(settings.federation, enabled=False))
    async with started(settings) as homes:
        for target in (KEYS, f"{QUERY}/test", "/_matrix/federation/v1/query/profile"):
            (await homes.nobody().get(target)).refused(404, "M_UNRECOGNIZED")


async def test_a_listener_serves_what_it_is_for(settings: Settings) -> None:
    listeners = tuple(
        Listener(address="127.0.0.1", port=0, serves=serves)
        for serves in (("client",), ("federation",))
    )
    async with (
        running(replace(settings, listen=listeners)) as server,
        aiohttp.ClientSession() as session,
    ):
        statuses = []
        for port in server.http.ports:
            for target in (KEYS, "/_matrix/client/versions"):
                async with session.get(f"http://127.0.0.1:{port}{target}") as response:
                    statuses.append(response.status)
    assert statuses == [404, 200, 200, 404]
