"""The extension for messages to the device.

It has a token of its own, so that messages are deleted once the client has them, whatever becomes
of the connection. They come from the same inbox as in /sync. Source: MSC3885.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.encryption.to_device import Inbox
from homeserver.sync.followers import Follower
from homeserver.sync.sliding.request import ToDeviceWanted


@dataclass(frozen=True, slots=True)
class MessagesTold:
    """Messages as JSON, and the token by which the client says that it has them."""

    messages: Sequence[bytes]
    next_batch: int


class ToDevice:
    """Tells messages."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def tell(
        self, follower: Follower, device_nid: int, wanted: ToDeviceWanted, upto: int
    ) -> MessagesTold:
        """The device's next messages; what it has by now is deleted."""
        since = wanted.since or 0
        if since > upto or not self._inbox.may_have(device_nid, follower.to_device_added):
            return MessagesTold((), max(since, upto))
        messages, reached = await self._inbox.take(device_nid, since, upto, wanted.limit)
        return MessagesTold(messages, reached)
