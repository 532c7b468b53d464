"""Short messages between the processes that share a database: not stored, heard by who listens."""

from storage.database import Database

SESSIONS = "hearth_sessions"
"""The channel on which a user's number says that something about their sessions has changed."""


async def announce(db: Database, channel: str, text: str) -> None:
    """Tell the other processes; inside a transaction, when it is committed."""
    await db.execute("SELECT pg_notify($1, $2)", channel, text)
