"""Redactions, also those whose target has not arrived yet."""

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


@dataclass(frozen=True, slots=True)
class RedactionEffect:
    """A redaction's target; `redacted_json` is its stored form from now on, None if not applied."""

    redacts: str
    target_nid: int | None
    redacted_json: bytes | None


INSERT_REDACTIONS = """
    INSERT INTO redactions (event_nid, room_nid, redacts, applied)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::boolean[])
"""

REDACT_EVENTS = """
    UPDATE events
       SET json = redacted.json,
           redacted_by = redacted.by
      FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS redacted (event_nid, json, by)
     WHERE events.event_nid = redacted.event_nid
"""

DELETE_RELATIONS = "DELETE FROM relations WHERE event_nid = ANY($1::bigint[])"
DELETE_WORDS = "DELETE FROM search_index WHERE event_nid = ANY($1::bigint[])"


async def add_redactions(db: Database, effects: Sequence[tuple[int, int, RedactionEffect]]) -> None:
    """Note redactions, each with its number and its room's, and apply those that are effective.

    A redacted event relates to nothing any more, and is not found by its words.
    """
    if not effects:
        return
    rows = [
        (event_nid, room_nid, effect.redacts, effect.redacted_json is not None)
        for event_nid, room_nid, effect in effects
    ]
    await db.execute(INSERT_REDACTIONS, *map(list, zip(*rows, strict=True)))
    applied = {
        effect.target_nid: (effect.target_nid, effect.redacted_json, event_nid)
        for event_nid, _, effect in effects
        if effect.redacted_json is not None
    }
    if applied:
        await db.execute(REDACT_EVENTS, *map(list, zip(*applied.values(), strict=True)))
        await db.execute(DELETE_RELATIONS, list(applied))
        await db.execute(DELETE_WORDS, list(applied))
