"""Passwords, hashed with bcrypt as Synapse does: NFKC, then the pepper appended.

bcrypt reads 72 bytes and no more. Older versions of the library cut silently, newer ones refuse;
here it is cut, so that hashes of long passwords made elsewhere still fit.
"""

import asyncio
import os
import unicodedata

from federation.protocol.errors import InvalidParam, WeakPassword
from homeserver.config.sections.accounts import Auth

BCRYPT_BYTES = 72
MAX_LENGTH = 512


class Passwords:
    """Hashes and verifies, a few at a time and off the event loop: each takes a while."""

    __slots__ = ("_absent", "_min_length", "_pepper", "_rounds", "_turn")

    def __init__(self, auth: Auth, min_length: int) -> None:
        self._rounds = auth.bcrypt_rounds
        self._pepper = auth.pepper
        self._min_length = min_length
        self._turn = asyncio.Semaphore(os.cpu_count() or 1)
        # A hash that no password has, as costly to verify as a real one.
        self._absent = f"$2b${self._rounds:02}$" + "." * 53

    def check_acceptable(self, password: str) -> None:
        """Refuse what is too short or too long. Raises `WeakPassword`, `InvalidParam`."""
        if len(password) < self._min_length:
            raise WeakPassword(f"A password must have at least {self._min_length} characters")
        if len(password) > MAX_LENGTH:
            raise InvalidParam(f"A password may not have more than {MAX_LENGTH} characters")

    async def hash(self, password: str) -> str:
        """The hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(_hash, self._prepare(password), self._rounds)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether this is the password. No hash takes as long as a wrong password."""
        kept = (password_hash or self._absent).encode()
        async with self._turn:
            fits = await asyncio.to_thread(_verify, self._prepare(password), kept)
        return fits and password_hash is not None

    def _prepare(self, password: str) -> bytes:
        text = unicodedata.normalize("NFKC", password) + self._pepper
        return text.encode("utf-8", "surrogatepass")[:BCRYPT_BYTES]


# bcrypt is imported on first use: a server whose users are logged in never needs it.
def _hash(prepared: bytes, rounds: int) -> str:
    import bcrypt

    return bcrypt.hashpw(prepared, bcrypt.gensalt(rounds)).decode()


def _verify(prepared: bytes, password_hash: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(prepared, password_hash)
    except ValueError:
        # What is kept is no bcrypt hash; whatever it is, the password does not fit it.
        return False
