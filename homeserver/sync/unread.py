"""What is unread of the rooms that a response tells of.

Clients take a room without counts for one in which nothing is unread.
Source: client-server API, `GET /sync`, `unread_thread_notifications`.
"""

from collections.abc import Mapping

from homeserver.push.counts import UnreadCounts
from homeserver.sync.followers import Follower, RoomMembership
from homeserver.sync.response import SyncBody
from storage.names import Names


async def add_missing_counts(
    body: SyncBody,
    follower: Follower,
    joined: Mapping[int, RoomMembership],
    names: Names,
    counts: UnreadCounts,
) -> None:
    """Count for the rooms of which only something beside their events is told."""
    bare = [room_id for room_id, section in body.joined.items() if section.counts is None]
    if not bare:
        return
    rooms = await names.rooms.find_many(bare)
    joined_at = {room.room_nid: joined[room.room_nid].position for room in rooms.values()}
    upto = body.next_batch.position
    counted = await counts.of(follower.user_nid, follower.user_id, joined_at, upto)
    for room_id, room in rooms.items():
        body.joined[room_id].counts = counted.get(room.room_nid)
