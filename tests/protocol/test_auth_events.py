"""Auth events selection."""

from typing import Any

import pytest

from federation.protocol.auth_events import (
    CREATE,
    JOIN_RULES,
    POWER_LEVELS,
    auth_event_places,
    member_place,
)
from federation.protocol.pdu import StateKey
from federation.protocol.room_versions import ROOM_VERSIONS, get_room_version
from tests.room_factory import ALICE, BOB, CAROL

ALL = tuple(ROOM_VERSIONS)


def places(
    event_type: str, state_key: str | None, content: dict[str, Any], version: str = "11"
) -> list[StateKey]:
    found = auth_event_places(event_type, state_key, ALICE, content, get_room_version(version))
    assert len(found) == len(set(found))
    return found


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_cites_nothing(version: str) -> None:
    assert places("m.room.create", "", {}, version) == []


@pytest.mark.parametrize("version", ALL)
def test_a_message_cites_create_power_levels_and_its_sender(version: str) -> None:
    expected = {CREATE, POWER_LEVELS, member_place(ALICE)}
    if version == "12":
        expected.remove(CREATE)
    assert set(places("m.room.message", None, {}, version)) == expected


@pytest.mark.parametrize("membership", ["join", "invite", "knock", "leave", "ban"])
def test_memberships_cite_the_target_and_those_that_enter_the_join_rules(membership: str) -> None:
    found = places("m.room.member", BOB, {"membership": membership})
    assert member_place(BOB) in found
    assert (JOIN_RULES in found) == (membership in ("join", "invite", "knock"))


def test_only_a_member_event_cites_its_target() -> None:
    assert member_place(BOB) not in places("org.example.state", BOB, {"membership": "join"})


@pytest.mark.parametrize("version", ALL)
def test_a_restricted_join_cites_who_let_the_user_in(version: str) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}
    cited = member_place(CAROL) in places("m.room.member", ALICE, content, version)
    assert cited == (int(version) >= 8)


def test_a_redeemed_invite_cites_the_third_party_invite() -> None:
    content = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    assert ("m.room.third_party_invite", "t") in places("m.room.member", BOB, content)
    leave = content | {"membership": "leave"}
    assert ("m.room.third_party_invite", "t") not in places("m.room.member", BOB, leave)


@pytest.mark.parametrize(
    "content",
    [
        {"membership": ["join"]},
        {"membership": "invite", "third_party_invite": []},
        {"membership": "invite", "third_party_invite": {"signed": {"token": {}}}},
        {"membership": "join", "join_authorised_via_users_server": [CAROL]},
        {"membership": "join", "join_authorised_via_users_server": ALICE},
    ],
)
def test_malformed_content_adds_no_place(content: dict[str, Any]) -> None:
    base = {CREATE, POWER_LEVELS, JOIN_RULES, member_place(ALICE), member_place(BOB)}
    assert set(places("m.room.member", BOB, content)) <= base
