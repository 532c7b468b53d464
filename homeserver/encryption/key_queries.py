"""Keys that our users ask for: of users of ours, and of others, whose servers are asked.

Source: client-server API, `POST /keys/query`, `POST /keys/claim`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from federation.outbound.device_keys import RemoteDeviceKeys
from federation.outbound.errors import FederationError, Unreachable
from federation.protocol.cross_signing import MASTER, SELF_SIGNING, find_cross_signing_key
from federation.protocol.device_keys import (
    add_signatures,
    is_of_device,
    keep_signatures_of,
    name_in,
    with_name,
)
from federation.protocol.errors import MatrixError
from federation.protocol.identifiers import ServerName, UserId, server_of
from homeserver.encryption.one_time_keys import Claimed, OneTimeKeys, Wanted
from homeserver.encryption.published_keys import (
    LocalKeys,
    PublishedKeys,
    WantedDevices,
    is_wanted,
)
from homeserver.encryption.remote_devices import RemoteDevices
from storage.cross_signing import signatures_for
from storage.database import Database
from storage.memberships import users_sharing_rooms
from storage.names import Names

FETCHED_SINGLY = 10
"""Lists of so many users of a server are fetched whole; of more, keys are asked for all at once."""
AT_ONCE = 20
"""Servers that are asked at a time for one request."""
DEFAULT_TIMEOUT_MS = 10_000
MAX_TIMEOUT_MS = 60_000

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Failures = dict[str, Any]


class KeyQueries:
    """Finds and claims keys."""

    def __init__(
        self,
        db: Database,
        names: Names,
        local: LocalKeys,
        one_time_keys: OneTimeKeys,
        remote: RemoteDevices,
        asker: RemoteDeviceKeys,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._local = local
        self._one_time_keys = one_time_keys
        self._remote = remote
        self._asker = asker
        self._server_name = server_name

    async def query(
        self, viewer_nid: int, wanted: WantedDevices, timeout_ms: int = DEFAULT_TIMEOUT_MS
    ) -> tuple[PublishedKeys, Failures]:
        """The keys that a viewer may see, and which servers could not be asked."""
        by_server = split(wanted)
        published = await self._local.read(by_server.pop(self._server_name, {}), viewer_nid)
        theirs = {user_id: ids for users in by_server.values() for user_id, ids in users.items()}
        if not theirs:
            return published, {}
        known = await self._remote.known(theirs)
        missing = {u: ids for u, ids in theirs.items() if u not in known.device_keys}
        nids = await self._names.users.find_nids(missing) if missing else {}
        sharing = await users_sharing_rooms(self._db, nids.values()) if nids else set()

        async def ask(server: ServerName, users: WantedDevices) -> PublishedKeys:
            shared = [user_id for user_id in users if nids.get(user_id) in sharing]
            return await self._ask(server, users, shared, timeout_ms)

        answers, failures = await ask_all(split(missing), ask, timeout_ms)
        for answer in answers:
            known.add(answer)
        await self._add_own_signatures(viewer_nid, known)
        published.add(known)
        return published, failures

    async def claim(
        self, wanted: Wanted, timeout_ms: int = DEFAULT_TIMEOUT_MS
    ) -> tuple[Claimed, Failures]:
        """A one-time key of each device, and which servers could not be asked."""
        by_server = split(wanted)
        ours = by_server.pop(self._server_name, {})

        async def ask(server: ServerName, users: Wanted) -> Claimed:
            answer = await self._asker.claim(server, users, timeout_ms / 1000)
            return read_claimed(answer, users)

        answers, failures = await ask_all(by_server, ask, timeout_ms)
        claimed = await self._one_time_keys.claim(ours)
        for answer in answers:
            claimed.update(answer)
        return claimed, failures

    async def find_master_key(self, viewer_nid: int, user_id: UserId) -> Mapping[str, Any] | None:
        """A user's master key as the viewer may see it; None if there is none to be had."""
        published, _ = await self.query(viewer_nid, {user_id: ()})
        key: Mapping[str, Any] | None = published.master_keys.get(user_id)
        return key

    async def _ask(
        self,
        server: ServerName,
        users: WantedDevices,
        shared: Sequence[UserId],
        timeout_ms: int,
    ) -> PublishedKeys:
        """The keys of one server's users. `shared` are those whose lists can be kept.

        Raises `FederationError`.
        """
        rest = dict(users)
        found = PublishedKeys()
        if len(shared) <= FETCHED_SINGLY:
            await self._fetch_all(shared)
            found = await self._remote.known({user_id: users[user_id] for user_id in shared})
            rest = {u: ids for u, ids in users.items() if u not in found.device_keys}
        if rest:
            answer = await self._asker.query(server, rest, timeout_ms / 1000)
            found.add(read_published(answer, rest))
        if len(shared) > FETCHED_SINGLY:
            for user_id in shared:
                self._remote.fetch_later(user_id)
        return found

    async def _fetch_all(self, user_ids: Sequence[UserId]) -> None:
        """Bring lists up to date. Raises `FederationError`."""
        fetches = (self._remote.fetch(user_id) for user_id in user_ids)
        for error in await asyncio.gather(*fetches, return_exceptions=True):
            # Where the list is refused the keys may still be told.
            if isinstance(error, FederationError) and error.reachable:
                continue
            if error is not None:
                raise error

    async def _add_own_signatures(self, viewer_nid: int, published: PublishedKeys) -> None:
        """Add the viewer's signatures to other users' master keys."""
        nids = await self._names.users.find_nids(published.master_keys)
        if not nids:
            return
        signatures = await signatures_for(self._db, nids.values(), viewer_nid)
        for user_id, user_nid in nids.items():
            key = published.master_keys[user_id]
            for public_key in key["keys"].values():
                added = signatures.get((user_nid, public_key), ())
                published.master_keys[user_id] = add_signatures(key, added)


def split(wanted: Mapping[UserId, V]) -> dict[ServerName, dict[UserId, V]]:
    """What is wanted of users, by their server."""
    by_server: dict[ServerName, dict[UserId, V]] = {}
    for user_id, value in wanted.items():
        by_server.setdefault(server_of(user_id), {})[user_id] = value
    return by_server


async def ask_all(
    by_server: Mapping[ServerName, K],
    ask: Callable[[ServerName, K], Coroutine[Any, Any, T]],
    timeout_ms: int,
) -> tuple[list[T], Failures]:
    """The answers of servers that are asked side by side, and what went wrong with the others."""
    slots = asyncio.Semaphore(AT_ONCE)
    answers: list[T] = []
    failures: Failures = {}

    async def ask_one(server: ServerName, users: K) -> None:
        try:
            async with asyncio.timeout(min(timeout_ms, MAX_TIMEOUT_MS) / 1000), slots:
                answers.append(await ask(server, users))
        except TimeoutError:
            failures[server] = Unreachable(server, "no answer came in time").body()
        except MatrixError as error:
            failures[server] = error.body()

    await asyncio.gather(*(ask_one(server, users) for server, users in by_server.items()))
    return answers, failures


def read_published(answer: Mapping[str, Any], wanted: WantedDevices) -> PublishedKeys:
    """What another server says of the keys of users, less what nobody asked or is not theirs."""
    published = PublishedKeys()
    devices = objects_of(answer.get("device_keys"))
    for user_id, device_ids in wanted.items():
        if user_id in devices:
            published.device_keys[user_id] = {
                device_id: with_name(keep_signatures_of(keys, user_id), name_in(keys))
                for device_id, keys in objects_of(devices[user_id]).items()
                if is_wanted(device_ids, device_id) and is_of_device(keys, user_id, device_id)
            }
        for usage, name, keys in (
            (MASTER, "master_keys", published.master_keys),
            (SELF_SIGNING, "self_signing_keys", published.self_signing_keys),
        ):
            fields = objects_of(answer.get(name)).get(user_id)
            key = find_cross_signing_key(fields, usage, user_id)
            if key is not None:
                keys[user_id] = keep_signatures_of(key.fields, user_id)
    return published


def read_claimed(answer: Mapping[str, Any], wanted: Wanted) -> Claimed:
    """The keys that another server gives, less those that nobody asked for."""
    return {
        user_id: {
            device_id: dict(keys)
            for device_id, keys in objects_of(answer.get(user_id)).items()
            if device_id in by_device
        }
        for user_id, by_device in wanted.items()
        if user_id in answer
    }


def objects_of(value: object) -> Mapping[str, Any]:
    """An object of objects, less what is none."""
    if not isinstance(value, Mapping):
        return {}
    return {name: one for name, one in value.items() if isinstance(one, Mapping)}
