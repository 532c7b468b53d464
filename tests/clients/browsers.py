"""Browsers with a Matrix client in them, driven through `browsers.mjs`."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ANSWERED_WITHIN_S = 60
PASSWORD = "a password that is long"
MAX_LINE_BYTES = 64 * 1024 * 1024


class BrowserError(Exception):
    """What was wanted of a browser failed there."""


class Browsers:
    """One Chromium; each user has a browser of their own in it, with a storage of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0

    async def command(self, **command: Any) -> Any:
        """Have something done. Raises `BrowserError`."""
        assert self._process.stdin is not None
        self._last_id += 1
        answer = self._waiting[self._last_id] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": self._last_id, **command})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            return await answer

    async def listen(self) -> None:
        """Hand out answers until there are no more."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"])
            if "error" in answer:
                future.set_exception(BrowserError(answer["error"]))
            else:
                future.set_result(answer["result"])
        for future in self._waiting.values():
            future.set_exception(BrowserError("the browsers are gone"))

    async def ready(self) -> None:
        """Wait until Chromium runs."""
        self._waiting[0] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await self._waiting[0]


@asynccontextmanager
async def running_browsers(chromium: str) -> AsyncIterator[Browsers]:
    """Browsers, until the end."""
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "browsers.mjs"), chromium, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES
    )
    browsers = Browsers(process)
    ready = asyncio.ensure_future(browsers.ready())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(browsers.listen())
        try:
            await ready
            yield browsers
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


class Browser:
    """The browser of one user; what its page can do is in `page/client.js`."""

    def __init__(self, browsers: Browsers, name: str, base_url: str) -> None:
        self._browsers = browsers
        self._base_url = base_url
        self.name = name
        self.session: dict[str, Any] = {}

    @property
    def user_id(self) -> str:
        """Who is logged in."""
        return str(self.session["user_id"])

    @property
    def device_id(self) -> str:
        """On which device."""
        return str(self.session["device_id"])

    async def do(self, action: str, *values: Any) -> Any:
        """What the page answers to one of its actions. Raises `BrowserError`."""
        command = {"in": self.name, "call": action, "with": values}
        return await self._browsers.command(**command)

    async def open(self) -> None:
        """Start the browser."""
        await self._browsers.command(open=self.name)

    async def register(self, localpart: str) -> None:
        """Make an account and follow /sync."""
        self.session = await self.do("register", self._base_url, localpart, PASSWORD)
        await self.start()

    async def log_in(self, localpart: str) -> None:
        """Log in to an account on a device of its own; `start` follows /sync then."""
        self.session = await self.do("logIn", self._base_url, localpart, PASSWORD)

    async def start(self, action: str = "start", *more: Any) -> Any:
        """Follow /sync, or what another action follows, in the session."""
        return await self.do(action, self._base_url, self.session, *more)

    async def reload(self) -> None:
        """Load the page anew, as after closing and opening the browser, and follow /sync."""
        await self._browsers.command(reload=self.name)
        await self.start()

    async def take_traffic(self) -> tuple[int, int]:
        """Requests that were answered, and bytes that came with the answers, since asked last."""
        taken = await self._browsers.command(traffic=self.name)
        return taken["requests"], taken["bytes"]

    async def close(self) -> list[str]:
        """End the browser, and tell what failed there: requests and the page's own code."""
        return list(await self._browsers.command(close=self.name))
