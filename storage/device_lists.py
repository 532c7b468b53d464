"""Changes of devices and cross-signing keys: when they were, and what other servers hear of them.

What other servers are told is read when the change is committed, after everything that changed
with it: so their updates follow each other without a gap, and the last one tells the last state.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from federation.protocol.canonical_json import decode
from federation.protocol.cross_signing import MASTER, SELF_SIGNING
from federation.protocol.device_keys import add_signatures
from federation.protocol.edu import (
    DeviceListUpdate,
    Edu,
    SigningKeyUpdate,
    build_device_list_update,
    build_signing_key_update,
)
from federation.protocol.identifiers import DeviceId, ServerName, UserId
from storage.changes import Change, DeviceListChanged, EdusQueued
from storage.committer import Write
from storage.cross_signing import Signatures, cross_signing_keys, signatures_for
from storage.database import Database
from storage.device_keys import KeyedDevice, keyed_devices
from storage.outgoing import INSERT_EDUS

UPSERT_LISTS = """
    INSERT INTO device_lists AS old (user_nid, stream_position, stream_id)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
    ON CONFLICT (user_nid) DO UPDATE
       SET stream_position = GREATEST(excluded.stream_position, old.stream_position),
           stream_id = coalesce(excluded.stream_id, old.stream_id)
"""

SELECT_STREAM_IDS = """
    SELECT user_nid, stream_id
      FROM device_lists
     WHERE user_nid = ANY($1::integer[]) AND stream_id IS NOT NULL
"""

NOBODY = 0


@dataclass(frozen=True, slots=True)
class UserKeys:
    """What is published of users: their devices with names and keys, and cross-signing keys.

    All keys come with the signatures that everybody may see.
    """

    devices: Mapping[tuple[int, str], KeyedDevice]
    signatures: Signatures
    cross_signing: Mapping[tuple[int, str], Mapping[str, Any]]
    """By user and usage."""

    def without(self, gone: Set[tuple[int, str]]) -> "UserKeys":
        """The same less some devices."""
        kept = {key: device for key, device in self.devices.items() if key not in gone}
        return replace(self, devices=kept)

    def device_keys(self, device: KeyedDevice) -> dict[str, Any] | None:
        """A device's identity keys, if it has any."""
        if device.keys is None:
            return None
        signatures = self.signatures.get((device.user_nid, device.device_id), ())
        return add_signatures(decode(device.keys), signatures)


async def read_user_keys(
    db: Database, user_nids: Iterable[int], viewer_nid: int = NOBODY
) -> UserKeys:
    """What is published of users of ours, with the viewer's own signatures."""
    nids = list(user_nids)
    devices = await keyed_devices(db, nids)
    stored = await cross_signing_keys(db, nids)
    signatures = await signatures_for(db, nids, viewer_nid)
    return UserKeys(
        {(device.user_nid, device.device_id): device for device in devices},
        signatures,
        {
            (key.user_nid, key.usage): add_signatures(
                decode(key.key), signatures.get((key.user_nid, key.public_key), ())
            )
            for key in stored
        },
    )


@dataclass(frozen=True, slots=True)
class AnnounceDevices(Write):
    """Something about a user's devices or cross-signing keys has changed.

    Those in the rooms of `room_nids` and the servers of `destinations` hear of it.
    """

    order: ClassVar[int] = 70

    user_nid: int
    user_id: UserId
    room_nids: tuple[int, ...]
    destinations: frozenset[ServerName]
    device_ids: Sequence[DeviceId]
    is_removal: bool
    has_signing_keys: bool
    """Whether the master or self-signing key is among what changed."""
    with_names: bool
    """Whether other servers are told the names of devices."""
    announced_ts: int
    is_for_servers_only: bool = False
    """Whether nothing has changed that our own clients have to know."""

    @property
    def positions(self) -> int:
        """One for each update that other servers may get."""
        return max(1, len(self.device_ids) + self.has_signing_keys)

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["AnnounceDevices", int]]) -> None:
        """Note the changes, and queue the updates for other servers."""
        stream_ids: dict[int, int] = dict(
            await db.fetch(SELECT_STREAM_IDS, [write.user_nid for write, _ in placed])
        )
        told = {write.user_nid for write, _ in placed if write.destinations}
        keys = await read_user_keys(db, told) if told else None
        if keys is not None:
            # They are removed after this, so that another write may still find them.
            gone = {
                (write.user_nid, device_id)
                for write, _ in placed
                if write.is_removal
                for device_id in write.device_ids
            }
            keys = keys.without(gone)
        rows: list[tuple[ServerName, int, int, bytes]] = []
        last: dict[int, tuple[int, int | None]] = {}
        for write, position in placed:
            first = position - write.positions + 1
            if keys is not None:
                edus = write.updates(keys, first, stream_ids.get(write.user_nid))
                rows += [
                    (destination, at, write.announced_ts, edu.encode())
                    for at, edu in edus
                    for destination in write.destinations
                ]
            if write.device_ids:
                stream_ids[write.user_nid] = first + len(write.device_ids) - 1
            former, _ = last.get(write.user_nid, (0, None))
            heard_at = former if write.is_for_servers_only else position
            last[write.user_nid] = heard_at, stream_ids.get(write.user_nid)
        if rows:
            await db.execute(INSERT_EDUS, *map(list, zip(*rows, strict=True)))
        await db.execute(UPSERT_LISTS, list(last), *map(list, zip(*last.values(), strict=True)))

    def updates(
        self, keys: UserKeys, first: int, former_stream_id: int | None
    ) -> Iterator[tuple[int, Edu]]:
        """The updates for other servers, each with its position from `first` on."""
        position = first
        for device_id in self.device_ids:
            prev_ids = () if former_stream_id is None else (former_stream_id,)
            device = keys.devices.get((self.user_nid, device_id))
            step = Step(position, prev_ids)
            update = device_update(
                keys, self.user_id, device_id, device, step, with_names=self.with_names
            )
            yield position, build_device_list_update(update)
            former_stream_id = position
            position += 1
        if self.has_signing_keys:
            signing = signing_keys(keys, self.user_nid, self.user_id)
            yield position, build_signing_key_update(signing)

    def changes(self, position: int) -> Sequence[Change]:
        """Those in the rooms hear of it, and the sender."""
        first = position - self.positions + 1
        found: list[Change] = []
        if self.destinations:
            destinations = tuple(self.destinations)
            found += [EdusQueued(at, destinations) for at in range(first, position + 1)]
        if not self.is_for_servers_only:
            changed = DeviceListChanged(position, self.user_nid, self.user_id, self.room_nids)
            found.append(changed)
        return found


@dataclass(frozen=True, slots=True)
class Step:
    """The place of an update among those of its user."""

    stream_id: int
    prev_ids: tuple[int, ...]


def device_update(
    keys: UserKeys,
    user_id: UserId,
    device_id: DeviceId,
    device: KeyedDevice | None,
    step: Step,
    *,
    with_names: bool,
) -> DeviceListUpdate:
    """What other servers are told of a device; None stands for one that is gone."""
    return DeviceListUpdate(
        user_id,
        device_id,
        step.stream_id,
        step.prev_ids,
        is_deleted=device is None,
        display_name=device.display_name if device is not None and with_names else None,
        keys=keys.device_keys(device) if device is not None else None,
    )


KEEP_STREAM_ID = """
    INSERT INTO device_lists AS old (user_nid, stream_position, stream_id)
    VALUES ($1, 0, $2)
    ON CONFLICT (user_nid) DO UPDATE
       SET stream_id = coalesce(old.stream_id, excluded.stream_id)
"""


@dataclass(frozen=True, slots=True)
class IntroduceDevices(Write):
    """Servers get to know all devices of a user who has newly come into a room of theirs.

    The first of their updates refers to none before, the last is the one that the next change
    will refer to.
    """

    order: ClassVar[int] = 75

    user_nid: int
    user_id: UserId
    destinations: frozenset[ServerName]
    device_ids: Sequence[DeviceId]
    with_names: bool
    introduced_ts: int

    @property
    def positions(self) -> int:
        """One for each device, and one for cross-signing keys."""
        return len(self.device_ids) + 1

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["IntroduceDevices", int]]) -> None:
        """Queue the updates."""
        keys = await read_user_keys(db, {write.user_nid for write, _ in placed})
        rows: list[tuple[ServerName, int, int, bytes]] = []
        for write, position in placed:
            count = len(write.device_ids)
            last_known = await find_stream_id(db, write.user_nid)
            last = position if last_known is None else last_known
            await db.execute(KEEP_STREAM_ID, write.user_nid, last)
            edus = list(write.updates(keys, max(last - count + 1, 0)))
            rows += [
                (destination, position - len(edus) + i, write.introduced_ts, edu.encode())
                for i, edu in enumerate(edus, 1)
                for destination in write.destinations
            ]
        if rows:
            await db.execute(INSERT_EDUS, *map(list, zip(*rows, strict=True)))

    def updates(self, keys: UserKeys, stream_id: int) -> Iterator[Edu]:
        """The updates, the first with the ID `stream_id`."""
        prev_ids: tuple[int, ...] = ()
        for device_id in self.device_ids:
            device = keys.devices.get((self.user_nid, device_id))
            update = device_update(
                keys,
                self.user_id,
                device_id,
                device,
                Step(stream_id, prev_ids),
                with_names=self.with_names,
            )
            yield build_device_list_update(update)
            prev_ids = (stream_id,)
            stream_id += 1
        signing = signing_keys(keys, self.user_nid, self.user_id)
        if signing.master_key is not None:
            yield build_signing_key_update(signing)

    def changes(self, position: int) -> Sequence[Change]:
        """The sender hears of it."""
        destinations = tuple(self.destinations)
        first = position - self.positions + 1
        return [EdusQueued(at, destinations) for at in range(first, position + 1)]


def signing_keys(keys: UserKeys, user_nid: int, user_id: UserId) -> SigningKeyUpdate:
    """A user's keys that other servers may know."""
    return SigningKeyUpdate(
        user_id,
        keys.cross_signing.get((user_nid, MASTER)),
        keys.cross_signing.get((user_nid, SELF_SIGNING)),
    )


SELECT_STREAM_ID = "SELECT stream_id FROM device_lists WHERE user_nid = $1"


async def find_stream_id(db: Database, user_nid: int) -> int | None:
    """The ID of the last update of a user of ours; None if there never was any."""
    stream_id: int | None = await db.fetchval(SELECT_STREAM_ID, user_nid)
    return stream_id


SELECT_CHANGED_BETWEEN = """
    SELECT l.stream_position, l.user_nid, u.user_id, array_remove(array_agg(m.room_nid), NULL)
      FROM device_lists AS l
      JOIN users AS u USING (user_nid)
      LEFT JOIN memberships AS m ON m.user_nid = l.user_nid AND m.membership = 1
     WHERE l.stream_position > $1 AND l.stream_position <= $2
     GROUP BY l.stream_position, l.user_nid, u.user_id
"""

SELECT_SIGNED_BETWEEN = """
    SELECT DISTINCT s.stream_position, s.user_nid, u.user_id, s.signer_nid
      FROM key_signatures AS s
      JOIN users AS u USING (user_nid)
     WHERE s.signer_nid <> s.user_nid AND s.stream_position > $1 AND s.stream_position <= $2
"""


async def changed_device_lists(db: Database, since: int, upto: int) -> list[DeviceListChanged]:
    """Whose devices or keys changed after `since`, up to `upto`, and who may know."""
    changed = await db.fetch(SELECT_CHANGED_BETWEEN, since, upto)
    signed = await db.fetch(SELECT_SIGNED_BETWEEN, since, upto)
    return [
        *(DeviceListChanged(at, nid, user_id, tuple(rooms)) for at, nid, user_id, rooms in changed),
        *(DeviceListChanged(at, nid, user_id, (), signer) for at, nid, user_id, signer in signed),
    ]


SELECT_CHANGED_FOR = """
    SELECT u.user_id
      FROM device_lists AS l
      JOIN users AS u USING (user_nid)
     WHERE l.stream_position > $2 AND l.stream_position <= $3
       AND (l.user_nid = $1 OR EXISTS (
           SELECT FROM memberships AS theirs
             JOIN memberships AS mine ON mine.room_nid = theirs.room_nid
            WHERE theirs.user_nid = l.user_nid AND theirs.membership = 1
              AND mine.user_nid = $1 AND mine.membership = 1))
     UNION
    SELECT u.user_id
      FROM key_signatures AS s
      JOIN users AS u USING (user_nid)
     WHERE s.signer_nid = $1 AND s.user_nid <> $1
       AND s.stream_position > $2 AND s.stream_position <= $3
"""


async def changed_for(db: Database, viewer_nid: int, since: int, upto: int) -> set[str]:
    """Those whose devices or keys have changed for a user, after `since`, up to `upto`."""
    rows = await db.fetch(SELECT_CHANGED_FOR, viewer_nid, since, upto)
    return {user_id for (user_id,) in rows}
