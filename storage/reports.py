"""What users report to the administrators of this server."""

from dataclasses import dataclass

from storage.database import Database

INSERT_REPORT = """
    INSERT INTO reports (received_ts, reporter_nid, room_id, event_id, user_id, reason, score)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a room, of an event in a room, or of a user."""

    received_ts: int
    reporter_nid: int
    room_id: str | None
    event_id: str | None
    user_id: str | None
    reason: str | None
    score: int | None


async def add_report(db: Database, report: Report) -> None:
    """Keep a report."""
    await db.execute(
        INSERT_REPORT,
        report.received_ts,
        report.reporter_nid,
        report.room_id,
        report.event_id,
        report.user_id,
        report.reason,
        report.score,
    )


SELECT_REPORTS = """
    SELECT report_id, received_ts, reporter_nid, room_id, event_id, user_id, reason, score
      FROM reports
     WHERE report_id > $1
     ORDER BY report_id
     LIMIT $2
"""


async def reports_after(db: Database, report_id: int, limit: int) -> list[tuple[int, Report]]:
    """The next reports after a number (exclusive), each with its own, oldest first."""
    rows = await db.fetch(SELECT_REPORTS, report_id, limit)
    return [(number, Report(*fields)) for number, *fields in rows]
