"""Work that several ask for at the same time, done once for all of them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flight(Generic[V]):
    """One piece of work under way, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: "asyncio.Task[V]") -> None:
        self.task = task
        self.waiting = 0


class SingleFlight(Generic[K, V]):
    """Runs one piece of work for each key at a time; whoever comes meanwhile waits for it.

    The work is cancelled when nobody waits for it any more; one that gives up does not end it for
    the others.
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[K, Flight[V]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of the work, or its exception."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.create_task(work()))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.task.done() or not flight.waiting:
                flight.task.cancel()
                self._land(key, flight)

    def _land(self, key: K, flight: Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
