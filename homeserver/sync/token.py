"""The tokens of /sync: a position of the stream, and a second number for typing.

Typing is never stored, so its number means something only to the process that gave it out; any
other process takes it as "tell everything". A device with more messages waiting than a response
holds gets a third number: the position up to which it has them.
"""

from dataclasses import dataclass

from federation.protocol.errors import InvalidParam

MAX_LENGTH = 60
DIGITS = 18


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Everything up to `position` and up to `typing` has been told.

    Messages to the device have been told up to `to_device`; None if that is `position`.
    """

    position: int
    typing: int = 0
    to_device: int | None = None

    @property
    def delivered(self) -> int:
        """The position up to which messages to the device have been told."""
        return self.position if self.to_device is None else self.to_device

    def __str__(self) -> str:
        text = f"s{self.position}_{self.typing}"
        return text if self.to_device is None else f"{text}_{self.to_device}"


def parse_sync_token(text: str) -> SyncToken:
    """The token of `since`. Raises `InvalidParam`."""
    position, _, rest = text.removeprefix("s").partition("_")
    typing, _, to_device = rest.partition("_")
    if not text.startswith("s") or not is_number(position) or len(text) > MAX_LENGTH:
        raise InvalidParam("'since' is not a token that this server gave out")
    return SyncToken(
        int(position),
        int(typing) if is_number(typing) else 0,
        min(int(to_device), int(position)) if is_number(to_device) else None,
    )


def is_number(text: str) -> bool:
    """Whether a text is a number as tokens have it."""
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS
