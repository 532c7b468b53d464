"""The `pos` of a connection: how far its client has been told everything, and what it was sent.

It begins like a token of /sync, so that it is good for paging too. The position and the number for
typing are those of /sync; the version tells which rooms the client has, and how far those that are
not up to date. Source: MSC4186.
"""

import re
from dataclasses import dataclass

from federation.protocol.errors import MatrixError

POS = re.compile(r"s([0-9]{1,18})_([0-9]{1,18})_([0-9]{1,18})_([0-9]{1,9})")


class UnknownPos(MatrixError):
    """The connection is not known, or no longer; the client has to begin anew."""

    errcode = "M_UNKNOWN_POS"

    def __init__(self) -> None:
        super().__init__("The position is not known; begin anew without it")


@dataclass(frozen=True, slots=True)
class Pos:
    """Everything up to `position` and up to `typing` has been told, as far as it was wanted."""

    position: int
    typing: int
    connection_nid: int
    version: int

    def __str__(self) -> str:
        return f"s{self.position}_{self.typing}_{self.connection_nid}_{self.version}"


def parse_pos(text: str) -> Pos:
    """The position of a token. Raises `UnknownPos`."""
    match = POS.fullmatch(text)
    if match is None:
        raise UnknownPos
    return Pos(*map(int, match.groups()))
