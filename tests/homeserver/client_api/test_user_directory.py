from typing import Any
from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes


async def search(client: Client, term: str, **options: Any) -> Any:
    body = {"search_term": term, **options}
    return (await client.post("v3/user_directory/search", body)).ok()


async def test_a_name_in_a_room_is_not_searched(homes: Homes) -> None:
    alice, bob, eve = [await homes.user(name) for name in ("alice", "bob", "eve")]
    path = f"v3/profile/{quote(alice.user_id)}/displayname"
    (await alice.put(path, {"displayname": "Alice Cooper"})).ok()
    await alice.create_room(preset="public_chat", visibility="public")
    private = await bob.create_room(invite=[alice.user_id])
    await alice.join(private)
    member = {"membership": "join", "displayname": "Freddy"}
    await alice.set_state(private, "m.room.member", member, alice.user_id)
    found = {
        "results": [{"user_id": "@alice:test", "display_name": "Alice Cooper"}],
        "limited": False,
    }
    for searcher in (bob, eve):
        assert await search(searcher, "alice cooper") == found
        assert await search(searcher, "@alice") == found
    assert (await search(eve, "Freddy"))["results"] == []


async def test_results_are_limited(homes: Homes) -> None:
    alice = await homes.user("searcher")
    room = await alice.create_room(preset="public_chat")
    for n in range(3):
        await (await homes.user(f"found{n}")).join(room)
    first = await search(alice, "found", limit=2)
    assert [user["user_id"] for user in first["results"]] == ["@found0:test", "@found1:test"]
    assert first["limited"]
    assert not (await search(alice, "found", limit=3))["limited"]
    assert await search(alice, " ") == {"results": [], "limited": False}


async def test_broken_searches_are_refused(homes: Homes) -> None:
    alice = await homes.user()
    (await alice.post("v3/user_directory/search")).refused(400, "M_MISSING_PARAM")
    answer = await alice.post("v3/user_directory/search", {"search_term": "a", "limit": -1})
    answer.refused(400, "M_INVALID_PARAM")
