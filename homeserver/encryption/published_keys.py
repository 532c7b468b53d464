"""Keys as they are told to those who ask: of users of ours, and of others as their servers tell.

Source: client-server API, `POST /keys/query`; "Key and signature security".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.protocol.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from federation.protocol.device_keys import with_name
from federation.protocol.identifiers import UserId
from storage.accounts import find_accounts
from storage.database import Database
from storage.device_lists import NOBODY, UserKeys, read_user_keys

WantedDevices = Mapping[UserId, Sequence[str]]
"""Device IDs by user; none stand for all of the user's devices."""


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """Keys by user, and of devices by user and device ID."""

    device_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    master_keys: dict[str, Any] = field(default_factory=dict)
    self_signing_keys: dict[str, Any] = field(default_factory=dict)
    user_signing_keys: dict[str, Any] = field(default_factory=dict)

    def add(self, more: "PublishedKeys") -> None:
        """Take over the keys of other users."""
        self.device_keys.update(more.device_keys)
        self.master_keys.update(more.master_keys)
        self.self_signing_keys.update(more.self_signing_keys)
        self.user_signing_keys.update(more.user_signing_keys)


class LocalKeys:
    """Tells the keys of users of ours."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def read(
        self, wanted: WantedDevices, viewer_nid: int = NOBODY, *, with_names: bool = True
    ) -> PublishedKeys:
        """The keys that a viewer may see: everybody may see all but the user-signing key.

        A user who exists is among `device_keys` without having any.
        """
        published = PublishedKeys()
        accounts = await find_accounts(self._db, list(wanted)) if wanted else {}
        nids = {a.user_nid: a.user_id for a in accounts.values() if not a.is_deactivated}
        if not nids:
            return published
        keys = await read_user_keys(self._db, nids, viewer_nid)
        for user_nid, user_id in nids.items():
            published.device_keys[user_id] = {}
            add_cross_signing_keys(published, keys, user_nid, user_id)
            if user_nid == viewer_nid:
                own = keys.cross_signing.get((user_nid, USER_SIGNING))
                if own is not None:
                    published.user_signing_keys[user_id] = own
        for (user_nid, device_id), device in keys.devices.items():
            shown = keys.device_keys(device)
            if shown is not None and is_wanted(wanted[nids[user_nid]], device_id):
                name = device.display_name if with_names else None
                published.device_keys[nids[user_nid]][device_id] = with_name(shown, name)
        return published


def add_cross_signing_keys(
    published: PublishedKeys, keys: UserKeys, user_nid: int, user_id: str
) -> None:
    """Add the keys of a user that everybody may see."""
    for usage, by_user in (
        (MASTER, published.master_keys),
        (SELF_SIGNING, published.self_signing_keys),
    ):
        key = keys.cross_signing.get((user_nid, usage))
        if key is not None:
            by_user[user_id] = key


def is_wanted(device_ids: Iterable[str], device_id: str) -> bool:
    """Whether a device is among those that are wanted."""
    wanted = set(device_ids)
    return not wanted or device_id in wanted
