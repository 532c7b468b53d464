"""hearth as `hearth run` serves it, and browsers with a Matrix client in them."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.clients.browsers import HERE, Browser, Browsers, running_browsers
from tests.homeserver.server_process import ServerProcess

NOTHING_TO_RUN = "needs Node.js, npm and a few minutes: `make clients`"


ALWAYS_EXPECTED = (
    "401 POST /_matrix/client/v3/register",
    "404 GET /_matrix/client/v3/room_keys/version",
    "404 GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
)
"""Refusals by which a client learns how things are: which stages registering has, that there is no
backup yet, and that there is nothing for group calls."""


def pytest_pycollect_makemodule() -> None:
    """Skip the whole directory, in one line, unless `make clients` runs it."""
    if "CHROMIUM" not in os.environ or not (HERE / "node_modules").is_dir():
        pytest.skip(NOTHING_TO_RUN, allow_module_level=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers() -> AsyncIterator[Browsers]:
    """One Chromium for all tests."""
    chromium = os.environ["CHROMIUM"]
    if not chromium:
        pytest.skip("needs Chromium: make clients CHROMIUM=…")
    async with running_browsers(chromium) as browsers:
        yield browsers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """One server for all tests, over its private PostgreSQL."""
    server = ServerProcess(tmp_path_factory.mktemp("hearth"))
    async with aiohttp.ClientSession() as session:
        await server.start(session)
        yield server
        await server.stop()


class Household:
    """The browsers of a test; each user's name is new."""

    counter = 0

    def __init__(self, browsers: Browsers, server: ServerProcess) -> None:
        Household.counter += 1
        self._browsers = browsers
        self._number = Household.counter
        self.server = server
        self.opened: list[Browser] = []
        self.expected: list[str] = list(ALWAYS_EXPECTED)
        self._failed: list[str] = []

    async def browser(self, name: str) -> Browser:
        """A browser with nobody logged in."""
        browser = Browser(self._browsers, f"{name}-{self._number}", self.server.base_url)
        await browser.open()
        self.opened.append(browser)
        return browser

    async def user(self, name: str) -> Browser:
        """A browser in which a new user is logged in."""
        browser = await self.browser(name)
        await browser.register(browser.name)
        return browser

    async def second_browser(self, user: Browser) -> Browser:
        """Another browser in which the user is logged in, but not started."""
        browser = await self.browser(f"{user.name}-again")
        await browser.log_in(user.name)
        return browser

    def expect(self, *refusals: str) -> None:
        """Take it for right that requests like these are refused, "404 GET /path"."""
        self.expected += refusals

    async def end(self, browser: Browser) -> None:
        """End a browser as if its machine had lost power."""
        self.opened.remove(browser)
        self._failed += await browser.close()

    async def close(self) -> list[str]:
        """End the browsers; which requests were refused although nobody expected it."""
        while self.opened:
            await self.end(self.opened[0])
        return [line for line in self._failed if not line.startswith(tuple(self.expected))]


@pytest_asyncio.fixture(loop_scope="session")
async def household(browsers: Browsers, server: ServerProcess) -> AsyncIterator[Household]:
    """People with browsers, whose requests are all answered well unless a test says otherwise."""
    household = Household(browsers, server)
    yield household
    assert await household.close() == []
