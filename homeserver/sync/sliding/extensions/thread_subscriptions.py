"""The extension for subscriptions to threads.

Only the latest changes are told where there are many; the client pages back through the others
from the token that comes along, to the `pos` of its request. Source: MSC4308.
"""

from homeserver.rooms.thread_subscriptions import SubscriptionsPage, ThreadSubscriptions
from homeserver.sync.sliding.extensions.scope import Round
from homeserver.sync.sliding.request import ThreadsWanted
from homeserver.sync.sliding.sent import Told

NOTHING = SubscriptionsPage()


class ThreadNews:
    """Tells subscriptions."""

    def __init__(self, subscriptions: ThreadSubscriptions) -> None:
        self._subscriptions = subscriptions

    async def tell(self, answer: Round, wanted: ThreadsWanted) -> SubscriptionsPage:
        """What changed since the client heard of it; without a query where nothing did."""
        situation = answer.situation
        follower = situation.follower
        since = situation.since if Told.THREADS in situation.sent.told else 0
        if since >= follower.threads_changed:
            return NOTHING
        return await self._subscriptions.latest(follower.user_nid, since, answer.upto, wanted.limit)
