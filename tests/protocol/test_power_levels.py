"""Power levels as their event, or its absence, gives them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.power_levels import INFINITE, PowerLevels, find_level, room_creators
from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import ALICE, BOB, CAROL, Room

ALL = tuple(ROOM_VERSIONS)
BEFORE_12 = ALL[:11]


def power(content: dict[str, Any] | None, version: str = "11") -> PowerLevels:
    return PowerLevels(content, Room(version).create)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("content", [None, {}])
def test_absent_levels_have_the_defaults_of_the_specification(
    version: str, content: dict[str, Any] | None
) -> None:
    levels = power(content, version)
    assert (levels.ban, levels.kick, levels.redact, levels.invite) == (50, 50, 50, 0)
    assert (levels.events_default, levels.state_default, levels.users_default) == (0, 50, 0)
    assert levels.required_for("m.room.message", is_state=False) == 0
    assert levels.required_for("m.room.topic", is_state=True) == 50
    assert levels.notification("room") == 50
    assert levels.of(BOB) == 0


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_creator_has_100_until_there_are_power_levels(version: str) -> None:
    assert power(None, version).of(ALICE) == 100
    assert power({}, version).of(ALICE) == 0


def test_creators_of_version_12_stand_above_every_level() -> None:
    room = Room("12", content={"additional_creators": [BOB]})
    for content in (None, {}, {"users": {CAROL: 2**53 - 1}}):
        levels = PowerLevels(content, room.create)
        assert levels.of(ALICE) == levels.of(BOB) == INFINITE
        assert levels.of(CAROL) < INFINITE
    assert room_creators(room.create) == {ALICE, BOB}


def test_the_creator_is_named_in_the_content_until_version_10_and_is_the_sender_after() -> None:
    assert room_creators(Room("10", content={"creator": BOB}).create) == {BOB}
    assert room_creators(Room("11", content={"creator": BOB}).create) == {ALICE}


def test_what_the_event_says_holds() -> None:
    levels = power(
        {
            "users": {BOB: 30},
            "users_default": 10,
            "events": {"m.room.topic": 20},
            "state_default": 40,
            "events_default": 5,
            "notifications": {"room": 60},
            "ban": 1,
        }
    )
    assert (levels.of(BOB), levels.of(CAROL), levels.ban) == (30, 10, 1)
    assert levels.required_for("m.room.topic", is_state=True) == 20
    assert levels.required_for("m.room.name", is_state=True) == 40
    assert levels.required_for("m.room.message", is_state=False) == 5
    assert levels.notification("room") == 60


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("100", 100),
        ("000100", 100),
        ("+100", 100),
        ("-100", -100),
        (" \t-00100 \n", -100),
        (50.57, 50),
        (-50.57, -50),
        (5.114698e4, 51146),
        ("50.5", None),
        ("1_000", None),
        ("+-1", None),
        ("- 1", None),
        ("", None),
        ("٣", None),
        (True, None),
        (None, None),
        ([], None),
        (float("inf"), None),
        (float("nan"), None),
        ("9" * 5000, None),
    ],
)
def test_old_rooms_read_strings_and_floats_as_levels(value: object, level: int | None) -> None:
    assert find_level(value, integers_only=False) == level


@given(st.integers())
def test_every_integer_is_a_level_and_so_is_its_string(level: int) -> None:
    assert find_level(level, integers_only=True) == level
    assert find_level(f" {level:+} ", integers_only=False) == level
    assert find_level(str(level), integers_only=True) is None


def test_what_cannot_be_read_counts_as_absent() -> None:
    levels = power({"ban": "60", "users": [], "events": {"m.x": "1"}, "users_default": 7})
    assert levels.ban == 50
    assert levels.of(BOB) == 7
    assert levels.required_for("m.x", is_state=False) == 0
    assert power({"ban": "60"}, "9").ban == 60
