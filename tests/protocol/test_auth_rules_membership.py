"""Rules for `m.room.member`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room

ALL = tuple(ROOM_VERSIONS)
FROM_7 = ALL[6:]
FROM_8 = ALL[7:]
FROM_10 = ALL[9:]


@pytest.fixture(params=ALL)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def room_with(version: str, membership: str | None, join_rule: str = "public") -> Room:
    """A room in which Bob (level 50) is joined and Carol has this membership."""
    room = Room.furnished(version, users={BOB: 50}, join_rule=join_rule, members=[BOB])
    if membership is not None:
        room.member(CAROL, membership, by=CAROL if membership in ("join", "knock") else ALICE)
    return room


# Format


def test_a_member_event_has_a_state_key_and_a_membership(version: str) -> None:
    room = Room.furnished(version)
    stateless = room.build("m.room.member", BOB, {"membership": "join"})
    assert room.verdict(stateless) == "member.format"
    assert room.verdict(room.build("m.room.member", BOB, {}, BOB)) == "member.format"


@pytest.mark.parametrize("membership", ["", "Join", "admin", None, 1, ["join"], {}])
def test_other_memberships_are_refused(version: str, membership: Any) -> None:
    assert Room.furnished(version).member_verdict(BOB, membership) == "member.membership"


# Joining


def test_the_creator_is_the_first_to_join(version: str) -> None:
    room = Room(version)
    assert room.member_verdict(BOB, "join") == "join.invited"
    assert room.member_verdict(ALICE, "join") is None


def test_the_creators_free_join_follows_the_create_event_only(version: str) -> None:
    room = Room(version)
    room.send("org.example.other", ALICE, {}, "")
    assert room.member_verdict(ALICE, "join") == "join.invited"


def test_an_additional_creator_has_no_free_join() -> None:
    room = Room("12", content={"additional_creators": [BOB]})
    assert room.member_verdict(BOB, "join") == "join.invited"


@pytest.mark.parametrize("membership", [None, "invite", "join", "leave"])
def test_anybody_may_join_a_public_room(version: str, membership: str | None) -> None:
    assert room_with(version, membership).member_verdict(CAROL, "join") is None


@pytest.mark.parametrize("join_rule", ["public", "invite", "knock", "restricted"])
def test_the_banned_do_not_join(version: str, join_rule: str) -> None:
    assert room_with(version, "ban", join_rule).member_verdict(CAROL, "join") == "join.banned"


def test_nobody_joins_for_another(version: str) -> None:
    assert room_with(version, None).member_verdict(CAROL, "join", by=ALICE) == "join.own"


@pytest.mark.parametrize("membership", [None, "leave", "invite", "join"])
def test_an_invite_room_lets_the_invited_in(version: str, membership: str | None) -> None:
    expected = None if membership in ("invite", "join") else "join.invited"
    assert room_with(version, membership, "invite").member_verdict(CAROL, "join") == expected


def test_a_room_without_join_rules_is_an_invite_room(version: str) -> None:
    room = Room(version)
    room.member(ALICE, "join")
    assert room.member_verdict(BOB, "join") == "join.invited"
    room.member(BOB, "invite", by=ALICE)
    assert room.member_verdict(BOB, "join") is None


@pytest.mark.parametrize(
    ("join_rule", "since"), [("knock", 7), ("restricted", 8), ("knock_restricted", 10)]
)
def test_newer_join_rules_let_the_invited_in_since_their_version(
    version: str, join_rule: str, since: int
) -> None:
    expected = None if int(version) >= since else "join.rule"
    assert room_with(version, "invite", join_rule).member_verdict(CAROL, "join") == expected


@pytest.mark.parametrize("join_rule", ["private", "unknown"])
def test_unknown_join_rules_let_nobody_in(version: str, join_rule: str) -> None:
    assert room_with(version, "invite", join_rule).member_verdict(CAROL, "join") == "join.rule"


@pytest.mark.parametrize(
    ("version", "join_rule"),
    [(v, "restricted") for v in FROM_8] + [(v, "knock_restricted") for v in FROM_10],
)
def test_a_restricted_join_needs_a_joined_user_who_may_invite(version: str, join_rule: str) -> None:
    room = room_with(version, None, join_rule)

    def join(**content: Any) -> str | None:
        return room.member_verdict(CAROL, "join", **content)

    assert join() == "join.restricted"
    assert join(join_authorised_via_users_server=[BOB]) == "join.restricted"
    assert join(join_authorised_via_users_server=DAVE) == "join.restricted.joined"
    assert join(join_authorised_via_users_server=BOB) is None
    room.power_levels({"users": {BOB: 50}, "invite": 60})
    assert join(join_authorised_via_users_server=BOB) == "join.restricted.level"


@pytest.mark.parametrize("version", FROM_8)
def test_members_of_a_restricted_room_change_their_profile_freely(version: str) -> None:
    room = room_with(version, "join", "restricted")
    assert room.member_verdict(CAROL, "join", displayname="Carol") is None


# Inviting


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        (None, None),
        ("leave", None),
        ("invite", None),
        ("knock", None),
        ("join", "invite.target"),
        ("ban", "invite.target"),
    ],
)
def test_who_is_outside_may_be_invited(
    version: str, membership: str | None, expected: str | None
) -> None:
    assert room_with(version, membership).member_verdict(CAROL, "invite", by=BOB) == expected


def test_only_members_with_the_level_invite(version: str) -> None:
    room = room_with(version, None)
    assert room.member_verdict(CAROL, "invite", by=DAVE) == "invite.joined"
    room.power_levels({"users": {BOB: 50}, "invite": 51})
    assert room.member_verdict(CAROL, "invite", by=BOB) == "invite.level"


# Leaving, kicking, unbanning


@pytest.mark.parametrize("membership", [None, "invite", "join", "knock", "leave", "ban"])
def test_who_is_in_or_on_the_way_in_may_leave(version: str, membership: str | None) -> None:
    expected = None if membership in ("invite", "join", "knock") else "leave.own"
    assert room_with(version, membership).member_verdict(CAROL, "leave") == expected


def test_kicking_needs_membership_level_and_rank(version: str) -> None:
    room = room_with(version, "join")
    assert room.member_verdict(CAROL, "leave", by=DAVE) == "leave.joined"
    assert room.member_verdict(BOB, "leave", by=CAROL) == "leave.kick"
    assert room.member_verdict(CAROL, "leave", by=BOB) is None
    assert room.member_verdict(ALICE, "leave", by=BOB) == "leave.rank"


def test_unbanning_needs_the_levels_of_ban_and_kick(version: str) -> None:
    room = room_with(version, "ban")
    assert room.member_verdict(CAROL, "leave", by=BOB) is None
    room.power_levels({"users": {BOB: 50}, "ban": 60})
    assert room.member_verdict(CAROL, "leave", by=BOB) == "leave.unban"
    room.power_levels({"users": {BOB: 50}, "kick": 60})
    assert room.member_verdict(CAROL, "leave", by=BOB) == "leave.kick"


# Banning


def test_banning_needs_membership_level_and_rank(version: str) -> None:
    room = room_with(version, "join")
    assert room.member_verdict(CAROL, "ban", by=DAVE) == "ban.joined"
    assert room.member_verdict(BOB, "ban", by=CAROL) == "ban.level"
    assert room.member_verdict(CAROL, "ban", by=BOB) is None
    assert room.member_verdict(DAVE, "ban", by=BOB) is None
    assert room.member_verdict(ALICE, "ban", by=BOB) == "ban.rank"


def test_creators_do_not_remove_each_other() -> None:
    room = Room("12", content={"additional_creators": [BOB]})
    room.member(ALICE, "join")
    room.member(BOB, "join")
    assert room.member_verdict(BOB, "leave", by=ALICE) == "leave.rank"
    assert room.member_verdict(ALICE, "ban", by=BOB) == "ban.rank"


# Knocking


@pytest.mark.parametrize("join_rule", ["knock", "knock_restricted", "invite", "public"])
def test_rooms_with_the_join_rule_take_knocks(version: str, join_rule: str) -> None:
    since = {"knock": 7, "knock_restricted": 10}.get(join_rule, 99)
    expected = None if int(version) >= since else "knock.rule"
    expected = expected if int(version) >= 7 else "member.membership"
    assert room_with(version, None, join_rule).member_verdict(CAROL, "knock") == expected


@pytest.mark.parametrize("version", FROM_7)
@pytest.mark.parametrize("membership", ["knock", "leave", "invite", "join", "ban"])
def test_who_is_invited_joined_or_banned_does_not_knock(version: str, membership: str) -> None:
    room = room_with(version, membership, "knock")
    expected = None if membership in ("knock", "leave") else "knock.membership"
    assert room.member_verdict(CAROL, "knock") == expected


@pytest.mark.parametrize("version", FROM_7)
def test_nobody_knocks_for_another(version: str) -> None:
    assert room_with(version, None, "knock").member_verdict(CAROL, "knock", by=BOB) == "knock.own"


# Properties

levels = st.integers(-10, 110)


@given(
    version=st.sampled_from(ALL),
    by=levels,
    of=levels,
    kick=levels,
    ban=levels,
    action=st.sampled_from(["leave", "ban"]),
    before=st.sampled_from(["join", "invite", "ban", "leave"]),
)
def test_nobody_removes_an_equal(
    version: str, by: int, of: int, kick: int, ban: int, action: str, before: str
) -> None:
    room = Room.furnished(version, members=[BOB])
    room.member(CAROL, before, by=CAROL if before == "join" else ALICE)
    room.power_levels({"users": {BOB: by, CAROL: of}, "kick": kick, "ban": ban})
    if room.member_verdict(CAROL, action, by=BOB) is None:
        assert by > of
        assert by >= (kick if action == "leave" else ban)
