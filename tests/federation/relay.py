"""A wire to a server that can be cut: afterwards packets simply do not arrive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


class Relay:
    """Passes connections on while it is whole; while it is cut it swallows what is sent.

    Nobody is told of the cut: connections stay open, new ones can be made, and nothing comes of
    them. Those that something was lost of break when the wire is mended.
    """

    def __init__(self, host: str, port: int) -> None:
        """What arrives is passed on to this place."""
        self._host, self._port = host, port
        self._is_cut = False
        self._passing: set[asyncio.StreamWriter] = set()
        self._spoilt: set[asyncio.StreamWriter] = set()
        self.swallowed_bytes = 0

    def cut(self) -> None:
        """Let nothing through any more."""
        self._is_cut = True

    def mend(self) -> None:
        """Let everything through again."""
        self._is_cut = False
        for writer in self._spoilt:
            writer.transport.abort()
        self._spoilt.clear()

    def close(self) -> None:
        """Break all connections."""
        for writer in self._passing:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection has come."""
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            ends = {writer, far_writer}
            self._passing |= ends
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, far_writer, ends))
                    both.create_task(self._pass(far_reader, writer, ends))
            finally:
                self._passing -= ends
                self._spoilt -= ends
        writer.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self._is_cut:
                    self.swallowed_bytes += len(chunk)
                    self._spoilt |= ends
                else:
                    writer.write(chunk)
                    await writer.drain()
        if not self._is_cut:
            writer.close()


@asynccontextmanager
async def relay(address: str, port: int, to_address: str, to_port: int) -> AsyncIterator[Relay]:
    """A wire from one place to another."""
    made = Relay(to_address, to_port)
    server = await asyncio.start_server(made.accept, address, port)
    try:
        yield made
    finally:
        server.close()
        made.close()
