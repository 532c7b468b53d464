"""Answering /sync: what to tell, or wait until there is something.

A client that keeps up is answered from memory (`live.py`): the window of the stream has all that
happened since its token. Everybody else is answered from one consistent reading of the database
(`catch_up.py`). Both give the same parts to `response.py`, and `device_news.py` adds to them.
Source: client-server API, "Syncing".
"""

import asyncio
from dataclasses import replace

from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.sync.catch_up import CatchUp
from homeserver.sync.device_news import DeviceListNews, DeviceNews
from homeserver.sync.followers import Follower, Followers
from homeserver.sync.live import LiveSync
from homeserver.sync.request import SyncRequest
from homeserver.sync.response import SyncBody, render
from homeserver.sync.token import SyncToken
from storage.stream import Stream

MAX_TIMEOUT_MS = 180_000


class Sync:
    """Serves GET /sync."""

    def __init__(
        self,
        stream: Stream,
        followers: Followers,
        live: LiveSync,
        catch_up: CatchUp,
        device_news: DeviceNews,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._followers = followers
        self._live = live
        self._catch_up = catch_up
        self._device_news = device_news
        self._clock = clock

    async def sync(self, request: SyncRequest) -> bytes:
        """The JSON of the response; waits up to `timeout_ms` for something to tell."""
        # A token must not be ahead of what the follower has been told.
        upto = await self._stream.settled()
        follower = await self._followers.get(request.viewer.user_nid, request.viewer.user_id)
        if request.since is not None and not await self._stream.holds(request.since.position):
            return await self._begin_anew(follower, request)
        if request.since is None or request.full_state:
            body = await self._catch_up.read(follower, request)
            await self._device_news.add(body, follower, request)
            return await self._render(request, body)
        deadline = asyncio.get_running_loop().time() + (
            min(request.timeout_ms, MAX_TIMEOUT_MS) / 1000
        )
        since, device_nid = request.since, request.viewer.device_nid
        while True:
            # What happens while an answer is read must not be waited for afterwards.
            seen = follower.changed, follower.typing_changed
            if is_news(follower, since) or self._device_news.may_exist(follower, device_nid, since):
                body = await self._answer(follower, request)
                if not body.is_empty:
                    return await self._render(request, body)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            if seen == (follower.changed, follower.typing_changed):
                await follower.wait(left)
            upto = await self._stream.settled()
            follower = await self._followers.get(request.viewer.user_nid, request.viewer.user_id)
        position = max(since.position, upto)
        body = SyncBody(SyncToken(position, self._live.typing_serial))
        return await self._render(request, body)

    async def device_lists_since(
        self, user_nid: int, user_id: UserId, since: SyncToken
    ) -> DeviceListNews:
        """Whose devices have changed for a user since a token, and who came into view or left."""
        upto = await self._stream.settled()
        follower = await self._followers.get(user_nid, user_id)
        return await self._device_news.device_lists(follower, since.position, upto)

    async def _begin_anew(self, follower: Follower, request: SyncRequest) -> bytes:
        """Tell everything to a client that knows of a time which a restored backup has undone.

        Clients take it as what comes after a long absence. What was sent to the device before the
        backup it has; whose devices it has to look at again is what a restore says, everybody's.
        """
        body = await self._catch_up.read(follower, replace(request, since=None))
        await self._device_news.add(body, follower, request)
        return await self._render(request, body)

    async def _answer(self, follower: Follower, request: SyncRequest) -> SyncBody:
        body = await self._live.read(follower, request)
        if body is None:
            body = await self._catch_up.read(follower, request)
        await self._device_news.add(body, follower, request)
        return body

    async def _render(self, request: SyncRequest, body: SyncBody) -> bytes:
        await self._device_news.add_key_counts(body, request)
        return render(
            body,
            self._clock(),
            with_threads=request.wanted.room.timeline.unread_thread_notifications,
            state_after=request.state_after,
        )


def is_news(follower: Follower, since: SyncToken) -> bool:
    """Whether anything that concerns the user may have happened after a token."""
    has_changed = follower.changed > since.position or follower.typing_changed > since.typing
    return has_changed or since.sticky is not None
