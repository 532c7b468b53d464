"""The tokens of /sync: a position of the stream, and a second number for typing.

Typing is never stored, so its number means something only to the process that gave it out; any
other process takes it as "tell everything".
"""

from dataclasses import dataclass

from federation.protocol.errors import InvalidParam


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Everything up to `position` and up to `typing` has been told."""

    position: int
    typing: int = 0

    def __str__(self) -> str:
        return f"s{self.position}_{self.typing}"


def parse_sync_token(text: str) -> SyncToken:
    """The token of `since`. Raises `InvalidParam`."""
    position, _, typing = text.removeprefix("s").partition("_")
    if not text.startswith("s") or not position.isdecimal() or len(text) > 60:
        raise InvalidParam("'since' is not a token that this server gave out")
    return SyncToken(int(position), int(typing) if typing.isdecimal() else 0)
