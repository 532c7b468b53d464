"""A relay of TCP connections in front of a server, which can drop everything."""

import asyncio
from enum import Enum, auto


class Loss(Enum):
    """How a link behaves while it is cut."""

    REFUSED = auto()
    """Connections end, and new ones are refused, as by a machine whose server is down."""
    SILENT = auto()
    """Connections stay, and what is sent on them vanishes, as on a link that lost its radio."""


class Relay:
    """Listens where other servers find the server, and passes on what arrives.

    The server itself listens at the same address, at `server_port`.
    """

    def __init__(self, address: str, port: int, server_port: int) -> None:
        self._address = address
        self._port = port
        self._server_port = server_port
        self._listener: asyncio.Server | None = None
        self._loss: Loss | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> None:
        """Begin to pass on."""
        self._loss = None
        self._listener = await asyncio.start_server(self._serve, self._address, self._port)

    async def cut(self, loss: Loss) -> None:
        """Drop everything from now on."""
        self._loss = loss
        if loss is Loss.REFUSED:
            await self.close()

    async def mend(self) -> None:
        """Pass on again; connections from before are gone."""
        await self.close()
        await self.open()

    async def close(self) -> None:
        """End all connections, and listen no more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        serving = tuple(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            far_reader, far_writer = await asyncio.open_connection(self._address, self._server_port)
        except OSError:
            writer.transport.abort()
            return
        finally:
            task.add_done_callback(self._connections.pop)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer))
                group.create_task(self._pass_on(far_reader, writer))
        finally:
            far_writer.transport.abort()
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if self._loss is None:
                    writer.write(data)
                    await writer.drain()
            if self._loss is None and writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
