from typing import Any
from urllib.parse import quote

import pytest

from storage.profiles import set_profile_field
from tests.homeserver.conftest import Client, Homes


def profile(client: Client, field: str = "") -> str:
    return f"v3/profile/{quote(client.user_id)}" + (f"/{quote(field)}" if field else "")


async def test_a_profile_has_the_fields_that_were_set(homes: Homes) -> None:
    alice, nobody = await homes.user(), homes.nobody()
    values: dict[str, Any] = {
        "displayname": "Alice",
        "avatar_url": "mxc://test/abc",
        "m.tz": "Europe/Berlin",
        "org.example.pronouns": [{"summary": "she"}, None],
        "org.example.nothing": None,
    }
    for field, value in values.items():
        (await alice.put(profile(alice, field), {field: value})).ok()
        assert (await nobody.get(profile(alice, field))).ok() == {field: value}
    assert (await nobody.get(profile(alice))).ok() == values
    (await alice.delete(profile(alice, "m.tz"))).ok()
    (await alice.delete(profile(alice, "m.tz"))).ok()
    (await nobody.get(profile(alice, "m.tz"))).refused(404, "M_NOT_FOUND")
    del values["m.tz"]
    assert (await nobody.get(profile(alice))).ok() == values


async def test_there_is_no_profile_of_unknown_users(homes: Homes) -> None:
    for user_id in ("@nobody:test", "@somebody:elsewhere", "nobody"):
        answer = await homes.nobody().get(f"v3/profile/{quote(user_id)}")
        answer.refused(404, "M_NOT_FOUND")


async def test_nobody_changes_the_profile_of_another(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    answer = await bob.put(profile(alice, "displayname"), {"displayname": "Eve"})
    answer.refused(403, "M_FORBIDDEN")
    (await bob.delete(profile(alice, "displayname"))).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("field", "body", "errcode"),
    [
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"displayname": 1}, "M_BAD_JSON"),
        ("displayname", {"displayname": "a\0"}, "M_BAD_JSON"),
        ("displayname", {"displayname": "a" * 257}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": {}}, "M_BAD_JSON"),
        ("avatar_url", {"avatar_url": "mxc://" + "a" * 1000}, "M_INVALID_PARAM"),
        ("Name", {"Name": ""}, "M_INVALID_PARAM"),
        ("a b", {"a b": ""}, "M_INVALID_PARAM"),
        ("a" * 256, {"a" * 256: ""}, "M_KEY_TOO_LARGE"),
        ("org.example.much", {"org.example.much": "a" * 65_520}, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_does_not_fit_a_profile_is_refused(
    homes: Homes, field: str, body: Any, errcode: str
) -> None:
    alice = await homes.user()
    (await alice.put(profile(alice, field), body)).refused(400, errcode)


async def test_an_empty_name_is_no_name(homes: Homes) -> None:
    alice = await homes.user()
    for empty in ("", None):
        (await alice.put(profile(alice, "displayname"), {"displayname": "Alice"})).ok()
        (await alice.put(profile(alice, "displayname"), {"displayname": empty})).ok()
        assert (await alice.get(profile(alice, "displayname"))).ok() == {}


async def test_who_has_no_name_yet_is_asked_for_it_without_an_error(homes: Homes) -> None:
    alice, nobody = await homes.user(), homes.nobody()
    for field in ("displayname", "avatar_url"):
        assert (await nobody.get(profile(alice, field))).ok() == {}
        answer = await nobody.get(f"v3/profile/{quote('@nobody:test')}/{field}")
        answer.refused(404, "M_NOT_FOUND")


async def member_content(client: Client, room_id: str) -> Any:
    path = f"v3/rooms/{quote(room_id)}/state/m.room.member/{quote(client.user_id)}"
    return (await client.get(path)).ok()


async def test_a_new_name_is_shown_in_the_users_rooms(homes: Homes) -> None:
    alice = await homes.user()
    rooms = [await alice.create_room() for _ in range(2)]
    (await alice.put(profile(alice, "displayname"), {"displayname": "Alice"})).ok()
    (await alice.put(profile(alice, "avatar_url"), {"avatar_url": "mxc://test/a"})).ok()
    for room in rooms:
        content = await member_content(alice, room)
        assert (content["displayname"], content["avatar_url"]) == ("Alice", "mxc://test/a")
    (await alice.delete(profile(alice, "displayname"))).ok()
    assert "displayname" not in await member_content(alice, rooms[0])
    later = await alice.create_room()
    assert (await member_content(alice, later))["avatar_url"] == "mxc://test/a"


async def test_guests_may_change_their_name_only(homes: Homes) -> None:
    guest = homes.nobody()
    homes.log_in(guest, (await guest.post("v3/register", {}, kind="guest")).ok())
    (await guest.put(profile(guest, "displayname"), {"displayname": "Guest"})).ok()
    answer = await guest.put(profile(guest, "avatar_url"), {"avatar_url": "mxc://test/a"})
    answer.refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await guest.delete(profile(guest, "displayname"))).ok()


async def test_a_profile_may_be_nearly_64_kib(homes: Homes) -> None:
    alice = await homes.user()
    user_nid = await homes.services.names.users.get_nid(alice.user_id)
    await set_profile_field(homes.services.db, user_nid, "a.b", b'"' + b"a" * 32_000 + b'"', 65_534)
    (await alice.put(profile(alice, "c.d"), {"c.d": "c" * 33_500})).ok()
    (await alice.put(profile(alice, "e.f"), {"e.f": "e" * 30})).refused(400, "M_PROFILE_TOO_LARGE")
