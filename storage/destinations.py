"""How well other servers can be reached."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from storage.database import Database

SELECT_HEALTH = """
    SELECT failures, retry_at_ts, last_success_ts FROM destinations WHERE server_name = $1
"""

UPSERT_HEALTH = """
    INSERT INTO destinations (server_name, failures, retry_at_ts, last_success_ts)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (server_name) DO UPDATE
       SET failures = EXCLUDED.failures,
           retry_at_ts = EXCLUDED.retry_at_ts,
           last_success_ts = EXCLUDED.last_success_ts
"""


@dataclass(frozen=True, slots=True)
class Health:
    """Failures in a row, until when the server is left alone, and when it last answered (or 0)."""

    failures: int
    retry_at_ts: int
    last_success_ts: int


async def find_health(db: Database, server_name: ServerName) -> Health | None:
    """The health of a server, None if it was never asked for anything."""
    row = await db.fetchrow(SELECT_HEALTH, server_name)
    return None if row is None else Health(*row)


async def set_health(db: Database, server_name: ServerName, health: Health) -> None:
    """Remember how a server does."""
    await db.execute(
        UPSERT_HEALTH, server_name, health.failures, health.retry_at_ts, health.last_success_ts
    )
