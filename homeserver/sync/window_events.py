"""Events of the stream's window, made ready for those who were joined when they came.

The JSON of an event is made once for all its receivers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from federation.protocol.event_rendering import dump_event
from federation.protocol.sticky import STICKY, TTL, sticky_until
from homeserver.clock import Clock
from homeserver.rooms.client_events import ClientEvents, build_fields, delay_echo
from homeserver.rooms.history_visibility import SeenEvent
from homeserver.rooms.viewer import Viewer
from storage.cache import Cache
from storage.changes import DelayEcho, EventAdded, StoredEvent, TransactionEcho
from storage.names import Names

RENDERED_BYTES = 4_000_000
NOTHING: Mapping[str, Any] = {}
JOINED = b',"unsigned":{"membership":"join"}}'


class WindowEvents:
    """Renders them, and keeps what it has rendered."""

    def __init__(self, names: Names, clients: ClientEvents, clock: Clock) -> None:
        self._names = names
        self._clients = clients
        self._clock = clock
        self._rendered: Cache[int, bytes] = Cache(RENDERED_BYTES)

    async def render(self, added: Sequence[EventAdded], viewer: Viewer) -> dict[int, bytes]:
        """The JSON of events that came while the viewer was joined, by number."""
        parents = {parent_of(item.event.content) for item in added}
        rendered: dict[int, bytes] = {}
        rest = []
        for item in added:
            simple = self._render_simple(item, viewer)
            if simple is None or item.event.event_id in parents:
                rest.append(SeenEvent(item.event, "join"))
            else:
                rendered[item.event.event_nid] = simple
        if rest:
            encoded = await self._clients.render(rest, viewer, with_room_id=False)
            rendered |= {seen.event.event_nid: e for seen, e in zip(rest, encoded, strict=True)}
        return rendered

    def _render_simple(self, added: EventAdded, viewer: Viewer) -> bytes | None:
        event = added.event
        if event.replaces_nid is not None:
            return None
        base = self._rendered.get(event.event_nid)
        if base is None:
            room = self._names.rooms.cached(event.room_nid)
            if room is None:
                return None
            base = dump_event(build_fields(event, room, with_room_id=False))[:-1]
            self._rendered.put(event.event_nid, base, len(base) + 150)
        more = {**echo_for(added, viewer), **self._time_left(event)}
        if not more:
            return base + JOINED
        return base + b',"unsigned":' + orjson.dumps({"membership": "join", **more}) + b"}"

    def _time_left(self, event: StoredEvent) -> Mapping[str, Any]:
        """For how much longer a sticky event is sticky, for `unsigned`."""
        if STICKY not in event.fields:
            return NOTHING
        now = self._clock()
        left_ms = (sticky_until(event.fields, now) or now) - now
        return {TTL: left_ms} if left_ms > 0 else NOTHING


def echo_for(added: EventAdded, viewer: Viewer) -> Mapping[str, Any]:
    """What the viewer is shown of how an event was made, if it is their own."""
    echo = added.echo
    if isinstance(echo, TransactionEcho) and echo.device_nid == viewer.device_nid:
        return {"transaction_id": echo.txn_id}
    if isinstance(echo, DelayEcho) and added.event.sender_nid == viewer.user_nid:
        return delay_echo(echo.delay_id)
    return NOTHING


def parent_of(content: Mapping[str, Any]) -> str | None:
    """The event that an event relates to."""
    relation = content.get("m.relates_to")
    parent = relation.get("event_id") if isinstance(relation, Mapping) else None
    return parent if isinstance(parent, str) else None
