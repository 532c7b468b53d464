from urllib.parse import quote

from tests.homeserver.conftest import Client, Homes

FILTER = {"room": {"timeline": {"limit": 10}}, "org.example.kept": [1]}


def filters(client: Client) -> str:
    return f"v3/user/{quote(client.user_id)}/filter"


async def test_a_filter_is_given_back_as_it_was(homes: Homes) -> None:
    alice = await homes.user()
    filter_id = (await alice.post(filters(alice), FILTER)).ok()["filter_id"]
    assert isinstance(filter_id, str)
    assert not filter_id.startswith("{")
    assert (await alice.get(f"{filters(alice)}/{filter_id}")).ok() == FILTER
    assert (await alice.post(filters(alice), FILTER)).ok()["filter_id"] == filter_id


async def test_filters_are_their_owners(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    filter_id = (await alice.post(filters(alice), FILTER)).ok()["filter_id"]
    (await bob.get(f"{filters(alice)}/{filter_id}")).refused(403, "M_FORBIDDEN")
    (await bob.post(filters(alice), FILTER)).refused(403, "M_FORBIDDEN")
    (await bob.get(f"{filters(bob)}/{filter_id}")).refused(404, "M_NOT_FOUND")
    for unknown in ("0", "99999999999", "abc", "-1", "²"):
        answer = await alice.get(f"{filters(alice)}/{quote(unknown)}")
        answer.refused(404, "M_NOT_FOUND")


async def test_a_broken_filter_is_refused(homes: Homes) -> None:
    alice = await homes.user()
    (await alice.post(filters(alice), {"room": []})).refused(400, "M_BAD_JSON")
    answer = await alice.post(filters(alice), {"presence": {"limit": -1}})
    answer.refused(400, "M_INVALID_PARAM")


async def test_a_parsed_filter_is_kept(homes: Homes) -> None:
    alice = await homes.user()
    filter_id = (await alice.post(filters(alice), FILTER)).ok()["filter_id"]
    user_nid = await homes.services.names.users.get_nid(alice.user_id)
    kept = homes.services.personal.filters
    first = await kept.parsed(user_nid, filter_id)
    assert first.room.timeline.limit == 10
    assert await kept.parsed(user_nid, filter_id) is first
