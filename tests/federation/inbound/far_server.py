"""Another server that asks ours, with signatures and over real sockets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from federation.protocol.canonical_json import encode_lax
from federation.protocol.content_hash import check_content_hash
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId, ServerName, UserId
from federation.protocol.room_versions import get_room_version
from federation.protocol.server_keys import VerifyKey
from federation.protocol.signatures import signing_key_from_seed
from federation.protocol.x_matrix import authorization_header
from homeserver.rooms.send import NewEvent
from storage.server_keys import ServerKeyRow, keep_server_keys
from tests.homeserver.conftest import Answer, Homes

OURS = ServerName("test")
FAR = ServerName("127.0.0.8:8449")
STRANGE = ServerName("127.0.0.9:8449")
"""Addresses that our server refuses to connect to: what it has to send stays where it is."""

FOR_EVER = 2**53


@dataclass
class FarServer:
    """A server whose key ours knows already."""

    name: ServerName
    homes: Homes
    session: aiohttp.ClientSession

    async def introduce(self) -> None:
        """Let our server know the key."""
        key = VerifyKey(self.name, self._key.key_id, self._key.verify_key, FOR_EVER)
        await keep_server_keys(self.homes.services.db, [ServerKeyRow(key, FOR_EVER, b"{}")])

    async def get(self, path: str, **query: Any) -> Answer:
        """GET below /_matrix/federation/v1; a list as a query parameter repeats it."""
        target = f"/_matrix/federation/v1/{path}"
        if query:
            target += "?" + urlencode(query, doseq=True)
        return await self.request("GET", target)

    async def post(self, path: str, body: Any) -> Answer:
        """POST below /_matrix/federation/v1."""
        return await self.request("POST", f"/_matrix/federation/v1/{path}", body)

    async def request(self, method: str, target: str, body: Any = None) -> Answer:
        """Make a signed request."""
        content = None if body is None else encode_lax(body)
        header = authorization_header(method, target, self.name, OURS, content, self._key)
        async with self.session.request(
            method,
            URL(self.homes.base_url + target, encoded=True),
            data=content,
            headers={"Authorization": header},
        ) as response:
            answer = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(
                response.status, orjson.loads(answer) if is_json else answer, response.headers
            )

    async def send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        localpart: str = "rem",
    ) -> EventId:
        """Have an event of a user of this server in a room, as if it had come in a transaction."""
        new = NewEvent(self.user(localpart), event_type, content, state_key)
        return await self.homes.services.send.send(room_id, new)

    async def member(self, room_id: str, membership: str, localpart: str = "rem") -> EventId:
        """Have a user of this server join or leave a room."""
        content = {"membership": membership}
        return await self.send(room_id, "m.room.member", content, self.user(localpart), localpart)

    def user(self, localpart: str = "rem") -> UserId:
        """A user of this server."""
        return UserId(f"@{localpart}:{self.name}")

    @property
    def _key(self) -> Any:
        return signing_key_from_seed("far", self.name.encode()[:32].ljust(32, b"."))


def segment(text: str) -> str:
    """An identifier as a segment of a path."""
    return quote(text, safe="")


def ids_of(pdus: list[Any], version_id: str) -> list[str]:
    """The IDs of PDUs as whoever gets them works them out, once their hashes are found right."""
    version = get_room_version(version_id)
    return [event_id_of(pdu, version) for pdu in pdus]


def is_intact(pdu: Any) -> bool:
    """Whether a PDU is unredacted."""
    return check_content_hash(pdu)
