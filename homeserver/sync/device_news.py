"""What a sync tells beside rooms: messages for the device, its keys, and whose devices changed.

It is read after the rest, up to the same position, and nothing is asked of the database as long as
nothing has happened. Source: client-server API, "Extensions to /sync".
"""

from dataclasses import dataclass, field, replace

from federation.protocol.auth_events import member_place
from homeserver.encryption.one_time_keys import OneTimeKeys
from homeserver.encryption.to_device import Inbox
from homeserver.sync.classify import memberships_at
from homeserver.sync.followers import Follower
from homeserver.sync.request import SyncRequest
from homeserver.sync.response import SyncBody
from homeserver.sync.token import SyncToken
from storage.changes import Membership
from storage.database import Database
from storage.device_lists import changed_for
from storage.names import Names
from storage.shared_rooms import Stretch, users_met, users_parted
from storage.visible_rooms import stayed_inside

BEGINNING = 0


@dataclass(frozen=True, slots=True)
class DeviceListNews:
    """Whose devices a user has to look at again, and whose no more."""

    changed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)


class DeviceNews:
    """Adds to responses what is for their device."""

    def __init__(self, db: Database, names: Names, inbox: Inbox, keys: OneTimeKeys) -> None:
        self._db = db
        self._names = names
        self._inbox = inbox
        self._keys = keys

    def may_exist(self, follower: Follower, device_nid: int, since: SyncToken) -> bool:
        """Whether anything may have to be told or done, whatever else there is."""
        return since.to_device is not None or self._inbox.may_have(
            device_nid, follower.to_device_added
        )

    async def add(self, body: SyncBody, follower: Follower, request: SyncRequest) -> None:
        """Add what there is to the response, whose token moves on accordingly."""
        await self._add_messages(body, follower, request)
        since = request.since
        if since is not None and follower.devices_changed > since.position:
            upto = body.next_batch.position
            news = await self.device_lists(follower, since.position, upto)
            body.device_lists_changed, body.device_lists_left = news.changed, news.left

    async def add_key_counts(self, body: SyncBody, request: SyncRequest) -> None:
        """Add how many keys the device has left."""
        body.key_counts = await self._keys.counts(request.viewer.device_nid)

    async def device_lists(self, follower: Follower, since: int, upto: int) -> DeviceListNews:
        """Whose devices have changed for a user, or came into view or out of it."""
        entered: list[int] = []
        left: list[int] = []
        moved = {n: own for n, own in follower.rooms.items() if since < own.position <= upto}
        if moved:
            at_since = dict.fromkeys(moved, since)
            place = await self._names.places.get_nid(member_place(follower.user_id))
            before = await memberships_at(self._db, self._names, follower, at_since)
            stayed = await stayed_inside(self._db, place, at_since, ())
            for room_nid, own in moved.items():
                # Of who was in a room while the user was out for a while nobody told the user.
                if own.membership is Membership.JOIN and room_nid not in stayed:
                    entered.append(room_nid)
                elif own.membership is not Membership.JOIN and before.get(room_nid) == "join":
                    left.append(room_nid)
        time = Stretch(since, upto, entered, left)
        changed = await changed_for(self._db, follower.user_nid, since, upto)
        changed |= await users_met(self._db, follower.user_nid, time)
        return DeviceListNews(changed, await users_parted(self._db, follower.user_nid, time))

    async def _add_messages(self, body: SyncBody, follower: Follower, request: SyncRequest) -> None:
        device_nid, since = request.viewer.device_nid, request.since
        if not self._inbox.may_have(device_nid, follower.to_device_added):
            return
        delivered = since.delivered if since is not None else BEGINNING
        token = body.next_batch
        body.to_device, reached = await self._inbox.take(device_nid, delivered, token.position)
        if reached < token.position:
            body.next_batch = replace(token, to_device=reached)
