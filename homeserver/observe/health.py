"""Whether the server works: what a container's health check or a load balancer asks."""

from collections.abc import Callable

from federation.outbound.single_flight import SingleFlight
from storage.committer import Committer
from storage.database import Pool

DATABASE_PATIENCE_S = 2.0
"""How long the database may take to answer."""
STALLED_AFTER_S = 30.0
"""A transaction of the committer that takes longer is one that does not end."""


class Health:
    """Looks at what nothing works without; `now_s` is the monotonic clock."""

    __slots__ = ("_committer", "_db", "_flights", "_now_s", "_patience_s")

    def __init__(
        self,
        db: Pool,
        committer: Committer,
        now_s: Callable[[], float],
        patience_s: float = DATABASE_PATIENCE_S,
    ) -> None:
        self._db = db
        self._committer = committer
        self._now_s = now_s
        self._patience_s = patience_s
        self._flights: SingleFlight[None, bool] = SingleFlight()

    async def find_problem(self) -> str | None:
        """What keeps the server from working, for people; None where nothing does.

        However many ask, the database is asked by one of them at a time.
        """
        if not self._committer.is_running:
            return "Nothing is written to the database any more"
        began_s = self._committer.batch_began_s
        if began_s is not None and self._now_s() - began_s > STALLED_AFTER_S:
            return f"A write to the database has not ended for {STALLED_AFTER_S:.0f} s"
        if not await self._flights.run(None, lambda: self._db.answers(self._patience_s)):
            return "The database does not answer"
        return None
