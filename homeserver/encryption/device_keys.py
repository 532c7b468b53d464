"""Identity keys of our users' devices.

Source: client-server API, `POST /keys/upload`.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.device_keys import check_device_keys, keep_signatures_of
from homeserver.encryption.device_lists import DeviceLists
from homeserver.users.requester import Requester
from storage.committer import Committer
from storage.database import Database
from storage.device_keys import SetDeviceKeys, find_device_keys


class DeviceKeys:
    """Takes the keys of devices."""

    def __init__(self, db: Database, committer: Committer, lists: DeviceLists) -> None:
        self._db = db
        self._committer = committer
        self._lists = lists

    async def upload(self, requester: Requester, keys: Mapping[str, Any]) -> None:
        """Publish the keys of the requester's device; the same again tells nobody anything.

        Raises `BadJson`, `InvalidParam` (another's keys, or no device), `BadSignature`.
        """
        device_id = requester.device_id
        check_device_keys(keys, requester.user_id, device_id or "")
        if device_id is None:
            return
        encoded = canonical_json.encode_lax(keep_signatures_of(keys, requester.user_id))
        if await find_device_keys(self._db, requester.device_nid) == encoded:
            return
        heard = await self._lists.writes_for_change(
            requester.user_nid, requester.user_id, (device_id,)
        )
        await self._committer.commit(SetDeviceKeys(requester.device_nid, encoded), *heard)
