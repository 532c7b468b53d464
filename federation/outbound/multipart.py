"""Reading an answer of several parts as it arrives, in constant memory.

Source: RFC 2046, section 5.1; server-server API, "Content Repository".
"""

import re
from collections.abc import AsyncIterator

from federation.outbound.errors import BadAnswer
from federation.protocol.identifiers import ServerName

MAX_HEAD_BYTES = 16_384
MAX_SKIPPED_BYTES = 65_536
"""What may stand before the first part, and in the part with the metadata."""

_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)


class PartReader:
    """The parts of an answer, one after the other; all its methods raise `FederationError`."""

    __slots__ = ("_buffer", "_chunks", "_delimiter", "_destination")

    def __init__(
        self, chunks: AsyncIterator[bytes], content_type: str, destination: ServerName
    ) -> None:
        self._destination = destination
        match = _BOUNDARY.search(content_type)
        if not content_type.lower().startswith("multipart/") or match is None:
            raise self._wrong("it is not made of parts")
        self._delimiter = b"\r\n--" + (match[1] or match[2]).encode()
        self._chunks = chunks
        # The first delimiter may be the very first line.
        self._buffer = bytearray(b"\r\n")

    async def skip(self) -> None:
        """Go to the end of the part; at first to the beginning of the first one."""
        skipped = 0
        async for chunk in self.body():
            skipped += len(chunk)
            if skipped > MAX_SKIPPED_BYTES:
                raise self._wrong("a part that should be small is not")

    async def head(self) -> dict[str, str]:
        """The headers of the next part, their names in small letters."""
        if (await self._line()).startswith(b"--"):
            raise self._wrong("it ends too soon")
        headers: dict[str, str] = {}
        size = 0
        while line := await self._line():
            size += len(line)
            if size > MAX_HEAD_BYTES:
                raise self._wrong("the headers of a part are too long")
            name, _, value = decode(line).partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    async def body(self) -> AsyncIterator[bytes]:
        """What is in the part, as it arrives."""
        buffer, delimiter = self._buffer, self._delimiter
        while True:
            at = buffer.find(delimiter)
            if at >= 0:
                if at:
                    yield bytes(buffer[:at])
                del buffer[: at + len(delimiter)]
                return
            # What may be the beginning of a delimiter waits for the rest of it.
            certain = len(buffer) - len(delimiter) + 1
            if certain > 0:
                yield bytes(buffer[:certain])
                del buffer[:certain]
            await self._read_more()

    async def _line(self) -> bytes:
        while (at := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise self._wrong("the headers of a part are too long")
            await self._read_more()
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 2]
        return line

    async def _read_more(self) -> None:
        try:
            self._buffer += await anext(self._chunks)
        except StopAsyncIteration:
            raise self._wrong("it ends too soon") from None

    def _wrong(self, what: str) -> BadAnswer:
        return BadAnswer(self._destination, f"its answer is not as it should be: {what}")


def decode(line: bytes) -> str:
    """A header as text; some servers write names of files as they are."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
