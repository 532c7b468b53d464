"""Asking a server for events of a room: missing ones, states, auth chains, history.

What comes back is only looked at for its shape; whether an event is to be believed is for the
caller to find out.
Source: server-server API, "Retrieving events", "Backfilling and retrieving missing events".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from federation.outbound.client import FederationClient, build_path
from federation.outbound.errors import BadAnswer
from federation.protocol.identifiers import ServerName

STATE_MAX_BYTES = 100 * 1_048_576
"""The state of a large room has tens of megabytes."""
STATE_TIMEOUT_S = 300.0
FETCH_TIMEOUT_S = 30.0

Fields = Mapping[str, Any]


class EventFetcher:
    """Fetches events; every function raises `FederationError`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def missing_events(
        self,
        origin: str,
        room_id: str,
        earliest: Sequence[str],
        latest: Sequence[str],
        *,
        limit: int,
        min_depth: int,
    ) -> list[Fields]:
        """Events between some that we have (`earliest`) and some that refer to unknown ones."""
        answer = await self._client.request(
            ServerName(origin),
            "POST",
            build_path("federation", "v1", "get_missing_events", room_id),
            body={
                "earliest_events": list(earliest),
                "latest_events": list(latest),
                "limit": limit,
                "min_depth": min_depth,
            },
            timeout_s=FETCH_TIMEOUT_S,
            max_depth=None,
        )
        return pdus(answer, "events", origin)[:limit]

    async def state_ids(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[str], list[str]]:
        """The IDs of the state before an event and of that state's auth chain."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "state_ids", room_id),
            query={"event_id": event_id},
            timeout_s=STATE_TIMEOUT_S,
            max_bytes=STATE_MAX_BYTES,
        )
        return texts(answer, "pdu_ids", origin), texts(answer, "auth_chain_ids", origin)

    async def state(
        self, origin: str, room_id: str, event_id: str
    ) -> tuple[list[Fields], list[Fields]]:
        """The state before an event and that state's auth chain."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "state", room_id),
            query={"event_id": event_id},
            timeout_s=STATE_TIMEOUT_S,
            max_bytes=STATE_MAX_BYTES,
            max_depth=None,
        )
        return pdus(answer, "pdus", origin), pdus(answer, "auth_chain", origin)

    async def event(self, origin: str, event_id: str) -> Fields:
        """A single event."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "event", event_id),
            timeout_s=FETCH_TIMEOUT_S,
            max_depth=None,
        )
        found = pdus(answer, "pdus", origin)
        if len(found) != 1:
            raise BadAnswer(ServerName(origin), "The answer does not have one event")
        return found[0]

    async def event_auth(self, origin: str, room_id: str, event_id: str) -> list[Fields]:
        """The auth chain of an event."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "event_auth", room_id, event_id),
            timeout_s=FETCH_TIMEOUT_S,
            max_depth=None,
            max_bytes=STATE_MAX_BYTES,
        )
        return pdus(answer, "auth_chain", origin)

    async def backfill(
        self, origin: str, room_id: str, event_ids: Sequence[str], limit: int
    ) -> list[Fields]:
        """Events before and including some, at most `limit`."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "backfill", room_id),
            query={"v": list(event_ids), "limit": limit},
            timeout_s=FETCH_TIMEOUT_S,
            max_depth=None,
        )
        return pdus(answer, "pdus", origin)[:limit]

    async def event_near(
        self, origin: str, room_id: str, ts: int, *, backwards: bool
    ) -> tuple[str, int]:
        """The ID and time of the first event at or after a time, or of the last one before."""
        answer = await self._client.request(
            ServerName(origin),
            "GET",
            build_path("federation", "v1", "timestamp_to_event", room_id),
            query={"ts": ts, "dir": "b" if backwards else "f"},
            timeout_s=FETCH_TIMEOUT_S,
        )
        told = answer if isinstance(answer, Mapping) else {}
        event_id, found_ts = told.get("event_id"), told.get("origin_server_ts")
        if not isinstance(event_id, str) or not isinstance(found_ts, int):
            raise BadAnswer(ServerName(origin), "The answer does not name an event and its time")
        return event_id, found_ts


def pdus(answer: Any, key: str, origin: str) -> list[Fields]:
    """The events under a key of an answer. Raises `BadAnswer`."""
    found = answer.get(key) if isinstance(answer, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(event, Mapping) for event in found):
        raise BadAnswer(ServerName(origin), f"`{key}` of the answer is not a list of events")
    return found


def texts(answer: Any, key: str, origin: str) -> list[str]:
    """The strings under a key of an answer. Raises `BadAnswer`."""
    found = answer.get(key) if isinstance(answer, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise BadAnswer(ServerName(origin), f"`{key}` of the answer is not a list of IDs")
    return found
