"""How connections to PostgreSQL are set up."""

from storage.database import connect

FIND_USERS = "SELECT user_nid FROM users WHERE user_id = ANY($1)"


async def test_a_plan_made_for_a_small_table_uses_its_index(database_url: str) -> None:
    """Plans are kept, and the table may be large when they are used."""
    connection = await connect(database_url)
    try:
        await connection.execute("INSERT INTO users (user_id) VALUES ('@first:test')")
        await connection.execute("ANALYZE users")
        await connection.execute(f"PREPARE by_id (text[]) AS {FIND_USERS}")
        rows = await connection.fetch("EXPLAIN EXECUTE by_id ('{@a:test,@b:test}')")
    finally:
        await connection.close()
    plan = "\n".join(row[0] for row in rows)
    assert "Index" in plan
    assert "Seq Scan" not in plan
