"""What a handler may answer when a JSON object with status 200 is not the answer."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class StreamedBody:
    """A body that is sent as it is read, for what may be too large for the memory.

    `chunks` yields `length` bytes in all. What it raises before its first chunk becomes the answer;
    later there is only hanging up.
    """

    length: int
    chunks: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with a status, headers or a content type of its own.

    A handler that answers 200 with JSON returns the mapping or sequence itself, or the JSON as
    bytes where it has been encoded already. `body` follows the same rule, or is streamed. A header
    given here replaces the one of the same name that every response has.
    """

    status: int = 200
    body: Mapping[str, Any] | Sequence[Any] | bytes | StreamedBody = b""
    headers: Mapping[str, str] | None = None
    content_type: str = JSON_TYPE


Answer = Mapping[str, Any] | Sequence[Any] | bytes | Response
"""What handlers return."""
