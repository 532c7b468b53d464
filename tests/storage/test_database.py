"""How connections to PostgreSQL are set up."""

from storage.database import connect
from storage.events import SELECT_BY_ID


async def test_a_plan_made_for_a_small_table_uses_its_index(database_url: str) -> None:
    connection = await connect(database_url)
    try:
        # As a PostgreSQL that nobody has tuned has it; there reading a small table looks cheap.
        await connection.execute("SET random_page_cost = 4")
        await connection.execute(f"PREPARE by_id (text[]) AS {SELECT_BY_ID}")
        rows = await connection.fetch("EXPLAIN EXECUTE by_id ('{$a,$b}')")
    finally:
        await connection.close()
    plan = "\n".join(row[0] for row in rows)
    assert "Index" in plan
    assert "Seq Scan" not in plan
