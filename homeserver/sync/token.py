"""The tokens of /sync: a position of the stream, and a second number for typing.

Typing is never stored, so its number means something only to the process that gave it out; any
other process takes it as "tell everything". A device with more messages waiting than a response
holds gets a third number: the position up to which it has them. Two more follow where there are
more sticky events than a response holds.
"""

from dataclasses import dataclass

from federation.protocol.errors import InvalidParam

MAX_LENGTH = 100
DIGITS = 18


@dataclass(frozen=True, slots=True)
class StickyMark:
    """How far a client has got with sticky events.

    All up to `complete_upto` have been told. While there are more than one answer holds, those up
    to `upto` have been told too, of rooms that the user came into after `complete_upto` as well;
    otherwise it is 0.
    """

    complete_upto: int
    upto: int

    def since(self, *, is_new: bool) -> int:
        """After which position a room is to be told, that is new to the client or not."""
        return self.upto if is_new else max(self.complete_upto, self.upto)

    def __str__(self) -> str:
        return f"{self.complete_upto}_{self.upto}" if self.upto else str(self.complete_upto)


def parse_sticky_mark(text: str) -> StickyMark | None:
    """The mark of a text; None if it is none."""
    complete_upto, _, upto = text.partition("_")
    if not is_number(complete_upto) or (upto and not is_number(upto)):
        return None
    return StickyMark(int(complete_upto), int(upto or 0))


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Everything up to `position` and up to `typing` has been told.

    Messages to the device have been told up to `to_device`; None if that is `position`. `sticky` is
    set while more sticky events are to be told.
    """

    position: int
    typing: int = 0
    to_device: int | None = None
    sticky: StickyMark | None = None

    @property
    def delivered(self) -> int:
        """The position up to which messages to the device have been told."""
        return self.position if self.to_device is None else self.to_device

    def __str__(self) -> str:
        text = f"s{self.position}_{self.typing}"
        if self.sticky is not None:
            return f"{text}_{self.delivered}_{self.sticky}"
        return text if self.to_device is None else f"{text}_{self.to_device}"


def parse_sync_token(text: str) -> SyncToken:
    """The token of `since`. Raises `InvalidParam`."""
    position, _, rest = text.removeprefix("s").partition("_")
    typing, _, rest = rest.partition("_")
    to_device, _, sticky = rest.partition("_")
    if not text.startswith("s") or not is_number(position) or len(text) > MAX_LENGTH:
        raise InvalidParam("'since' is not a token that this server gave out")
    return SyncToken(
        int(position),
        int(typing) if is_number(typing) else 0,
        min(int(to_device), int(position)) if is_number(to_device) else None,
        parse_sticky_mark(sticky),
    )


def is_number(text: str) -> bool:
    """Whether a text is a number as tokens have it."""
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS
