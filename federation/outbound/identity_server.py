"""Asking identity servers, which know whose an e-mail address or telephone number is.

Only those that the configuration names are talked to, whatever a client says, by way of the guarded
connections. What they are told of an address is a hash, unless they know no hashes.

Source: identity service API; client-server API, "Third-party Invites".
"""

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import aiohttp
from yarl import URL

from federation.outbound.connections import Connections, read_beginning, reason_of
from federation.outbound.errors import BadAnswer, Refused, Unreachable
from federation.protocol import canonical_json
from federation.protocol.errors import (
    BadJson,
    InvalidParam,
    MatrixError,
    NotJson,
    ServerNotTrusted,
)
from federation.protocol.identifiers import ServerName, UserId, check_user_id
from federation.protocol.signatures import SigningKey
from federation.protocol.unpadded_base64 import encode_urlsafe_base64
from federation.protocol.x_matrix import authorization_header

TIMEOUT_S = 20.0
MAX_BYTES = 262_144
PREFIX = "/_matrix/identity/v2"
SHA256 = "sha256"
INVALID_PEPPER = "M_INVALID_PEPPER"
WITHOUT_SUPPORT = (400, 404, 501)
"""By these an identity server says that it unbinds nothing on request."""


class IdentityServers:
    """Those identity servers that are trusted."""

    def __init__(
        self,
        connections: Connections,
        trusted: Collection[str],
        own_name: ServerName,
        key: SigningKey,
    ) -> None:
        self._connections = connections
        self._trusted = frozenset(trusted)
        self._own_name = own_name
        self._key = key

    def check_trusted(self, server: str) -> None:
        """Raise `ServerNotTrusted` for one that the configuration does not name."""
        if server not in self._trusted:
            raise ServerNotTrusted("This server does not talk to that identity server")

    async def find_user(
        self, server: str, access_token: str, medium: str, address: str
    ) -> UserId | None:
        """To whom an address is bound, or None. Raises `ServerNotTrusted`, `FederationError`."""
        try:
            return await self._look_up(server, access_token, medium, address)
        except Refused as refusal:
            if refusal.answer_errcode != INVALID_PEPPER:
                raise
        # The pepper has changed since it was asked for.
        return await self._look_up(server, access_token, medium, address)

    async def store_invite(
        self, server: str, access_token: str, invite: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Have an invite wait until its address is bound; token, keys and name to show.

        Raises `ServerNotTrusted`, `FederationError`.
        """
        return await self._ask(server, "POST", f"{PREFIX}/store-invite", access_token, invite)

    async def bind(
        self, server: str, access_token: str, session_id: str, client_secret: str, user_id: UserId
    ) -> tuple[str, str]:
        """Bind an address that was proved there to a user; medium and address.

        Raises `ServerNotTrusted`, `FederationError`.
        """
        body = {"sid": session_id, "client_secret": client_secret, "mxid": user_id}
        answer = await self._ask(server, "POST", f"{PREFIX}/3pid/bind", access_token, body)
        medium, address = answer.get("medium"), answer.get("address")
        if not isinstance(medium, str) or not isinstance(address, str):
            raise BadAnswer(ServerName(server), "The answer does not say what was bound")
        return medium, address

    async def unbind(self, server: str, user_id: UserId, medium: str, address: str) -> bool:
        """Have a user's address forgotten, with our signature; False if the server cannot.

        Raises `ServerNotTrusted`, `FederationError`.
        """
        path = f"{PREFIX}/3pid/unbind"
        body = {"mxid": user_id, "threepid": {"medium": medium, "address": address}}
        content = canonical_json.encode(body)
        signed = authorization_header(
            "POST", path, self._own_name, ServerName(server), content, self._key
        )
        try:
            await self._request(server, "POST", path, content, signed)
        except Refused as refusal:
            if refusal.answer_status in WITHOUT_SUPPORT:
                return False
            raise
        return True

    async def _look_up(
        self, server: str, access_token: str, medium: str, address: str
    ) -> UserId | None:
        details = await self._ask(server, "GET", f"{PREFIX}/hash_details", access_token)
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list):
            raise BadAnswer(ServerName(server), "The answer has no pepper or no algorithms")
        algorithm = SHA256 if SHA256 in algorithms else "none"
        if algorithm not in algorithms:
            raise BadAnswer(ServerName(server), "It hashes in ways that are unknown here")
        wanted = lookup_form(algorithm, pepper, medium, address)
        body = {"addresses": [wanted], "algorithm": algorithm, "pepper": pepper}
        answer = await self._ask(server, "POST", f"{PREFIX}/lookup", access_token, body)
        mappings = answer.get("mappings")
        user_id = mappings.get(wanted) if isinstance(mappings, Mapping) else None
        if user_id is None:
            return None
        try:
            return check_user_id(user_id)
        except MatrixError as error:
            raise BadAnswer(ServerName(server), "The answer has a broken user ID") from error

    async def _ask(
        self,
        server: str,
        method: str,
        path: str,
        access_token: str,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        if not (access_token.isascii() and access_token.isprintable()):
            raise InvalidParam("This is no access token of an identity server")
        content = None if body is None else canonical_json.encode(body)
        return await self._request(server, method, path, content, f"Bearer {access_token}")

    async def _request(
        self, server: str, method: str, path: str, content: bytes | None, authorization: str
    ) -> Mapping[str, Any]:
        self.check_trusted(server)
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        name = ServerName(server)
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._connections.session().request(
                    method,
                    URL(f"https://{server}{path}"),
                    data=content,
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await read_beginning(response, MAX_BYTES)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(name, reason_of(error)) from error
        return read_answer(name, status, answer)


def read_answer(server: ServerName, status: int, answer: bytes) -> Mapping[str, Any]:
    """The object in an answer. Raises `Refused`, `BadAnswer`."""
    try:
        body = canonical_json.decode(answer, exact=False)
    except (NotJson, BadJson):
        body = None
    if status != 200:
        raise Refused(server, status, body if isinstance(body, Mapping) else {})
    if not isinstance(body, Mapping):
        raise BadAnswer(server, "The answer is no object")
    return body


def lookup_form(algorithm: str, pepper: str, medium: str, address: str) -> str:
    """The form in which an address is looked up.

    Source: identity service API, "Hash algorithms".
    """
    if algorithm != SHA256:
        return f"{address} {medium}"
    text = f"{address} {medium} {pepper}"
    return encode_urlsafe_base64(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
