"""Filters that clients have uploaded, to name them in later requests.

Source: client-server API, "Filtering".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from federation.protocol.errors import InvalidParam, NotFound
from federation.protocol.filters import SyncFilter, parse_sync_filter
from storage.cache import Cache
from storage.database import Pool
from storage.filters import add_filter, find_filter

MAX_FILTERS = 1000
MAX_FILTER_BYTES = 65_536
MAX_ID = 2**31 - 1

PARSED_COST = 2_000
COST_PER_BYTE = 3


class Filters:
    """Keeps filters, and the parsed form of those in use."""

    __slots__ = ("_db", "_inline", "_parsed")

    def __init__(self, db: Pool, max_bytes: int) -> None:
        self._db = db
        self._parsed: Cache[tuple[int, str], SyncFilter] = Cache(max_bytes // 2)
        self._inline: Cache[str, SyncFilter] = Cache(max_bytes // 2)

    async def add(self, user_nid: int, fields: Mapping[str, Any]) -> str:
        """Keep a filter; its ID. Raises `BadJson`, `InvalidParam`."""
        parse_sync_filter(fields)
        encoded = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        if len(encoded) > MAX_FILTER_BYTES:
            raise InvalidParam("The filter is too large")
        filter_id = await add_filter(self._db, user_nid, encoded, MAX_FILTERS)
        if filter_id is None:
            raise InvalidParam(f"A user may keep at most {MAX_FILTERS} filters")
        return str(filter_id)

    async def get(self, user_nid: int, filter_id: str) -> bytes:
        """The filter as JSON. Raises `NotFound`."""
        is_number = filter_id.isascii() and filter_id.isdecimal() and len(filter_id) < 11
        found = None
        if is_number and int(filter_id) <= MAX_ID:
            found = await find_filter(self._db, user_nid, int(filter_id))
        if found is None:
            raise NotFound("There is no such filter")
        return found

    async def parsed(self, user_nid: int, filter_id: str) -> SyncFilter:
        """The filter, ready to be asked. Raises `NotFound`."""
        kept = self._parsed.get((user_nid, filter_id))
        if kept is None:
            found = await self.get(user_nid, filter_id)
            kept = parse_sync_filter(orjson.loads(found))
            cost = PARSED_COST + COST_PER_BYTE * len(found)
            self._parsed.put((user_nid, filter_id), kept, cost)
        return kept

    def parse_inline(self, text: str) -> SyncFilter:
        """The filter that a request carries as JSON. Raises `BadJson`, `InvalidParam`."""
        kept = self._inline.get(text)
        if kept is None:
            try:
                fields = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise InvalidParam("The filter is not JSON") from error
            kept = parse_sync_filter(fields)
            self._inline.put(text, kept, PARSED_COST + COST_PER_BYTE * len(text))
        return kept
