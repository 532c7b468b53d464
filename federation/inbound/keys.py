"""The key endpoints: our keys, and those of others as a notary knows them.

Source: server-server API, "Retrieving server keys".
"""

from collections.abc import Mapping
from typing import Any

from federation.inbound.ports import KeyCall
from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import BadJson, TooLarge
from federation.protocol.identifiers import (
    KeyId,
    ServerName,
    check_server_name,
    is_valid_key_id,
    is_valid_server_name,
)
from federation.protocol.server_keys import KeyQuery

MAX_SERVERS = 1_000
MAX_KEYS_OF_A_SERVER = 100
MAX_TS = 2**63 - 1


@endpoint(
    "GET",
    "/_matrix/key/v2/server",
    Access.PUBLIC,
    rate=Rate.REQUEST,
    aliases=("/_matrix/key/v2/server/{keyId}",),
)
async def get_server_key(call: KeyCall) -> Mapping[str, Any]:
    """Publish our keys; all of them, also where an old server asks for one."""
    return call.services.key_server.published()


@endpoint("GET", "/_matrix/key/v2/query/{serverName}", Access.PUBLIC, rate=Rate.REQUEST)
async def perspectives_key_query(call: KeyCall) -> Mapping[str, Any]:
    """Tell the keys of one server. Errors: `InvalidParam`."""
    server_name = check_server_name(call.path["serverName"])
    minimum_ts = call.query_int("minimum_valid_until_ts", call.services.clock())
    query = KeyQuery(server_name, (), minimum_ts)
    return {"server_keys": await call.services.key_server.notarised([query])}


@endpoint("POST", "/_matrix/key/v2/query", Access.PUBLIC, rate=Rate.REQUEST)
async def bulk_perspectives_key_query(call: KeyCall) -> Mapping[str, Any]:
    """Tell the keys of several servers. Errors: `BadJson`, `TooLarge`."""
    wanted = call.json.get("server_keys")
    if not isinstance(wanted, dict):
        raise BadJson("`server_keys` is absent or not an object")
    if len(wanted) > MAX_SERVERS:
        raise TooLarge(f"No more than {MAX_SERVERS} servers may be asked for at once")
    now_ts = call.services.clock()
    queries = [
        parse_query(ServerName(name), keys, now_ts)
        for name, keys in wanted.items()
        if is_valid_server_name(name)
    ]
    return {"server_keys": await call.services.key_server.notarised(queries)}


def parse_query(server_name: ServerName, keys: object, now_ts: int) -> KeyQuery:
    """What is asked for of one server; of several times the latest counts. Raises `BadJson`."""
    if not isinstance(keys, dict) or not all(isinstance(one, dict) for one in keys.values()):
        raise BadJson("`server_keys` does not hold objects of key IDs and criteria")
    times = [one.get("minimum_valid_until_ts", now_ts) for one in keys.values()]
    if not all(type(one) is int and 0 <= one <= MAX_TS for one in times):
        raise BadJson("`minimum_valid_until_ts` is not a time")
    key_ids = [KeyId(key_id) for key_id in keys if is_valid_key_id(key_id)]
    return KeyQuery(server_name, tuple(key_ids[:MAX_KEYS_OF_A_SERVER]), max(times, default=now_ts))


ENDPOINTS = (get_server_key, perspectives_key_query, bulk_perspectives_key_query)
