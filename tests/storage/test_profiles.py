from storage.profiles import (
    MemberProfile,
    delete_profile_field,
    find_profile_field,
    member_profiles,
    profile_of,
    set_profile_field,
)
from tests.committing import open_store


async def test_a_field_is_set_replaced_and_removed(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        assert await set_profile_field(store.db, alice, "displayname", b'"Alice"', 1000)
        assert await set_profile_field(store.db, alice, "m.tz", b'"Europe/Berlin"', 1000)
        assert await set_profile_field(store.db, alice, "displayname", b'"Al"', 1000)
        assert await profile_of(store.db, alice) == {
            "displayname": b'"Al"',
            "m.tz": b'"Europe/Berlin"',
        }
        assert await delete_profile_field(store.db, alice, "m.tz")
        assert not await delete_profile_field(store.db, alice, "m.tz")
        assert await find_profile_field(store.db, alice, "m.tz") is None


async def test_a_profile_does_not_outgrow_its_limit(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        assert await set_profile_field(store.db, alice, "a.b", b'"' + b"x" * 83 + b'"', 100)
        assert not await set_profile_field(store.db, alice, "c.d", b'"x"', 100)
        assert await set_profile_field(store.db, alice, "a.b", b'"' + b"x" * 91 + b'"', 100)
        assert not await set_profile_field(store.db, alice, "a.b", b'"' + b"x" * 92 + b'"', 100)


async def test_member_profiles_are_read_for_many_at_once(database_url: str) -> None:
    async with open_store(database_url) as store:
        alice = await store.names.users.get_nid("@alice:hs1")
        bob = await store.names.users.get_nid("@bob:hs1")
        await set_profile_field(store.db, alice, "displayname", b'"Alice"', 1000)
        await set_profile_field(store.db, alice, "m.tz", b'"UTC"', 1000)
        assert await member_profiles(store.db, [alice, bob]) == {
            alice: MemberProfile("Alice"),
            bob: MemberProfile(),
        }
