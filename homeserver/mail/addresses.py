"""E-mail addresses: which there are, and which two are the same.

Source: client-server API, appendices, "3PID types".
"""

import re
from fnmatch import fnmatchcase

from federation.protocol.errors import InvalidParam

MAX_LENGTH = 254
ADDRESS = re.compile(r"[^\s@<>\"'(),:;\\\[\]\x00-\x1f\x7f]+@[^\s@<>\"'(),:;\\\[\]\x00-\x1f\x7f]+")


def canonical_email(address: str) -> str:
    """The form in which an address is kept and compared. Raises `InvalidParam`."""
    folded = address.casefold()
    # What looks like an encoded word is decoded when a header is made of it.
    if len(folded) > MAX_LENGTH or not ADDRESS.fullmatch(folded) or "=?" in folded:
        raise InvalidParam("This is not an e-mail address")
    return folded


def is_allowed(address: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns, in which * is anything, fits; without patterns all do."""
    return not patterns or any(fnmatchcase(address, one.casefold()) for one in patterns)
