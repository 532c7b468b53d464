"""Messages to devices of our users, kept until the device has fetched them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.changes import Change, ToDeviceAdded
from storage.committer import Write
from storage.database import Database

INSERT_RECEIVED = """
    INSERT INTO received_to_device (origin, message_id, received_ts)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT DO NOTHING
 RETURNING origin, message_id
"""

# A device may be gone by now.
INSERT_MESSAGES = """
    INSERT INTO to_device_messages (device_nid, stream_position, message)
    SELECT new.device_nid, new.stream_position, new.message
      FROM unnest($1::integer[], $2::bigint[], $3::bytea[])
        AS new (device_nid, stream_position, message)
      JOIN devices USING (device_nid)
"""


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    """A message for a device: JSON of `sender`, `type` and `content`."""

    user_nid: int
    device_nid: int
    message: bytes


@dataclass(frozen=True, slots=True)
class ReceivedId:
    """By what a message of another server is recognised when it comes again."""

    origin: str
    message_id: str
    received_ts: int


@dataclass(frozen=True, slots=True)
class AddToDevice(Write):
    """Messages for devices, at most one for each; those of other servers count once."""

    messages: Sequence[DeviceMessage]
    received: ReceivedId | None = None

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AddToDevice", int]]) -> None:
        """Insert the messages that are new."""
        ids = {(r.origin, r.message_id): r for write, _ in placed if (r := write.received)}
        unseen: set[tuple[str, str]] = set()
        if ids:
            ts = [received.received_ts for received in ids.values()]
            rows = await db.fetch(INSERT_RECEIVED, *map(list, zip(*ids, strict=True)), ts)
            unseen = {(origin, message_id) for origin, message_id in rows}
        new = []
        for write, position in placed:
            received = write.received
            if received is not None:
                key = (received.origin, received.message_id)
                if key not in unseen:
                    continue
                unseen.discard(key)
            new += [(one.device_nid, position, one.message) for one in write.messages]
        if new:
            await db.execute(INSERT_MESSAGES, *map(list, zip(*new, strict=True)))

    def changes(self, position: int) -> Sequence[Change]:
        """The users hear of it."""
        users = dict.fromkeys(message.user_nid for message in self.messages)
        return [ToDeviceAdded(position, user_nid) for user_nid in users]


SELECT_CHANGED = """
    SELECT DISTINCT m.stream_position, d.user_nid
      FROM to_device_messages AS m
      JOIN devices AS d USING (device_nid)
     WHERE m.stream_position > $1 AND m.stream_position <= $2
"""


async def changed_to_device(db: Database, since: int, upto: int) -> list[ToDeviceAdded]:
    """Whose devices got messages after `since`, up to `upto`."""
    return [ToDeviceAdded(*row) for row in await db.fetch(SELECT_CHANGED, since, upto)]


TAKE = """
      WITH delivered AS (
           DELETE FROM to_device_messages
            WHERE device_nid = $1 AND stream_position <= $2)
    SELECT stream_position, message
      FROM to_device_messages
     WHERE device_nid = $1 AND stream_position > $2 AND stream_position <= $3
     ORDER BY stream_position
     LIMIT $4
"""


async def take_to_device(
    db: Database, device_nid: int, delivered: int, upto: int, limit: int
) -> list[tuple[int, bytes]]:
    """Delete what was delivered; the next messages, up to `upto`, with their positions in order."""
    rows = await db.fetch(TAKE, device_nid, delivered, upto, limit)
    return [(row[0], row[1]) for row in rows]


READ = """
    SELECT stream_position, message
      FROM to_device_messages
     WHERE device_nid = $1 AND stream_position > $2
     ORDER BY stream_position
     LIMIT $3
"""


async def read_to_device(
    db: Database, device_nid: int, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """The next messages after a position, in order, with their positions; they stay."""
    rows = await db.fetch(READ, device_nid, after, limit)
    return [(row[0], row[1]) for row in rows]


SELECT_DEVICES = """
    SELECT u.user_id, d.device_id, d.user_nid, d.device_nid
      FROM users AS u
      JOIN devices AS d USING (user_nid)
     WHERE u.user_id = ANY($1::text[])
     ORDER BY d.device_nid
"""


@dataclass(frozen=True, slots=True)
class Addressee:
    """A device that messages can be sent to."""

    user_id: str
    device_id: str
    user_nid: int
    device_nid: int


async def addressees(db: Database, user_ids: Iterable[str]) -> list[Addressee]:
    """All devices of these users of ours."""
    return [Addressee(*row) for row in await db.fetch(SELECT_DEVICES, list(user_ids))]


# For each device the messages are added up from the latest one backwards.
SELECT_OVERFLOWS = """
      WITH crowded AS (
           SELECT device_nid
             FROM to_device_messages
            GROUP BY device_nid
           HAVING sum(octet_length(message)) > $1)
    SELECT device_nid, max(stream_position)
      FROM (SELECT m.device_nid,
                   m.stream_position,
                   sum(octet_length(m.message)) OVER (
                       PARTITION BY m.device_nid ORDER BY m.stream_position DESC) AS kept
              FROM to_device_messages AS m
              JOIN crowded USING (device_nid)) AS added_up
     WHERE kept > $1
     GROUP BY device_nid
"""

DELETE_UPTO = """
      WITH gone AS (
           DELETE FROM to_device_messages
            WHERE (device_nid, stream_position) IN (
                  SELECT m.device_nid, m.stream_position
                    FROM to_device_messages AS m
                    JOIN unnest($1::integer[], $2::bigint[]) AS cut (device_nid, upto)
                      ON m.device_nid = cut.device_nid AND m.stream_position <= cut.upto
                   LIMIT $3)
        RETURNING 1)
    SELECT count(*) FROM gone
"""


async def overflows(db: Database, max_bytes: int) -> dict[int, int]:
    """Up to which position a device's messages are too much, beside its latest `max_bytes`."""
    return dict(await db.fetch(SELECT_OVERFLOWS, max_bytes))


async def delete_upto(db: Database, cuts: Mapping[int, int], limit: int) -> int:
    """Delete at most `limit` of devices' messages up to a position for each; how many it were."""
    count: int = await db.fetchval(DELETE_UPTO, list(cuts), list(cuts.values()), limit)
    return count


DELETE_OLD_RECEIVED = """
      WITH old AS (
           DELETE FROM received_to_device
            WHERE (origin, message_id) IN (
                  SELECT origin, message_id
                    FROM received_to_device
                   WHERE received_ts < $1
                   LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM old
"""


async def delete_old_received(db: Database, received_before: int, limit: int) -> int:
    """Forget at most `limit` messages of other servers taken before a time; how many it were."""
    count: int = await db.fetchval(DELETE_OLD_RECEIVED, received_before, limit)
    return count
