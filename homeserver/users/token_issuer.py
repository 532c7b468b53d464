"""Giving out access and refresh tokens.

Source: client-server API, "Relationship between access tokens and devices" and "Refreshing access
tokens".
"""

import secrets
import string
from dataclasses import dataclass

from federation.protocol.errors import Forbidden, UnknownToken, UserLocked
from federation.protocol.identifiers import DeviceId, UserId, check_device_id
from homeserver.clock import Clock
from homeserver.config.sections.accounts import Auth
from homeserver.users.bearer import ACCESS, REFRESH, digest, new_bearer
from homeserver.users.ports import DeviceLists
from homeserver.users.sessions import Sessions
from storage.accounts import find_account
from storage.database import Database, Pool
from storage.devices import get_or_add_device
from storage.tokens import (
    NewAccessToken,
    RefreshToken,
    add_access_token,
    add_refresh_token,
    delete_excess_pairs,
    delete_expired_access_tokens,
    delete_tokens_of_device,
    lock_refresh_token,
    revoke_predecessor,
)

DEVICE_ID_LETTERS = 10
MAX_DISPLAY_NAME = 100
MOST_PAIRS = 20
"""Of a device, one of which its client has; the others are answers that it did not get."""
KEEP_EXPIRED_MS = 24 * 3600 * 1000
"""For so long a client with an expired token hears that its session goes on."""


@dataclass(frozen=True, slots=True)
class DeviceWish:
    """What a client that logs in says of its device; `display_name` is for a new device."""

    device_id: str | None = None
    display_name: str | None = None
    refresh_token: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token, its refresh token if it has one, and when it expires if it does."""

    access_token: str
    refresh_token: str | None
    expires_in_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A device is logged in."""

    user_id: UserId
    device_id: DeviceId
    tokens: Tokens


class TokenIssuer:
    """Logs devices in and exchanges refresh tokens."""

    __slots__ = ("_auth", "_clock", "_db", "_device_lists", "_sessions")

    def __init__(
        self,
        *,
        db: Pool,
        clock: Clock,
        auth: Auth,
        sessions: Sessions,
        device_lists: DeviceLists,
    ) -> None:
        self._db = db
        self._clock = clock
        self._auth = auth
        self._sessions = sessions
        self._device_lists = device_lists

    async def open_session(self, user_nid: int, user_id: UserId, wish: DeviceWish) -> OpenedSession:
        """Log a device in. A known device gets new tokens, its former ones are revoked.

        Raises `InvalidParam`, or `Forbidden` for a device ID that no session may have.
        """
        device_id = await self._choose_device_id(user_nid, wish.device_id)
        name = wish.display_name[:MAX_DISPLAY_NAME] if wish.display_name else None
        async with self._db.transaction() as db:
            device_nid, is_new = await get_or_add_device(
                db, user_nid, device_id, name, self._clock()
            )
            if not is_new:
                await delete_tokens_of_device(db, device_nid)
            if wish.refresh_token:
                tokens = await self._add_pair(db, user_nid, device_nid, replaces=None)
            else:
                tokens = await self._add_single(db, user_nid, device_nid)
        if is_new:
            await self._device_lists.note_new_device(user_nid, user_id, device_id)
        else:
            await self._sessions.end(user_nid)
        return OpenedSession(user_id, device_id, tokens)

    async def add_device(
        self, user_nid: int, user_id: UserId, wished: str, display_name: str | None
    ) -> bool:
        """Give a user a device without a token; False if they have it already.

        Raises `InvalidParam`, or `Forbidden` for a device ID that is a cross-signing key's.
        """
        device_id = await self._choose_device_id(user_nid, wished)
        name = display_name[:MAX_DISPLAY_NAME] if display_name else None
        _, is_new = await get_or_add_device(self._db, user_nid, device_id, name, self._clock())
        if is_new:
            await self._device_lists.note_new_device(user_nid, user_id, device_id)
        return is_new

    async def refresh(self, refresh_token: str) -> Tokens:
        """Exchange a refresh token for a new pair; it can be exchanged again until that is used.

        Raises `UnknownToken`, `UserLocked`.
        """
        now = self._clock()
        async with self._db.transaction() as db:
            kept = await lock_refresh_token(db, digest(refresh_token))
            if kept is None:
                raise UnknownToken("Unknown refresh token")
            if kept.expires_ts is not None and kept.expires_ts <= now:
                raise UnknownToken("The refresh token has expired", soft_logout=True)
            await self._check_account(db, kept.user_nid)
            if kept.replaces is not None:
                await revoke_predecessor(db, kept.token_hash, kept.replaces, now)
            await delete_expired_access_tokens(
                db, kept.device_nid, now - KEEP_EXPIRED_MS, kept.token_hash
            )
            await delete_excess_pairs(db, kept.device_nid, kept.token_hash, MOST_PAIRS)
            tokens = await self._add_pair(
                db, kept.user_nid, kept.device_nid, replaces=kept.token_hash
            )
        if kept.replaces is not None:
            await self._sessions.end(kept.user_nid)
        return tokens

    async def _check_account(self, db: Database, user_nid: int) -> None:
        account = await find_account(db, user_nid)
        if account is None or account.is_deactivated:
            raise UnknownToken("Unknown refresh token")
        if account.is_locked:
            raise UserLocked("This account has been locked")

    async def _choose_device_id(self, user_nid: int, wished: str | None) -> DeviceId:
        if wished is None:
            return new_device_id()
        device_id = check_device_id(wished)
        if not await self._device_lists.may_log_in(user_nid, device_id):
            raise Forbidden("This is the ID of a cross-signing key or of the dehydrated device")
        return device_id

    async def _add_single(self, db: Database, user_nid: int, device_nid: int) -> Tokens:
        return await self._add_access_token(
            db, user_nid, device_nid, None, self._auth.session_lifetime_s
        )

    async def _add_pair(
        self, db: Database, user_nid: int, device_nid: int, *, replaces: bytes | None
    ) -> Tokens:
        refresh_token, now = new_bearer(REFRESH), self._clock()
        expires_ts = expiry(now, self._auth.refresh_token_lifetime_s)
        kept = RefreshToken(digest(refresh_token), user_nid, device_nid, replaces, expires_ts, now)
        await add_refresh_token(db, kept)
        return await self._add_access_token(
            db, user_nid, device_nid, refresh_token, self._auth.access_token_lifetime_s
        )

    async def _add_access_token(
        self,
        db: Database,
        user_nid: int,
        device_nid: int,
        refresh_token: str | None,
        lifetime_s: int,
    ) -> Tokens:
        access_token, now = new_bearer(ACCESS), self._clock()
        refresh_hash = digest(refresh_token) if refresh_token is not None else None
        kept = NewAccessToken(
            digest(access_token), user_nid, device_nid, refresh_hash, expiry(now, lifetime_s), now
        )
        await add_access_token(db, kept)
        return Tokens(access_token, refresh_token, lifetime_s * 1000 or None)


def expiry(now: int, lifetime_s: int) -> int | None:
    """When something that lives so long from now on expires; a lifetime of 0 is for ever."""
    return now + lifetime_s * 1000 if lifetime_s else None


def new_device_id() -> DeviceId:
    """A random device ID."""
    letters = (secrets.choice(string.ascii_uppercase) for _ in range(DEVICE_ID_LETTERS))
    return DeviceId("".join(letters))
