"""Who sends a request: the server whose key has signed it.

Source: server-server API, "Request Authentication".
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from federation.inbound.ports import Clock, KnownKeys
from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, Forbidden, Unauthorized
from federation.protocol.identifiers import ServerName
from federation.protocol.server_keys import is_key_valid_for_request
from federation.protocol.signatures import verify_bytes
from federation.protocol.x_matrix import Authorization, parse_authorization, signed_bytes

MAX_HEADERS = 8


class ServerAuth:
    """Verifies the requests of other servers."""

    __slots__ = ("_clock", "_is_allowed", "_keys", "_own_name", "_seen")

    def __init__(
        self,
        own_name: ServerName,
        keys: KnownKeys,
        clock: Clock,
        *,
        is_allowed: Callable[[ServerName], bool],
        seen: Callable[[ServerName], Awaitable[None]],
    ) -> None:
        """`seen` hears of every server that has proved to be there."""
        self._own_name = own_name
        self._keys = keys
        self._clock = clock
        self._is_allowed = is_allowed
        self._seen = seen

    async def verify(
        self,
        *,
        authorization: Sequence[str],
        method: str,
        uri: str,
        content: dict[str, Any] | None,
        body: bytes = b"",
    ) -> ServerName:
        """The server that signed the request.

        `content` is the object in the `body`. There may be a header for each of its keys: one of
        them must be checkable, and all that are must match. Raises `Unauthorized`, `Forbidden`
        (no federation with it), `BadJson`.
        """
        claims = [parse_authorization(header) for header in authorization[:MAX_HEADERS]]
        origin = self._check_names(claims)
        now_ts = self._clock()
        wanted = {origin: dict.fromkeys((claim.key_id for claim in claims), now_ts)}
        # It is there just now, whatever went wrong before.
        known = (await self._keys.verify_keys(wanted, backoff=False)).get(origin, {})
        keys = {
            key_id: key for key_id, key in known.items() if is_key_valid_for_request(key, now_ts)
        }
        checkable = [claim for claim in claims if claim.key_id in keys]
        if not checkable:
            raise Unauthorized(f"No key of {origin} is known that has signed the request")
        encoded = None if content is None else canonical_form(content, body)
        message = signed_bytes(method, uri, origin, self._own_name, encoded)
        # Servers that do not name the destination in the header sign it nevertheless.
        for claim in checkable:
            verify_bytes(message, claim.signature, keys[claim.key_id].key)
        await self._seen(origin)
        return origin

    def _check_names(self, claims: Sequence[Authorization]) -> ServerName:
        """The one origin of all headers, if they are meant for us. Raises as `verify`."""
        origins = {claim.origin for claim in claims}
        if len(origins) != 1:
            raise Unauthorized("The X-Matrix authorizations do not name one origin")
        if any(claim.destination not in (None, self._own_name) for claim in claims):
            raise Unauthorized(f"The request is not meant for {self._own_name}")
        (origin,) = origins
        if origin == self._own_name:
            raise Unauthorized("This server does not send requests to itself")
        if not self._is_allowed(origin):
            raise Forbidden(f"This server does not federate with {origin}")
        return origin


def canonical_form(content: Mapping[str, Any], body: bytes) -> bytes:
    """What a signature covers of a request's content: its canonical JSON.

    What is nested too deeply for us to write is taken as it came: its sender writes it canonically
    or fails.
    """
    try:
        return canonical_json.encode_lax(content)
    except BadJson:
        return body
