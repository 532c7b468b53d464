"""Access tokens: whom they stand for.

Every request with a token asks here, so what was looked up stays in memory, in two generations:
when `_recent` has half of what may be kept, it becomes `_former`, and what nobody asked for since
is forgotten. A user's sessions are dropped from memory whenever something about them changes, in
this process at once and in the others through `announce`.
"""

from collections.abc import Awaitable, Callable

from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.users.bearer import digest
from homeserver.users.ports import Announce
from homeserver.users.requester import Requester
from storage.database import Pool
from storage.tokens import TokenHolder, find_token_holder, revoke_predecessor

SESSIONS = "sessions"
"""The topic on which processes tell each other whose sessions have changed."""

ENTRY_COST = 700
"""Bytes that a session takes in memory."""


class Sessions:
    """Finds the requester behind an access token."""

    __slots__ = ("_announce", "_clock", "_db", "_drops", "_former", "_generation_size", "_recent")

    def __init__(self, db: Pool, clock: Clock, announce: Announce, max_bytes: int) -> None:
        self._db = db
        self._clock = clock
        self._announce = announce
        self._generation_size = max(1, max_bytes // ENTRY_COST // 2)
        self._recent: dict[bytes, Requester] = {}
        self._former: dict[bytes, Requester] = {}
        self._drops = 0

    async def find(self, token: str) -> Requester | None:
        """Who holds the token, expired or not; None for an unknown one."""
        token_hash = digest(token)
        requester = self._recent.get(token_hash)
        if requester is not None:
            return requester
        requester = self._former.get(token_hash)
        if requester is None:
            return await self._load(token_hash)
        self._keep(token_hash, requester)
        return requester

    async def find_or_make(self, key: bytes, make: Callable[[], Awaitable[Requester]]) -> Requester:
        """What is known by a key that is no token's, or else what `make` makes.

        It is forgotten as sessions are. Raises what `make` raises.
        """
        known = self._recent.get(key) or self._former.get(key)
        if known is not None:
            return known
        drops = self._drops
        made = await make()
        # What was read before a change must not outlive the change.
        if drops == self._drops:
            self._keep(key, made)
        return made

    async def end(self, user_nid: int) -> None:
        """Look the user's tokens up again, in all processes: something about them has changed."""
        self.forget(user_nid)
        await self._announce(str(user_nid))

    def hear(self, announcement: str) -> None:
        """Take in what another process announced."""
        self.forget(int(announcement))

    def forget(self, user_nid: int) -> None:
        """Look the user's tokens up again, in this process."""
        self._drops += 1
        for generation in (self._recent, self._former):
            for token_hash in [h for h, r in generation.items() if r.user_nid == user_nid]:
                del generation[token_hash]

    def forget_all(self) -> None:
        """Look all tokens up again: announcements may have been missed."""
        self._drops += 1
        self._recent, self._former = {}, {}

    async def _load(self, token_hash: bytes) -> Requester | None:
        drops = self._drops
        holder = await find_token_holder(self._db, token_hash)
        if holder is None:
            return None
        if holder.refresh_hash is not None and holder.replaced_refresh_hash is not None:
            await self._revoke(holder.user_nid, holder.refresh_hash, holder.replaced_refresh_hash)
        requester = build_requester(holder)
        # What was read before a change must not outlive the change.
        if drops == self._drops:
            self._keep(token_hash, requester)
        return requester

    async def _revoke(self, user_nid: int, refresh_hash: bytes, replaced_hash: bytes) -> None:
        """The token is used for the first time: its predecessors have served."""
        async with self._db.transaction() as db:
            await revoke_predecessor(db, refresh_hash, replaced_hash, self._clock())
        await self.end(user_nid)

    def _keep(self, token_hash: bytes, requester: Requester) -> None:
        if len(self._recent) >= self._generation_size:
            self._former, self._recent = self._recent, {}
        self._recent[token_hash] = requester


def build_requester(holder: TokenHolder) -> Requester:
    """The requester for a token that was found."""
    return Requester(
        user_id=UserId(holder.user_id),
        user_nid=holder.user_nid,
        device_id=holder.device_id,
        device_nid=holder.device_nid,
        token_id=holder.token_id,
        is_guest=holder.is_guest,
        is_admin=holder.is_admin,
        is_locked=holder.is_locked,
        is_suspended=holder.is_suspended,
        is_deactivated=holder.is_deactivated,
        expires_at_ms=holder.expires_ts,
    )
