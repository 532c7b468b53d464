"""An event is evaluated for all who may be notified together, however many they are."""

from pathlib import Path

from tests.homeserver.push.gateway import push_gateway, pushing_homes, settings_with_gateway
from tests.homeserver.test_query_counts import watching

MEMBERS = 8
PUSHERS_OF_USERS = "SELECT p.pusher_nid, p.user_nid, p.kind, p.sent_upto FROM pushers"


async def test_an_event_is_evaluated_for_all_members_without_a_query_for_each(
    database_url: str, tmp_path: Path
) -> None:
    settings = settings_with_gateway(database_url, tmp_path)
    async with push_gateway() as gateway, pushing_homes(settings) as homes:
        alice = await homes.user("alice")
        room_id = await alice.create_room(preset="public_chat")
        for number in range(MEMBERS):
            member = await homes.user()
            await member.join(room_id)
            await gateway.follow(member, f"key{number}")
        for text in ("the first", "the second"):
            with watching(homes.services.db) as queries:
                event_id = await alice.send(room_id, text)
                told = [await gateway.next_with_event() for _ in range(MEMBERS)]
            assert {one["event_id"] for one in told} == {event_id}
            assert len({one["devices"][0]["pushkey"] for one in told}) == MEMBERS
    assert sum(text.startswith(PUSHERS_OF_USERS) for text in queries.texts) == 1
    for table in ("account_data", "memberships", "receipts"):
        assert not [text for text in queries.texts if table in text], table
