"""Requests that a device may repeat: one that was carried out is not carried out again.

Source: client-server API, "Transaction identifiers".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import asyncpg

from storage.committer import Write
from storage.database import Database

# A device may be gone by now.
INSERT_REQUESTS = """
    INSERT INTO request_transactions (device_nid, path_digest, created_ts)
    SELECT new.device_nid, new.path_digest, new.created_ts
      FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
        AS new (device_nid, path_digest, created_ts)
      JOIN devices USING (device_nid)
"""


class RequestSeen(Exception):
    """The request was carried out before."""


@dataclass(frozen=True, slots=True)
class NoteRequest(Write):
    """A request is carried out by what is committed with this; raises `RequestSeen` if it was."""

    order: ClassVar[int] = 5

    device_nid: int
    path_digest: int
    created_ts: int

    @property
    def positions(self) -> int:
        """None: nobody hears of it."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["NoteRequest", int]]) -> None:
        """Note the requests."""
        rows = [(one.device_nid, one.path_digest, one.created_ts) for one, _ in placed]
        try:
            await db.execute(INSERT_REQUESTS, *map(list, zip(*rows, strict=True)))
        except asyncpg.UniqueViolationError as error:
            raise RequestSeen from error
