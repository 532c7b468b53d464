"""What a sync tells a device beside rooms: the messages that wait for it.

It is read after the rest, up to the same position, and nothing is asked of the database as long as
nothing has happened.
"""

from homeserver.encryption.to_device import Inbox
from homeserver.sync.followers import Follower
from homeserver.sync.request import SyncRequest
from homeserver.sync.response import SyncBody
from homeserver.sync.token import SyncToken

BEGINNING = 0


class DeviceNews:
    """Adds to responses what is for their device."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def may_exist(self, follower: Follower, device_nid: int, since: SyncToken) -> bool:
        """Whether anything may have to be told or done, whatever else there is."""
        return since.to_device is not None or self._inbox.may_have(
            device_nid, follower.to_device_added
        )

    async def add(self, body: SyncBody, follower: Follower, request: SyncRequest) -> None:
        """Add what there is to the response, whose token moves on accordingly."""
        device_nid, since = request.viewer.device_nid, request.since
        if not self._inbox.may_have(device_nid, follower.to_device_added):
            return
        delivered = since.delivered if since is not None else BEGINNING
        token = body.next_batch
        body.to_device, reached = await self._inbox.take(device_nid, delivered, token.position)
        if reached < token.position:
            body.next_batch = SyncToken(token.position, token.typing, reached)
