"""What our users ask of other servers' users."""

from urllib.parse import quote

from tests.federation.played import PlayedServer, always
from tests.federation.sides import Side

PROFILE = "/_matrix/federation/v1/query/profile"


def path_of(user_id: str, field: str = "") -> str:
    return f"v3/profile/{quote(user_id)}" + (f"/{field}" if field else "")


async def test_a_profile_is_asked_of_the_users_server_once(
    home: Side, played: PlayedServer
) -> None:
    nobody, rem = home.client(), played.user("rem")
    told = {"displayname": "Rem", "avatar_url": None, "m.tz": "Asia/Tokyo", "org.example.x": None}
    played.answer(PROFILE, lambda _body: told)
    shown = {"displayname": "Rem", "m.tz": "Asia/Tokyo", "org.example.x": None}
    assert (await nobody.get(path_of(rem))).ok() == shown
    assert (await nobody.get(path_of(rem, "displayname"))).ok() == {"displayname": "Rem"}
    assert (await nobody.get(path_of(rem, "m.tz"))).ok() == {"m.tz": "Asia/Tokyo"}
    assert (await nobody.get(path_of(rem, "avatar_url"))).ok() == {}
    (await nobody.get(path_of(rem, "org.example.y"))).refused(404, "M_NOT_FOUND")
    (seen,) = played.asked(PROFILE)
    assert seen.target == f"{PROFILE}?user_id={quote(rem, safe='')}"


async def test_what_the_server_refuses_is_refused(home: Side, played: PlayedServer) -> None:
    nobody, rem = home.client(), played.user("rem")
    for status, errcode in ((404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")):
        played.answer(PROFILE, always((status, {"errcode": errcode, "error": "x"})))
        (await nobody.get(path_of(rem))).refused(status, errcode)
    played.answer(PROFILE, lambda _body: [])
    (await nobody.get(path_of(rem))).refused(502, "M_UNKNOWN")
    (await nobody.get(path_of("@rem:127.0.0.1:1"))).refused(504, "M_UNKNOWN")


async def test_a_number_beyond_64_bits_in_a_profile_is_told(
    home: Side, played: PlayedServer
) -> None:
    nobody, rem = home.client(), played.user("rem")
    played.answer(PROFILE, lambda _body: {"displayname": "Rem", "org.example.n": 10**30})
    for _ in range(2):
        told = (await nobody.get(path_of(rem))).ok()
        assert told == {"displayname": "Rem", "org.example.n": 1e30}
