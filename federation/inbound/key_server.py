"""Publishing keys: our own, and as a notary those of other servers.

Source: server-server API, "Retrieving server keys".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from federation.inbound.ports import Clock, KeyObjects
from federation.protocol.server_keys import KeyQuery, OwnKeys, build_server_keys
from federation.protocol.signatures import sign_json

VALIDITY_MS = 24 * 3_600_000
"""How long others may go without asking again; a stolen key is believed for as long."""


class KeyServer:
    """Publishes keys."""

    __slots__ = ("_clock", "_objects", "_own", "_published", "_renew_at_ts")

    def __init__(self, own: OwnKeys, objects: KeyObjects, clock: Clock) -> None:
        self._own = own
        self._objects = objects
        self._clock = clock
        self._published: Mapping[str, Any] = {}
        self._renew_at_ts = 0

    def published(self) -> Mapping[str, Any]:
        """This server's key object; what is left of its validity is at least half."""
        now_ts = self._clock()
        if now_ts >= self._renew_at_ts:
            own = self._own
            self._published = build_server_keys(
                own.server_name, own.current, own.old, valid_until_ts=now_ts + VALIDITY_MS
            )
            self._renew_at_ts = now_ts + VALIDITY_MS // 2
        return self._published

    async def notarised(self, queries: Sequence[KeyQuery]) -> Sequence[Mapping[str, Any]]:
        """The key objects that answer the queries, signed by their servers and by this one."""
        own = self._own
        objects = await self._objects.stored_objects(queries)
        signed = [sign_json(orjson.loads(one), own.server_name, own.current[0]) for one in objects]
        if any(query.server_name == own.server_name for query in queries):
            return [*signed, self.published()]
        return signed
