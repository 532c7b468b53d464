"""Work that one process of several does: it is named in the database, for as long as it lives."""

from storage.committer import PEER_LOCK

HOLDER_IS_GONE = f"""
    NOT EXISTS (
           SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted
              AND classid::integer = {PEER_LOCK} AND objid::integer = holder
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""  # noqa: S608 - a constant of ours
"""Whether the process in the column `holder` has ended: a peer holds the lock of its number."""
