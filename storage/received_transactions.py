"""Transactions of other servers and what they were answered."""

from storage.database import Database

SELECT_ANSWER = "SELECT answer FROM received_transactions WHERE origin = $1 AND txn_id = $2"


async def find_answer(db: Database, origin: str, txn_id: str) -> bytes | None:
    """What a transaction was answered, or None if it has not been."""
    answer: bytes | None = await db.fetchval(SELECT_ANSWER, origin, txn_id)
    return answer


# The setting holds until the end of the statement's own transaction, hence for its commit.
INSERT_ANSWER = """
      WITH unhurried AS (SELECT set_config('synchronous_commit', 'off', true) AS setting)
    INSERT INTO received_transactions (origin, txn_id, received_ts, answer)
    SELECT $1, $2, $3, $4 FROM unhurried WHERE setting = 'off'
    ON CONFLICT DO NOTHING
"""


async def keep_answer(
    db: Database, origin: str, txn_id: str, received_ts: int, answer: bytes
) -> None:
    """Remember the answer.

    The disk is not waited for: a transaction that is received again finds its events known.
    """
    await db.execute(INSERT_ANSWER, origin, txn_id, received_ts, answer)


DELETE_OLD = """
      WITH old AS (
           DELETE FROM received_transactions
            WHERE (origin, txn_id) IN (
                  SELECT origin, txn_id
                    FROM received_transactions
                   WHERE received_ts < $1
                   LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM old
"""


async def delete_old_answers(db: Database, received_before: int, limit: int) -> int:
    """Forget at most `limit` transactions received before a time; how many it were."""
    count: int = await db.fetchval(DELETE_OLD, received_before, limit)
    return count
