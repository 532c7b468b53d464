"""Registration tokens, which administrators give to whom they want here.

Source: client-server API, "Token-authenticated registration".
"""

import re
import secrets

from federation.protocol.errors import InvalidParam, NotFound
from homeserver.clock import Clock
from storage.database import Pool
from storage.registration_tokens import (
    RegistrationToken,
    add_registration_token,
    all_registration_tokens,
    delete_registration_token,
    find_registration_token,
)

GRAMMAR = re.compile(r"[A-Za-z0-9._~-]{1,64}")
GENERATED_BYTES = 12


class RegistrationTokens:
    """Makes, lists and checks registration tokens."""

    __slots__ = ("_clock", "_db")

    def __init__(self, db: Pool, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def create(
        self,
        token: str | None = None,
        *,
        uses_allowed: int | None = None,
        expires_ts: int | None = None,
    ) -> RegistrationToken:
        """Make a token; without a text of its own it is random.

        Raises `InvalidParam` if it breaks the grammar or exists.
        """
        text = secrets.token_urlsafe(GENERATED_BYTES) if token is None else token
        if not GRAMMAR.fullmatch(text):
            raise InvalidParam("A registration token has 1 to 64 of A-Z, a-z, 0-9 and . _ ~ -")
        made = RegistrationToken(text, uses_allowed, 0, expires_ts, self._clock())
        if not await add_registration_token(self._db, made):
            raise InvalidParam("There is such a registration token already")
        return made

    async def list_all(self) -> list[RegistrationToken]:
        """All tokens, valid or not, oldest first."""
        return await all_registration_tokens(self._db)

    async def delete(self, token: str) -> None:
        """Delete a token. Raises `NotFound`."""
        if not await delete_registration_token(self._db, token):
            raise NotFound("There is no such registration token")

    async def is_valid(self, token: str) -> bool:
        """Whether somebody can register with the token now."""
        if not GRAMMAR.fullmatch(token):
            return False
        found = await find_registration_token(self._db, token)
        return found is not None and found.is_valid(self._clock())
