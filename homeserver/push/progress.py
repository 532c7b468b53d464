"""How far pushers have got: kept in memory for a moment and written together.

What is not written yet when the process dies is pushed again; gateways know events by their IDs.
"""

import asyncio

from federation.protocol.errors import MatrixError
from storage.database import Database
from storage.pushers import ActivePusher, PusherProgress, find_active_pusher, note_progress


class Progress:
    """The progress of pushers, with what is not written yet laid over what is."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._unsaved: dict[int, PusherProgress] = {}
        self.noted = asyncio.Event()
        """Set when there is something to save."""

    async def find(self, pusher_nid: int) -> ActivePusher | None:
        """The pusher as it stands, unless it is gone or switched off."""
        pusher = await find_active_pusher(self._db, pusher_nid)
        unsaved = self._unsaved.get(pusher_nid)
        if pusher is None or unsaved is None:
            return pusher
        return pusher.with_progress(unsaved)

    def note(self, pusher_nid: int, progress: PusherProgress) -> None:
        """Take note; `save` writes it."""
        self._unsaved[pusher_nid] = progress
        self.noted.set()

    def forget(self, pusher_nid: int) -> None:
        """The pusher is gone."""
        self._unsaved.pop(pusher_nid, None)

    def clear(self) -> None:
        """What is not written is lost."""
        self._unsaved.clear()

    async def save(self) -> None:
        """Write it. Raises `DatabaseUnavailable`; it is then written the next time."""
        self.noted.clear()
        batch = dict(self._unsaved)
        if not batch:
            return
        try:
            await note_progress(self._db, list(batch.items()))
        except MatrixError:
            self.noted.set()
            raise
        for pusher_nid, progress in batch.items():
            if self._unsaved.get(pusher_nid) is progress:
                del self._unsaved[pusher_nid]
