"""Redactions whose target has not arrived yet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from storage.committer import Write
from storage.database import Database

SELECT_WAITING = """
    SELECT redacts, event_nid
      FROM redactions
     WHERE redacts = ANY($1::text[])
       AND room_nid = $2
       AND NOT applied
     ORDER BY event_nid
"""


async def waiting_redactions(
    db: Database, room_nid: int, event_ids: Iterable[str]
) -> dict[str, list[int]]:
    """Of each event those redactions of the room that wait for it, the first in front."""
    found: dict[str, list[int]] = {}
    for redacts, event_nid in await db.fetch(SELECT_WAITING, list(event_ids), room_nid):
        found.setdefault(redacts, []).append(event_nid)
    return found


@dataclass(frozen=True, slots=True)
class RedactionApplied(Write):
    """The target of a redaction has arrived and is kept in its redacted form."""

    order: ClassVar[int] = 26

    event_nid: int

    @property
    def positions(self) -> int:
        """None: the target comes redacted to its readers."""
        return 0

    @classmethod
    async def store(cls, db: Database, placed: Sequence[tuple["RedactionApplied", int]]) -> None:
        """Note that they wait no more."""
        nids = [write.event_nid for write, _ in placed]
        await db.execute(
            "UPDATE redactions SET applied = true WHERE event_nid = ANY($1::bigint[])", nids
        )
