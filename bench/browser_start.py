"""How long a web client takes to start, and what it fetches, with an account in many rooms.

Run as `python -m bench.browser_start http://127.0.0.1:8008 200`, with the number of rooms, after
`make clients`, with the browser in CHROMIUM if it is not called chromium. The server may be any
that lets users register with nothing but a name and a password and does not limit rates. The client
is matrix-js-sdk as the tests have it, with its encryption; a first start is that of a browser in
which nothing is stored, and a second start that of the same one when its page is loaded anew.
"""

import asyncio
import os
import secrets
import statistics
import sys
import time

import aiohttp

from tests.clients.browsers import PASSWORD, Browser, running_browsers
from tests.homeserver.conftest import Client

MEMBERS = 5
MESSAGES = 10
STARTS = 5


async def register(session: aiohttp.ClientSession, url: str, name: str) -> Client:
    """A new user."""
    client = Client(session, url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    answer = (await client.post("v3/register", body)).ok()
    client.token, client.user_id = answer["access_token"], answer["user_id"]
    return client


async def fill_account(url: str, name: str, rooms: int) -> None:
    """A user in many rooms, with others, names, topics and messages."""
    async with aiohttp.ClientSession() as session:
        user = await register(session, url, name)
        others = [await register(session, url, f"{name}-{n}") for n in range(MEMBERS - 1)]
        for number in range(rooms):
            room_id = await user.create_room(
                name=f"Room {number}", topic="Whatever comes to mind", preset="public_chat"
            )
            for other in others:
                await other.join(room_id)
            for line in range(MESSAGES):
                speaker = others[line % len(others)]
                await speaker.send(room_id, f"Line {line} of a talk about nothing in particular.")


async def time_start(browser: Browser, start: str) -> tuple[float, int, int]:
    """Seconds until the client shows its rooms, requests and bytes."""
    await browser.take_traffic()
    begun = time.monotonic()
    if start == "first":
        await browser.start()
    else:
        await browser.reload()
    seconds = time.monotonic() - begun
    return seconds, *await browser.take_traffic()


def tell(start: str, taken: list[tuple[float, int, int]]) -> None:
    """Print the median of each figure."""
    seconds, requests, size = (statistics.median(figure) for figure in zip(*taken, strict=True))
    print(f"{start} start: {seconds:.2f} s, {requests:.0f} requests, {size / 1000:.0f} kB")


async def start_clients(url: str, name: str) -> None:
    """Start clients of an account and print what that took."""
    taken: dict[str, list[tuple[float, int, int]]] = {"first": [], "second": []}
    async with running_browsers(os.environ.get("CHROMIUM", "chromium")) as browsers:
        for number in range(STARTS):
            browser = Browser(browsers, str(number), url)
            await browser.open()
            await browser.log_in(name)
            for start, figures in taken.items():
                figures.append(await time_start(browser, start))
            await browser.close()
    for start, figures in taken.items():
        tell(start, figures)


async def main(url: str, rooms: int) -> None:
    """Fill an account and start clients of it."""
    name = f"user-{secrets.token_hex(4)}"
    await fill_account(url, name, rooms)
    await start_clients(url, name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
