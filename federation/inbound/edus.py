"""EDUs of other servers: whose they are, whether the room lets their server in, and who takes them.

An EDU is worth nothing to its sender afterwards, so a bad one is passed over and the rest of the
transaction goes on. A server speaks for its own users only.
Source: server-server API, "EDUs"; "Server Access Control Lists (ACLs)".
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from federation.inbound.receiving_ports import EduReceiver, ServerAcls
from federation.protocol import canonical_json
from federation.protocol.edu import (
    DEVICE_LIST_UPDATE,
    DIRECT_TO_DEVICE,
    PRESENCE,
    RECEIPT,
    SIGNING_KEY_UPDATE,
    TYPING,
    Edu,
    is_of,
    parse_device_list_update,
    parse_direct_to_device,
    parse_presence,
    parse_receipts,
    parse_signing_key_update,
    parse_typing,
)
from federation.protocol.endpoint import MAX_DEPTH
from federation.protocol.errors import Forbidden, MatrixError
from federation.protocol.identifiers import ServerName

log = logging.getLogger("hearth.edus")

Content = Mapping[str, Any]
Handler = Callable[[ServerName, Content], Awaitable[None]]


class Edus:
    """Hands EDUs to those who take them, by type."""

    __slots__ = ("_acls", "_handlers", "_receiver")

    def __init__(self, receiver: EduReceiver, acls: ServerAcls) -> None:
        self._receiver = receiver
        self._acls = acls
        self._handlers: Mapping[str, Handler] = {
            TYPING: self._typing,
            RECEIPT: self._receipts,
            PRESENCE: self._presence,
            DIRECT_TO_DEVICE: self._direct_to_device,
            DEVICE_LIST_UPDATE: self._device_list_update,
            SIGNING_KEY_UPDATE: self._signing_key_update,
        }

    async def receive(self, origin: ServerName, edus: Sequence[Edu]) -> None:
        """Take EDUs in their order; those that nobody knows or that are bad are passed over.

        Raises an error of status 5xx when nothing can be taken just now.
        """
        for edu in edus:
            handler = self._handlers.get(edu.type)
            if handler is None:
                continue
            try:
                canonical_json.check_depth(edu.content, MAX_DEPTH)
                canonical_json.check_integers((edu.content,))
                await handler(origin, edu.content)
            except MatrixError as error:
                if error.status >= 500:
                    raise
                log.info("An %s of %s is passed over: %s", edu.type, origin, error)
            except Exception:
                log.exception("An %s of %s has failed", edu.type, origin)

    async def _typing(self, origin: ServerName, content: Content) -> None:
        typist = parse_typing(content)
        check_speaks_for(origin, typist.user_id)
        if not await self._acls.find_denied(origin, (typist.room_id,)):
            await self._receiver.typing(typist)

    async def _receipts(self, origin: ServerName, content: Content) -> None:
        receipts = [one for one in parse_receipts(content) if is_of(one.user_id, origin)]
        denied = await self._acls.find_denied(origin, {one.room_id for one in receipts})
        allowed = [one for one in receipts if one.room_id not in denied]
        if allowed:
            await self._receiver.receipts(allowed)

    async def _presence(self, origin: ServerName, content: Content) -> None:
        updates = [one for one in parse_presence(content) if is_of(one.user_id, origin)]
        if updates:
            await self._receiver.presence(updates)

    async def _direct_to_device(self, origin: ServerName, content: Content) -> None:
        message = parse_direct_to_device(content)
        check_speaks_for(origin, message.sender)
        await self._receiver.direct_to_device(origin, message)

    async def _device_list_update(self, origin: ServerName, content: Content) -> None:
        update = parse_device_list_update(content)
        check_speaks_for(origin, update.user_id)
        await self._receiver.device_list_update(update)

    async def _signing_key_update(self, origin: ServerName, content: Content) -> None:
        update = parse_signing_key_update(content)
        check_speaks_for(origin, update.user_id)
        await self._receiver.signing_key_update(update)


def check_speaks_for(origin: ServerName, user_id: str) -> None:
    """Raise `Forbidden` unless the user is on the server."""
    if not is_of(user_id, origin):
        raise Forbidden(f"{origin} does not speak for {user_id}")
