"""Secrets that prove for a short while who somebody is.

A login token logs in one more device of the same user, once. An OpenID token tells a third party,
which asks this server, who its holder is.
"""

from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.config.sections.accounts import Auth
from homeserver.users.bearer import LOGIN, OPENID, digest, new_bearer
from storage.database import Pool
from storage.short_lived_tokens import (
    add_short_lived_token,
    delete_expired_tokens,
    find_token_user,
    take_token,
)

EXPIRED_AT_ONCE = 100
"""Expired tokens that are deleted at most when one is made; a job deletes the rest."""


class ShortLivedTokens:
    """Gives out login tokens and OpenID tokens and recognises them."""

    __slots__ = ("_auth", "_clock", "_db")

    def __init__(self, db: Pool, clock: Clock, auth: Auth) -> None:
        self._db = db
        self._clock = clock
        self._auth = auth

    async def issue_login_token(self, user_nid: int) -> tuple[str, int]:
        """A token for one login, and for how many milliseconds it is good."""
        lifetime_ms = self._auth.login_token_lifetime_s * 1000
        return await self._issue(LOGIN, user_nid, lifetime_ms), lifetime_ms

    async def take_login_token(self, token: str) -> int | None:
        """The number of the user whom the token logs in, once; None if it is not good."""
        return await take_token(self._db, digest(token), LOGIN, self._clock())

    async def issue_openid_token(self, user_nid: int) -> tuple[str, int]:
        """A token to show to a third party, and for how many seconds it is good."""
        lifetime_s = self._auth.openid_token_lifetime_s
        return await self._issue(OPENID, user_nid, lifetime_s * 1000), lifetime_s

    async def find_openid_user(self, token: str) -> UserId | None:
        """The user who was given the OpenID token; None if it is not good."""
        return await find_token_user(self._db, digest(token), OPENID, self._clock())

    async def _issue(self, purpose: str, user_nid: int, lifetime_ms: int) -> str:
        token, now = new_bearer(purpose), self._clock()
        async with self._db.transaction() as db:
            await delete_expired_tokens(db, now, EXPIRED_AT_ONCE)
            await add_short_lived_token(db, digest(token), purpose, user_nid, now + lifetime_ms)
        return token
