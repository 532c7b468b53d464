"""Cross-signing keys of our users, and the signatures that they make with them.

Source: client-server API, "Cross-signing".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.canonical_json import decode
from federation.protocol.cross_signing import (
    MASTER,
    SELF_SIGNING,
    USAGES,
    USER_SIGNING,
    CrossSigningKey,
    check_new_signatures,
    check_signed_by,
    find_cross_signing_key,
    has_new_key,
    parse_cross_signing_key,
)
from federation.protocol.device_keys import (
    KeySignature,
    is_same_but_signatures,
    keep_signatures_of,
    verify_key_of,
)
from federation.protocol.errors import (
    BadJson,
    Forbidden,
    InvalidParam,
    MatrixError,
    MissingParam,
    NotFound,
)
from federation.protocol.identifiers import DeviceId, UserId
from federation.protocol.signatures import ALGORITHM
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.key_queries import KeyQueries
from homeserver.users.requester import Requester
from storage.committer import Committer, Write
from storage.cross_signing import AddSignatures, SetCrossSigningKeys, StoredKey, cross_signing_keys
from storage.database import Database
from storage.device_lists import UserKeys, read_user_keys
from storage.devices import devices_of
from storage.names import Names

Keys = dict[str, CrossSigningKey]
"""A user's keys by usage."""
Failures = dict[str, dict[str, Any]]
"""What went wrong, by user and key."""


class CrossSigning:
    """Takes cross-signing keys and signatures."""

    def __init__(
        self,
        db: Database,
        names: Names,
        committer: Committer,
        lists: DeviceLists,
        queries: KeyQueries,
    ) -> None:
        self._db = db
        self._names = names
        self._committer = committer
        self._lists = lists
        self._queries = queries

    async def needs_confirmation(self, requester: Requester, body: Mapping[str, Any]) -> bool:
        """Whether the user has to prove again who they are, to publish the keys of a request.

        They need not as long as they have no master key, nor for keys that they have already.
        Raises `BadJson`, `InvalidParam`.
        """
        given = parse_keys(body, requester.user_id)
        stored = await self._stored(requester)
        return MASTER in stored and has_new_key(given, stored)

    async def upload(self, requester: Requester, body: Mapping[str, Any]) -> None:
        """Publish the keys of a request.

        Raises `BadJson`, `InvalidParam`, `MissingParam` (no master key), `BadSignature`, and
        `Forbidden` for a key that is the ID of a device.
        """
        given = parse_keys(body, requester.user_id)
        stored = await self._stored(requester)
        master = given.get(MASTER) or stored.get(MASTER)
        if master is None:
            raise MissingParam("There is no master key")
        for usage in given.keys() - {MASTER}:
            check_signed_by(given[usage], requester.user_id, master)
        await self._check_ids(requester, given)
        new = {
            usage: key
            for usage, key in given.items()
            if usage not in stored or not is_same_but_signatures(key.fields, stored[usage].fields)
        }
        if new:
            await self._committer.commit(*await self._writes(requester, new))

    async def upload_signatures(
        self, requester: Requester, signed: Mapping[UserId, Mapping[str, Any]]
    ) -> Failures:
        """Add the user's signatures to devices and keys; what could not be added, and why."""
        failures: Failures = {}
        writes: list[Write] = []
        for user_id, by_key in signed.items():
            is_own = user_id == requester.user_id
            sign = self._sign_own if is_own else self._sign_others
            done, failed = await sign(requester, user_id, by_key)
            writes += done
            if failed:
                failures[user_id] = {key_id: error.body() for key_id, error in failed.items()}
        if writes:
            await self._committer.commit(*writes)
        return failures

    async def _stored(self, requester: Requester) -> Keys:
        stored = await cross_signing_keys(self._db, (requester.user_nid,))
        return {
            row.usage: CrossSigningKey(row.usage, row.public_key, decode(row.key)) for row in stored
        }

    async def _check_ids(self, requester: Requester, given: Keys) -> None:
        device_ids = {d.device_id for d in await devices_of(self._db, requester.user_nid)}
        if any(key.public_key in device_ids for key in given.values()):
            raise Forbidden("A public key is the ID of a device")

    async def _writes(self, requester: Requester, new: Keys) -> list[Write]:
        keys = [
            StoredKey(requester.user_nid, usage, key.public_key, encode_key(key, requester))
            for usage, key in new.items()
        ]
        heard = await self._lists.writes_for_signing_keys(requester.user_nid, requester.user_id)
        return [SetCrossSigningKeys(keys), *heard]

    async def _sign_own(
        self, requester: Requester, user_id: UserId, signed: Mapping[str, Any]
    ) -> tuple[list[Write], dict[str, MatrixError]]:
        """The user's own devices, by the self-signing key, and master key, by the devices."""
        keys = await read_user_keys(self._db, (requester.user_nid,))
        master = own_key(keys, requester, MASTER)
        self_signing = own_key(keys, requester, SELF_SIGNING)
        writes: list[Write] = []
        failed: dict[str, MatrixError] = {}
        devices: list[DeviceId] = []
        is_master_signed = False
        for key_id, fields in signed.items():
            try:
                require_object(fields)
                if master is not None and key_id == master.public_key:
                    added = check_new_signatures(
                        master.fields, fields, user_id, device_verify_keys(keys, requester)
                    )
                    is_master_signed = is_master_signed or bool(added)
                else:
                    device = find_device_keys(keys, requester, key_id)
                    by = verify_keys_of(self_signing)
                    added = check_new_signatures(device, fields, user_id, by)
                    if added:
                        devices.append(DeviceId(key_id))
            except MatrixError as error:
                failed[key_id] = error
                continue
            writes += signature_writes(requester, requester.user_nid, user_id, key_id, added)
        who = requester.user_nid, requester.user_id
        if is_master_signed:
            writes += await self._lists.writes_for_signing_keys(*who, devices)
        elif devices:
            writes += await self._lists.writes_for_change(*who, devices)
        return writes, failed

    async def _sign_others(
        self, requester: Requester, user_id: UserId, signed: Mapping[str, Any]
    ) -> tuple[list[Write], dict[str, MatrixError]]:
        """Another user's master key, by the user-signing key."""
        keys = await read_user_keys(self._db, (requester.user_nid,))
        by = verify_keys_of(own_key(keys, requester, USER_SIGNING))
        fields = await self._queries.find_master_key(requester.user_nid, user_id)
        master = find_cross_signing_key(fields, MASTER, user_id)
        writes: list[Write] = []
        failed: dict[str, MatrixError] = {}
        for key_id, offered in signed.items():
            try:
                require_object(offered)
                if master is None or key_id != master.public_key:
                    raise NotFound("There is no such key that could be signed")
                added = check_new_signatures(master.fields, offered, requester.user_id, by)
            except MatrixError as error:
                failed[key_id] = error
                continue
            user_nid = await self._names.users.get_nid(user_id)
            writes += signature_writes(requester, user_nid, user_id, key_id, added)
        return writes, failed


def parse_keys(body: Mapping[str, Any], user_id: str) -> Keys:
    """The keys of a request. Raises `BadJson`, `InvalidParam`."""
    given: Keys = {}
    for usage in USAGES:
        fields = body.get(f"{usage}_key")
        if fields is not None:
            require_object(fields)
            given[usage] = parse_cross_signing_key(fields, usage, user_id)
    if len({key.public_key for key in given.values()}) < len(given):
        raise InvalidParam("One key cannot have several usages")
    return given


def require_object(value: object) -> None:
    """Raise `BadJson` for what is not an object."""
    if not isinstance(value, Mapping):
        raise BadJson("A key must be an object")


def encode_key(key: CrossSigningKey, requester: Requester) -> bytes:
    """A key as it is stored. Raises `BadJson`."""
    return canonical_json.encode_lax(keep_signatures_of(key.fields, requester.user_id))


def own_key(keys: UserKeys, requester: Requester, usage: str) -> CrossSigningKey | None:
    """The requester's key for a usage, if there is one."""
    fields = keys.cross_signing.get((requester.user_nid, usage))
    return find_cross_signing_key(fields, usage, requester.user_id)


def verify_keys_of(key: CrossSigningKey | None) -> dict[str, bytes]:
    """A public key by the ID under which it signs; nothing if there is no key."""
    return {} if key is None else {key.key_id: key.verify_key}


def device_verify_keys(keys: UserKeys, requester: Requester) -> dict[str, bytes]:
    """The public keys of the requester's devices, by their IDs."""
    found = {}
    for device in keys.devices.values():
        fields, key_id = keys.device_keys(device), f"{ALGORITHM}:{device.device_id}"
        verify_key = verify_key_of(fields, key_id) if fields is not None else None
        if verify_key is not None and device.user_nid == requester.user_nid:
            found[key_id] = verify_key
    return found


def find_device_keys(keys: UserKeys, requester: Requester, device_id: str) -> Mapping[str, Any]:
    """The keys of a device of the requester. Raises `NotFound`."""
    device = keys.devices.get((requester.user_nid, device_id))
    fields = keys.device_keys(device) if device is not None else None
    if fields is None:
        raise NotFound("There is no device or key of this ID")
    return fields


def signature_writes(
    requester: Requester,
    user_nid: int,
    user_id: UserId,
    key_id: str,
    added: Sequence[KeySignature],
) -> list[Write]:
    """What stores signatures, if there are any."""
    if not added:
        return []
    return [AddSignatures(user_nid, user_id, key_id, requester.user_nid, added)]
