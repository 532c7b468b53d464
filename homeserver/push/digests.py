"""Notifications by mail: what has not been read for a while, of all rooms in one mail.

After a mail about a room the next one waits, ever longer up to a day, until the room has been
quiet for half a day. What is read before the mail is due is not in it. Where a pusher stands is
kept with the pusher, and moved on only when the mail server has taken the mail; so a restart
loses none, and a mail server that is away is tried again. The text of encrypted messages is never
there: this server does not know it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from federation.protocol.retry_schedule import RetrySchedule
from homeserver.clock import Clock
from homeserver.config.sections.mail import Mail
from homeserver.mail.mailer import Mailer, MailNotSent
from homeserver.mail.templates import Part, Templates
from homeserver.push.decisions import Notified
from homeserver.push.descriptions import Descriptions
from homeserver.push.missed import Missed
from homeserver.push.notification import Description
from homeserver.push.unsubscribing import Unsubscribing
from storage.database import Database
from storage.mail_throttles import Throttle, set_throttles, throttles_of
from storage.names import Names
from storage.pushers import ActivePusher, PusherProgress

log = logging.getLogger("hearth.push")

HOUR_MS = 3600 * 1000
OLDEST_MS = 7 * 24 * HOUR_MS
LONGEST_THROTTLE_MS = 24 * HOUR_MS
THROTTLE_GROWTH = 12
QUIET_MS = 12 * HOUR_MS
MOST_ROOMS = 20
MOST_OF_A_ROOM = 10
MOST_TEXT = 500
RETRIES = RetrySchedule(first_ms=60_000, longest_ms=6 * HOUR_MS)
LAST_TS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
ENCRYPTED = "m.room.encrypted"


class MailDigests:
    """Sends the mails; `spread` gives random numbers from 0 to 1."""

    def __init__(
        self,
        db: Database,
        names: Names,
        clock: Clock,
        missed: Missed,
        descriptions: Descriptions,
        mailer: Mailer,
        unsubscribing: Unsubscribing,
        settings: Mail,
        spread: Callable[[], float],
    ) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._missed = missed
        self._descriptions = descriptions
        self._mailer = mailer
        self._unsubscribing = unsubscribing
        self._settings = settings
        self._spread = spread
        self.delay_ms = settings.notification_delay_s * 1000

    async def send(self, pusher: ActivePusher) -> PusherProgress:
        """Send a mail if it is time for one; how far the pusher has got, and when to go on."""
        progress, now = pusher.progress, self._clock()
        items = await self._missed.of(pusher, OLDEST_MS)
        if not items:
            return PusherProgress(progress.sent_upto, 0, 0, None)
        rooms = group_by_room(items)
        throttles = await throttles_of(self._db, pusher.pusher_nid, rooms)
        due_ts = min(ready_ts(throttles.get(room_nid)) for room_nid in rooms)
        if due_ts > now:
            return PusherProgress(progress.sent_upto, 0, 0, due_ts)
        try:
            await self._mail(pusher, rooms, len(items))
        except MailNotSent as error:
            log.warning("No mail to %s about what is unread: %s", pusher.user_id, error.reason)
            if not error.is_final:
                failures = progress.failures + 1
                later = now + RETRIES.delay_ms(failures, self._spread())
                return PusherProgress(progress.sent_upto, 0, failures, later)
        grown = {nid: next_throttle(throttles.get(nid), now, self.delay_ms) for nid in rooms}
        await set_throttles(self._db, pusher.pusher_nid, grown)
        return PusherProgress(items[-1].position, 0, 0, None)

    async def _mail(
        self, pusher: ActivePusher, rooms: Mapping[int, Sequence[Notified]], count: int
    ) -> None:
        shown = dict(list(rooms.items())[:MOST_ROOMS])
        events = [item.event for items in shown.values() for item in items[-MOST_OF_A_ROOM:]]
        descriptions = await self._descriptions.of_many(events)
        room_names = await self._names.rooms.get_many(shown)
        parts = [
            self._room_part(room_names[nid].room_id, items, descriptions)
            for nid, items in shown.items()
        ]
        messages = "message" if count == 1 else "messages"
        where = self._title(next(iter(shown.values())), descriptions)
        if len(rooms) > 1:
            where = f"{len(rooms)} rooms"
        unsubscribe = self._unsubscribing.link(pusher.user_id, pusher.pushkey)
        await self._mailer.send(
            pusher.pushkey,
            "digest",
            {
                "summary": f"{count} unread {messages} in {where}",
                "rooms": join(parts),
                "unsubscribe": unsubscribe,
            },
            {
                "List-Unsubscribe": f"<{unsubscribe}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        )

    def _room_part(
        self, room_id: str, items: Sequence[Notified], descriptions: Mapping[int, Description]
    ) -> Part:
        messages = [
            self._message_part(item, descriptions[item.event.event_nid])
            for item in items[-MOST_OF_A_ROOM:]
        ]
        return self._templates.render_part(
            "digest_room",
            {
                "room": self._title(items, descriptions),
                "count": str(len(items)),
                "link": self._settings.client_url + quote(room_id, safe="!:"),
                "messages": join(messages),
            },
        )

    def _message_part(self, item: Notified, description: Description) -> Part:
        return self._templates.render_part(
            "digest_message",
            {
                "time": describe_time(item.event.fields["origin_server_ts"]),
                "sender": description.sender_display_name or item.event.sender,
                "text": describe_event(item, with_text=self._settings.notification_content),
            },
        )

    @property
    def _templates(self) -> Templates:
        return self._mailer.templates

    @staticmethod
    def _title(items: Sequence[Notified], descriptions: Mapping[int, Description]) -> str:
        """How a room is called: by its name, its alias, or who writes there."""
        event = items[-1].event
        description = descriptions[event.event_nid]
        sender = description.sender_display_name or event.sender
        return description.room_name or description.room_alias or sender


def group_by_room(items: Sequence[Notified]) -> dict[int, list[Notified]]:
    """The notifications of each room, in order."""
    rooms: dict[int, list[Notified]] = {}
    for item in items:
        rooms.setdefault(item.event.room_nid, []).append(item)
    return rooms


def ready_ts(throttle: Throttle | None) -> int:
    """When a mail may tell of a room."""
    return 0 if throttle is None else throttle.sent_ts + throttle.throttle_ms


def next_throttle(former: Throttle | None, now: int, first_ms: int) -> Throttle:
    """The throttle after a mail: longer than the former, unless the room has been quiet."""
    if former is None or now > ready_ts(former) + QUIET_MS:
        return Throttle(now, first_ms)
    return Throttle(now, min(former.throttle_ms * THROTTLE_GROWTH, LONGEST_THROTTLE_MS))


def describe_time(ts: int) -> str:
    """When an event was sent; its sender may claim any time, which a calendar need not have."""
    return f"{datetime.fromtimestamp(min(ts, LAST_TS) / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def describe_event(item: Notified, *, with_text: bool) -> str:
    """What a mail says of an event."""
    event = item.event
    if event.type == "m.room.member" and event.state_key == item.user_id:
        return "invites you"
    body = event.content.get("body")
    if event.type == ENCRYPTED:
        return "an encrypted message"
    if not with_text or event.type != "m.room.message" or not isinstance(body, str):
        return "a message"
    text = " ".join(body.split())
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def join(parts: Sequence[Part]) -> Part:
    """The parts one after the other."""
    return Part("".join(part.text for part in parts), "".join(part.html for part in parts))
