"""Asking for the keys of other servers: themselves, or notaries that we trust.

Source: server-server API, "Retrieving server keys".
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer
from federation.outbound.ports import Clock, Wanted
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.server_keys import ServerKeys, VerifyKey, parse_server_keys
from federation.protocol.signatures import signatures_of, verify_json

DIRECT_TIMEOUT_S = 10.0
NOTARY_TIMEOUT_S = 30.0
MAX_KEY_BYTES = 262_144
MAX_NOTARY_BYTES = 4 * 1_048_576

SERVER_PATH = build_path("key", "v2", "server")
QUERY_PATH = build_path("key", "v2", "query")


class KeyFetch:
    """Asks for keys, and believes only what is signed."""

    __slots__ = ("_client", "_clock")

    def __init__(self, client: FederationClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def from_server(self, server_name: ServerName, *, backoff: bool) -> ServerKeys:
        """The keys that a server publishes.

        Raises `FederationError`, or `BadJson` or `SignatureInvalid` for what is no key object.
        """
        fields = await self._client.request(
            server_name,
            "GET",
            SERVER_PATH,
            timeout_s=DIRECT_TIMEOUT_S,
            max_bytes=MAX_KEY_BYTES,
            backoff=backoff,
        )
        if not isinstance(fields, dict):
            raise BadAnswer(server_name, "its keys are not a JSON object")
        return parse_server_keys(fields, server_name, received_ts=self._clock())

    async def from_notary(self, notary: ServerName, wanted: Wanted) -> list[dict[str, Any]]:
        """The key objects that a notary knows, unchecked. Raises `FederationError`."""
        query = {
            server_name: {
                key_id: {"minimum_valid_until_ts": minimum_ts}
                for key_id, minimum_ts in keys.items()
            }
            for server_name, keys in wanted.items()
        }
        answer = await self._client.request(
            notary,
            "POST",
            QUERY_PATH,
            body={"server_keys": query},
            timeout_s=NOTARY_TIMEOUT_S,
            max_bytes=MAX_NOTARY_BYTES,
        )
        objects = answer.get("server_keys") if isinstance(answer, dict) else None
        if not isinstance(objects, list):
            raise BadAnswer(notary, "its answer holds no keys")
        return [one for one in objects if isinstance(one, dict)]

    async def check_notarised(
        self,
        objects: Sequence[Mapping[str, Any]],
        notary: ServerName,
        notary_keys: Mapping[KeyId, VerifyKey],
        wanted: Wanted,
    ) -> list[ServerKeys]:
        """Those objects that were asked for, and are signed by the notary and by their server."""
        now_ts = self._clock()

        def check_all() -> list[ServerKeys]:
            checked = (check_one(one, notary, notary_keys, now_ts) for one in objects)
            return [one for one in checked if one is not None and one.server_name in wanted]

        return await asyncio.to_thread(check_all)


def check_one(
    fields: Mapping[str, Any],
    notary: ServerName,
    notary_keys: Mapping[KeyId, VerifyKey],
    received_ts: int,
) -> ServerKeys | None:
    """The keys in a notarised object; None if one of its two signatures does not hold."""
    server_name = fields.get("server_name")
    known = [key_id for key_id in signatures_of(fields, notary) if key_id in notary_keys]
    if not isinstance(server_name, str) or not known:
        return None
    try:
        for key_id in known:
            verify_json(fields, notary, key_id, notary_keys[key_id].key)
        return parse_server_keys(fields, ServerName(server_name), received_ts=received_ts)
    except MatrixError:
        return None
