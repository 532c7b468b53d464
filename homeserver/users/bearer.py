"""Secrets that whoever holds them may use: access tokens and their like.

They are random, given out once and kept as SHA-256: what has this much entropy needs no slow hash.
The prefix tells people and secret scanners what leaked.
"""

import hashlib
import secrets

ACCESS = "hat"
REFRESH = "hrt"
LOGIN = "hlt"
OPENID = "hot"

SECRET_BYTES = 32


def new_bearer(prefix: str) -> str:
    """A fresh secret."""
    return f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(token: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
