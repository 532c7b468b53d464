"""Telling application services what happens, in one process of all.

What is committed is judged once for all services that keep up, in memory; each of them has a task
of its own that delivers, so that one that is slow or away holds nobody up, and reads the stream
back by itself if it falls behind.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from federation.protocol.errors import MatrixError
from homeserver.appservices.courier import Courier, Replaced
from homeserver.appservices.interest import Interest
from homeserver.appservices.registrations import Registration
from homeserver.duty import Duty
from storage.appservices import Progress, begin_to_tell
from storage.changes import (
    Change,
    DeviceListChanged,
    EventAdded,
    InviteChanged,
    PresenceSet,
    ReceiptMoved,
    ToDeviceAdded,
)
from storage.database import Pool
from storage.stream import Stream

log = logging.getLogger("hearth.appservices")

CONCERNING = (
    EventAdded | InviteChanged | ReceiptMoved | PresenceSet | ToDeviceAdded | DeviceListChanged
)
MOST_WAITING = 5_000
"""Changes that wait to be judged; if more come, the services read the stream back instead."""
AGAIN_AFTER_S = 60.0
"""After what should not have happened while a service was told something."""

MakeCourier = Callable[[Registration, Progress], Courier]


class Delivery:
    """Runs the couriers while the duty is this process's."""

    def __init__(
        self,
        db: Pool,
        stream: Stream,
        interest: Interest,
        services: Sequence[Registration],
        make_courier: MakeCourier,
        duty: Duty,
    ) -> None:
        """`services` are those that are told anything, and `interest` judges for them."""
        self._db = db
        self._stream = stream
        self._interest = interest
        self._services = services
        self._make_courier = make_courier
        self._duty = duty
        self._couriers: dict[str, Courier] = {}
        self._news = asyncio.Event()
        self._changes: list[Change] = []
        self._typing: set[int] = set()
        self._heard_upto = 0
        self._judged_upto = 0
        self._has_lost = False

    @property
    def couriers(self) -> Sequence[Courier]:
        """The couriers that run now."""
        return list(self._couriers.values())

    async def heard(self, changes: Sequence[Change], own: bool) -> None:
        """Take note of what was committed; a listener of the stream."""
        del own
        if not self._couriers or not changes:
            return
        self._heard_upto = max(self._heard_upto, changes[-1].position)
        self._changes += [change for change in changes if isinstance(change, CONCERNING)]
        if len(self._changes) > MOST_WAITING:
            self._changes.clear()
            self._has_lost = True
        self._news.set()

    def typing_changed(self, room_nid: int, user_id: str, is_typing: bool) -> None:
        """Somebody begins or ceases to type; a listener of typing."""
        del user_id, is_typing
        if self._couriers:
            self._typing.add(room_nid)
            self._news.set()

    def heard_from(self, service_id: str) -> None:
        """A service has made a request: it may be there again."""
        courier = self._couriers.get(service_id)
        if courier is not None:
            courier.heard_from()

    async def run(self) -> None:
        """Deliver whenever no other process does, until cancelled."""
        await self._duty.hold(self._deliver)

    async def _deliver(self, position: int) -> None:
        """Deliver until another process takes over; each service has a position of its own."""
        del position
        try:
            progress = await begin_to_tell(self._db, [s.service_id for s in self._services])
            self._couriers = {
                service.service_id: self._make_courier(service, progress[service.service_id])
                for service in self._services
            }
            self._start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                for service in self._services:
                    group.create_task(self._tend(service))
        except* Replaced:
            log.info("Another process tells the application services")
        except* MatrixError as errors:
            log.warning("Application services cannot be told just now: %s", errors.exceptions[0])
        finally:
            self._couriers = {}

    async def _tend(self, service: Registration) -> None:
        """Run the courier of a service; what goes wrong with it is not the others' trouble."""
        while True:
            try:
                await self._couriers[service.service_id].run(lambda: self._judged_upto)
            except Replaced:
                raise
            except Exception:
                log.exception("The application service %s could not be told", service.service_id)
                await asyncio.sleep(AGAIN_AFTER_S)
                known = await begin_to_tell(self._db, [service.service_id])
                courier = self._make_courier(service, known[service.service_id])
                self._couriers[service.service_id] = courier

    def _start(self) -> None:
        """Begin to follow the stream from where it stands; what is before is read back."""
        self._changes.clear()
        self._typing.clear()
        self._interest.clear()
        self._has_lost = False
        self._heard_upto = self._judged_upto = self._stream.position

    async def _follow(self) -> None:
        """Judge what is committed and hand it to the couriers."""
        while True:
            await self._news.wait()
            self._news.clear()
            upto, changes, self._changes = self._heard_upto, self._changes, []
            typing, self._typing = self._typing, set()
            try:
                if self._has_lost:
                    raise Unfollowed
                judged = await self._interest.judge(changes, self._judged_upto)
                types = await self._interest.of_rooms(typing, upto) if typing else {}
            except (MatrixError, Unfollowed) as error:
                log.info("Application services read the stream back: %s", error)
                self._fall_behind(upto)
                continue
            for courier in self._couriers.values():
                own = [change for change, mask in judged if mask & courier.bit]
                courier.outbox.hear(own, upto)
                if courier.service.is_told_ephemeral:
                    for room_nid, mask in types.items():
                        if mask & courier.bit:
                            courier.outbox.typing_changed(room_nid)
            self._judged_upto = upto

    def _fall_behind(self, upto: int) -> None:
        """Have all couriers read back what was not judged."""
        self._has_lost = False
        self._interest.clear()
        self._judged_upto = upto
        for courier in self._couriers.values():
            courier.outbox.fall_behind()


class Unfollowed(Exception):
    """So much was committed at once that not all of it was kept in mind."""

    def __str__(self) -> str:
        return "too much has happened at once"
