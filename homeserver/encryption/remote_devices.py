"""Devices of other servers' users: following what their servers tell, and asking where it lacks.

A list is fetched when somebody here first asks for it. From then on it is followed; when an update
is missing it is fetched again, in the background, for as long as it takes until the server answers.
Several reasons to fetch a list while it is being fetched are one.
Source: server-server API, "Device Management".
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from federation.outbound.backoff import Backoff
from federation.outbound.device_keys import FetchedList, RemoteDeviceKeys
from federation.outbound.errors import FederationError
from federation.outbound.single_flight import SingleFlight
from federation.protocol import canonical_json
from federation.protocol.canonical_json import decode
from federation.protocol.cross_signing import MASTER, SELF_SIGNING, find_cross_signing_key
from federation.protocol.device_keys import is_of_device, keep_signatures_of, with_name
from federation.protocol.edu import DeviceListUpdate, SigningKeyUpdate
from federation.protocol.errors import BadJson, MatrixError
from federation.protocol.identifiers import ServerName, UserId, is_valid_device_id, server_of
from homeserver.encryption.published_keys import PublishedKeys, WantedDevices, is_wanted
from storage.committer import Committer
from storage.database import Database
from storage.names import Names
from storage.remote_devices import (
    FetchMark,
    KeepFetchedList,
    RemoteDevice,
    UpdateRemoteDevice,
    UpdateRemoteSigningKeys,
    begin_fetch,
    delete_list,
    good_lists,
    is_followed,
    is_outdated,
    outdated_users,
    remote_cross_signing_keys,
    remote_devices,
    rooms_shared_with,
)

log = logging.getLogger("hearth.devices")

ATTEMPTS = 3
"""How often a list is fetched in a row while it changes under our hands."""
FETCH_TIMEOUT_S = 30.0
AT_ONCE = 5
"""Servers that are asked at a time in the background."""
RETRY_S = 30.0
LONGEST_WAIT_S = 3_600.0
MAX_NAME_LENGTH = 1_000


class RemoteDevices:
    """Keeps the lists."""

    def __init__(
        self,
        db: Database,
        names: Names,
        committer: Committer,
        asker: RemoteDeviceKeys,
        backoff: Backoff,
    ) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._asker = asker
        self._fetches: SingleFlight[UserId, None] = SingleFlight()
        self._outdated: dict[ServerName, dict[UserId, None]] = {}
        """Whose lists are to be fetched in the background, in the order of their turns."""
        self._not_before: dict[ServerName, float] = {}
        self._working: set[ServerName] = set()
        self._news = asyncio.Event()
        backoff.listen(self._server_is_back)

    async def take_update(self, update: DeviceListUpdate) -> None:
        """A device has changed, of a user who shares a room with one of ours.

        Of a device without keys nobody has to hear, unless its user's devices are known here.
        """
        user_nid = await self._names.users.find_nid(update.user_id)
        rooms = await rooms_shared_with(self._db, user_nid) if user_nid is not None else ()
        if user_nid is None or not rooms:
            return
        has_news = update.keys is not None or update.is_deleted
        if not has_news and not await is_followed(self._db, user_nid):
            return
        device = build_device(update.user_id, update.device_id, update.display_name, update.keys)
        await self._committer.commit(
            UpdateRemoteDevice(
                user_nid,
                update.user_id,
                rooms,
                update.stream_id,
                update.prev_ids,
                update.is_deleted,
                device,
            )
        )
        if await is_outdated(self._db, user_nid):
            self.fetch_later(update.user_id)

    async def take_signing_keys(self, update: SigningKeyUpdate) -> None:
        """A user who shares a room with one of ours has other cross-signing keys."""
        user_nid = await self._names.users.find_nid(update.user_id)
        rooms = await rooms_shared_with(self._db, user_nid) if user_nid is not None else ()
        if user_nid is None or not rooms:
            return
        master = encode_signing_key(update.master_key, MASTER, update.user_id)
        self_signing = encode_signing_key(update.self_signing_key, SELF_SIGNING, update.user_id)
        await self._committer.commit(
            UpdateRemoteSigningKeys(user_nid, update.user_id, rooms, master, self_signing)
        )

    async def known(self, wanted: WantedDevices) -> PublishedKeys:
        """The keys of those of the users whose lists are up to date."""
        published = PublishedKeys()
        nids = await self._names.users.find_nids(wanted) if wanted else {}
        good = await good_lists(self._db, nids.values()) if nids else set()
        if not good:
            return published
        user_ids = {nid: UserId(user_id) for user_id, nid in nids.items() if nid in good}
        for user_id in user_ids.values():
            published.device_keys[user_id] = {}
        for nid, device in await remote_devices(self._db, good):
            user_id = user_ids[nid]
            if device.keys is not None and is_wanted(wanted[user_id], device.device_id):
                shown = with_name(decode(device.keys, exact=False), device.display_name)
                published.device_keys[user_id][device.device_id] = shown
        for nid, (master, self_signing) in (
            await remote_cross_signing_keys(self._db, good)
        ).items():
            if master is not None:
                published.master_keys[user_ids[nid]] = decode(master, exact=False)
            if self_signing is not None:
                published.self_signing_keys[user_ids[nid]] = decode(self_signing, exact=False)
        return published

    async def fetch(self, user_id: UserId) -> None:
        """Bring a user's list up to date. Raises `FederationError`.

        Where that takes too long, or does not succeed, it is tried again in the background.
        """
        is_settled = False
        try:
            await self._fetches.run(user_id, lambda: self._fetch(user_id, is_late=False))
            is_settled = True
        except FederationError as error:
            is_settled = not error.transient
            raise
        finally:
            if not is_settled:
                self.fetch_later(user_id)

    def fetch_later(self, user_id: UserId) -> None:
        """Have a user's list brought up to date in the background."""
        self._outdated.setdefault(server_of(user_id), {})[user_id] = None
        self._news.set()

    async def run(self) -> None:
        """Fetch what is missing, until cancelled."""
        for user_id in await outdated_users(self._db):
            self.fetch_later(user_id)
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                for server in self._ready():
                    self._working.add(server)
                    group.create_task(self._work(server, slots), name=f"devices of {server}")
                await self._wait()

    def _ready(self) -> list[ServerName]:
        now_s = asyncio.get_running_loop().time()
        return [
            server
            for server in self._outdated
            if server not in self._working and self._not_before.get(server, 0) <= now_s
        ]

    async def _wait(self) -> None:
        """Until there is more to do, or the time has come for a server that has failed."""
        now_s = asyncio.get_running_loop().time()
        times = [at for server, at in self._not_before.items() if server not in self._working]
        delay_s = max(min(times, default=now_s + LONGEST_WAIT_S) - now_s, 0)
        try:
            async with asyncio.timeout(delay_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _work(self, server: ServerName, slots: asyncio.Semaphore) -> None:
        """Fetch the lists of one server's users, one after the other, until the server fails."""
        users = self._outdated[server]
        try:
            async with slots:
                while users:
                    await self._catch_up(users, next(iter(users)))
            del self._outdated[server]
            self._not_before.pop(server, None)
        except MatrixError as error:
            log.info("The devices of users of %s are asked for later: %s", server, error)
            self._put_off(server, (getattr(error, "retry_after_ms", None) or 0) / 1000)
        except Exception:
            log.exception("The devices of users of %s could not be taken", server)
            self._put_off(server, RETRY_S)
        finally:
            self._working.discard(server)
            self._news.set()

    def _put_off(self, server: ServerName, wait_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        self._not_before[server] = now_s + min(max(wait_s, RETRY_S), LONGEST_WAIT_S)

    async def _catch_up(self, waiting: dict[UserId, None], user_id: UserId) -> None:
        """Fetch a list in the background; one that its server refuses is given up for now."""
        # Whatever is heard from now on is a new reason.
        del waiting[user_id]
        try:
            await self._fetches.run(user_id, lambda: self._fetch(user_id, is_late=True))
        except MatrixError as error:
            if isinstance(error, FederationError) and not error.transient:
                log.info("The devices of %s cannot be told: %s", user_id, error)
                return
            waiting[user_id] = None
            raise

    async def _fetch(self, user_id: UserId, *, is_late: bool) -> None:
        """Fetch a list; users of ours hear of one that comes late, for they may have asked before.

        Nothing is kept of a user with whom no room is shared any more.
        """
        user_nid = await self._names.users.get_nid(user_id)
        for _ in range(ATTEMPTS):
            rooms = await rooms_shared_with(self._db, user_nid)
            if not rooms:
                await delete_list(self._db, user_nid)
                return
            mark = await begin_fetch(self._db, user_nid)
            fetched = await self._asker.device_list(user_id, FETCH_TIMEOUT_S)
            told = rooms if is_late else ()
            await self._committer.commit(kept_list(user_nid, user_id, mark, fetched, told))
            if not await is_outdated(self._db, user_nid):
                return
        self.fetch_later(user_id)

    def _server_is_back(self, server: ServerName) -> None:
        if self._not_before.pop(server, None) is not None:
            self._news.set()


def kept_list(
    user_nid: int,
    user_id: UserId,
    mark: FetchMark,
    fetched: FetchedList,
    room_nids: tuple[int, ...],
) -> KeepFetchedList:
    """What is kept of a list that was fetched."""
    return KeepFetchedList(
        user_nid,
        user_id,
        mark,
        fetched.stream_id,
        list(read_devices(user_id, fetched.devices).values()),
        encode_signing_key(fetched.master_key, MASTER, user_id),
        encode_signing_key(fetched.self_signing_key, SELF_SIGNING, user_id),
        room_nids,
    )


def read_devices(user_id: UserId, devices: Iterable[Mapping[str, Any]]) -> dict[str, RemoteDevice]:
    """The devices of an answer, by their IDs; those without one that is good are passed over."""
    found = {}
    for fields in devices:
        device_id, name = fields.get("device_id"), fields.get("device_display_name")
        if isinstance(device_id, str) and is_valid_device_id(device_id):
            found[device_id] = build_device(user_id, device_id, name, fields.get("keys"))
    return found


def build_device(user_id: UserId, device_id: str, name: object, keys: object) -> RemoteDevice:
    """A device as it is kept; keys that are not its own do not count."""
    is_name = isinstance(name, str) and "\0" not in name
    shown = str(name)[:MAX_NAME_LENGTH] if is_name else None
    if not isinstance(keys, Mapping) or not is_of_device(keys, user_id, device_id):
        return RemoteDevice(device_id, shown, None)
    return RemoteDevice(device_id, shown, encode_key(keep_signatures_of(keys, user_id)))


def encode_signing_key(fields: object, usage: str, user_id: UserId) -> bytes | None:
    """The JSON of a cross-signing key; None if it is absent or not one of the user's."""
    key = find_cross_signing_key(fields, usage, user_id)
    return None if key is None else encode_key(keep_signatures_of(key.fields, user_id))


def encode_key(fields: Mapping[str, Any]) -> bytes | None:
    """The JSON of a key; None for one that has no such form."""
    try:
        return canonical_json.encode_lax(fields)
    except BadJson:
        return None
