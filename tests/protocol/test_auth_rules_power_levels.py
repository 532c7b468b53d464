"""Rules for `m.room.power_levels`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.power_levels import LEVEL_DEFAULTS, PowerLevels
from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room

ALL = tuple(ROOM_VERSIONS)
BEFORE_10 = ALL[:9]
FROM_10 = ALL[9:]

NOT_INTEGERS = ["50", 50.0, None, True, [], {}]


@pytest.fixture(params=ALL)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fresh_room(version: str) -> Room:
    """A room without power levels."""
    room = Room(version)
    room.member(ALICE, "join")
    return room


def first(version: str, content: dict[str, Any]) -> str | None:
    room = fresh_room(version)
    return room.verdict(room.build("m.room.power_levels", ALICE, content, ""))


def change(room: Room, content: dict[str, Any], *, by: str = BOB) -> str | None:
    return room.verdict(room.build("m.room.power_levels", by, content, ""))


def room_of(version: str, **content: Any) -> tuple[Room, dict[str, Any]]:
    """A room in which Bob has level 50 and may change power levels, and its content."""
    room = Room.furnished(version, members=[BOB, CAROL, DAVE])
    founder = {} if room.version.privileged_creators else {ALICE: 100}
    users = founder | {BOB: 50} | content.pop("users", {})
    content = {"users": users, **content}
    room.power_levels(content)
    return room, content


# Format


@pytest.mark.parametrize("version", FROM_10)
@pytest.mark.parametrize("name", sorted(LEVEL_DEFAULTS))
@pytest.mark.parametrize("value", NOT_INTEGERS)
def test_levels_are_integers_since_version_10(version: str, name: str, value: object) -> None:
    assert first(version, {name: value}) == "power_levels.format"


@pytest.mark.parametrize("version", FROM_10)
@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize("value", [[], None, 5, "x", {"m.x": "50"}, {"m.x": None}, {"m.x": True}])
def test_objects_hold_integers_since_version_10(version: str, name: str, value: object) -> None:
    assert first(version, {name: value}) == "power_levels.format"


@pytest.mark.parametrize("value", ["50", " -07 ", 50.7])
def test_users_may_have_strings_and_floats_before_version_10(version: str, value: object) -> None:
    expected = None if version in BEFORE_10 else "power_levels.users"
    assert first(version, {"users": {BOB: value}}) == expected


@pytest.mark.parametrize("users", [[], None, "x", {BOB: None}, {BOB: "x"}, {BOB: True}, {BOB: {}}])
def test_users_have_levels(version: str, users: object) -> None:
    assert first(version, {"users": users}) == "power_levels.users"


@pytest.mark.parametrize("user_id", ["bob", "@bob", "bob:hub.example", "", "#b:hub.example"])
def test_users_are_user_ids(version: str, user_id: str) -> None:
    assert first(version, {"users": {user_id: 1}}) == "power_levels.users"


@pytest.mark.parametrize("content", [{"ban": float("inf")}, {"events": {"m.x": float("-inf")}}])
def test_floats_out_of_range_are_refused(version: str, content: dict[str, Any]) -> None:
    assert first(version, content) == "power_levels.format"


def test_the_first_power_levels_may_be_any(version: str) -> None:
    assert first(version, {"users": {BOB: 1000}, "ban": 2000, "events": {"m.x": 3000}}) is None
    assert first(version, {}) is None


def test_creators_of_version_12_are_not_among_the_users() -> None:
    room = Room("12", content={"additional_creators": [BOB]})
    room.member(ALICE, "join")
    for creator in (ALICE, BOB):
        assert change(room, {"users": {creator: 100}}, by=ALICE) == "power_levels.creators"
    assert change(room, {"users": {CAROL: 100}}, by=ALICE) is None


# Who may send them


def test_changing_power_levels_needs_their_level(version: str) -> None:
    room, content = room_of(version, events={"m.room.power_levels": 51})
    assert change(room, content) == "level"


# Top-level properties and objects


@pytest.mark.parametrize("name", sorted(LEVEL_DEFAULTS))
def test_a_level_above_the_senders_is_neither_given_nor_taken(version: str, name: str) -> None:
    low = {"state_default": 50} | {name: 50}
    room, content = room_of(version, **low)
    assert change(room, content | {name: 51}) == "power_levels.new"
    assert change(room, content | {name: 49}) is None
    assert change(room, {k: v for k, v in content.items() if k != name}) is None
    events = {"events": {"m.room.power_levels": 0}}
    room, content = room_of(version, **(low | {name: 51} | events))
    assert change(room, content | {name: 50}) == "power_levels.current"
    removed = {k: v for k, v in content.items() if k != name}
    assert change(room, removed) == "power_levels.current"
    assert change(room, content) is None


@pytest.mark.parametrize("name", ["events", "notifications"])
def test_entries_above_the_senders_level_are_neither_given_nor_taken(
    version: str, name: str
) -> None:
    free = name == "notifications" and int(version) < 6
    room, content = room_of(version, **{name: {"m.low": 50, "m.high": 51}})

    def with_entries(**entries: int) -> dict[str, Any]:
        return content | {name: {key.replace("_", "."): v for key, v in entries.items()}}

    def expect(rule: str) -> str | None:
        return None if free else rule

    assert change(room, with_entries(m_low=1, m_high=51)) is None
    assert change(room, with_entries(m_high=51)) is None
    assert change(room, with_entries(m_low=50, m_high=51, m_new=50)) is None
    assert change(room, with_entries(m_low=51, m_high=51)) == expect("power_levels.new")
    assert change(room, with_entries(m_low=50, m_high=51, m_new=51)) == expect("power_levels.new")
    assert change(room, with_entries(m_low=50, m_high=50)) == expect("power_levels.current")
    assert change(room, with_entries(m_low=50)) == expect("power_levels.current")
    assert change(room, {k: v for k, v in content.items() if k != name}) == expect(
        "power_levels.current"
    )


# Users


def test_users_below_the_sender_are_moved_up_to_the_senders_level(version: str) -> None:
    room, content = room_of(version, users={CAROL: 49})

    def with_users(**users: int) -> dict[str, Any]:
        return content | {
            "users": content["users"] | {f"@{n}:leaf.example": v for n, v in users.items()}
        }

    assert change(room, with_users(carol=50)) is None
    assert change(room, with_users(carol=0)) is None
    assert change(room, with_users(carol=49, dave=50)) is None
    assert change(room, with_users(carol=51)) == "power_levels.new"
    assert change(room, with_users(carol=49, dave=51)) == "power_levels.new"


@pytest.mark.parametrize("level", [50, 51])
def test_users_of_the_senders_rank_are_not_touched(version: str, level: int) -> None:
    room, content = room_of(version, users={CAROL: level})
    lowered = content | {"users": content["users"] | {CAROL: 0}}
    assert change(room, lowered) == "power_levels.rank"
    removed = {user: v for user, v in content["users"].items() if user != CAROL}
    assert change(room, content | {"users": removed}) == "power_levels.rank"


def test_the_sender_may_step_down_but_not_up(version: str) -> None:
    room, content = room_of(version)
    users = content["users"]
    assert change(room, content | {"users": users | {BOB: 10}}) is None
    without = {user: level for user, level in users.items() if user != BOB}
    assert change(room, content | {"users": without}) is None
    assert change(room, content | {"users": users | {BOB: 51}}) == "power_levels.new"


def test_the_creator_of_version_12_changes_everybody() -> None:
    room, _ = room_of("12", users={CAROL: 2**53 - 1}, ban=2**53 - 1)
    assert change(room, {"users": {DAVE: 2**53 - 1}}, by=ALICE) is None


# Strings


@pytest.mark.parametrize("version", BEFORE_10)
def test_a_level_written_differently_is_the_same_level(version: str) -> None:
    room, content = room_of(version, ban="100", events={"m.x": " 0100 "})
    assert change(room, content | {"ban": 100, "events": {"m.x": "+100"}}) is None
    assert change(room, content | {"ban": "99", "events": {"m.x": "+100"}}) is not None


@pytest.mark.parametrize("version", BEFORE_10)
@pytest.mark.parametrize("value", ["x", [], {}, "1.5"])
def test_a_new_level_can_be_read(version: str, value: object) -> None:
    room, content = room_of(version)
    assert change(room, content | {"kick": value}) == "power_levels.format"
    assert change(room, content | {"events": {"m.x": value}}) == "power_levels.format"


# Properties

small = st.integers(-5, 105)
contents = st.fixed_dictionaries(
    {
        "users": st.dictionaries(st.sampled_from([CAROL, DAVE]), small),
        "events": st.dictionaries(st.sampled_from(["m.a", "m.b", "m.room.power_levels"]), small),
    },
    optional=dict.fromkeys(LEVEL_DEFAULTS, small),
)


@given(version=st.sampled_from(ALL), old=contents, new=contents)
def test_nobody_rises_above_the_sender(
    version: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    room = Room.furnished(version, members=[BOB, CAROL, DAVE])
    old["users"][BOB] = new["users"][BOB] = 50
    before = PowerLevels(room.power_levels(old).content, room.create)
    if change(room, new) is None:
        after = PowerLevels(new, room.create)
        for user in (CAROL, DAVE):
            given_level = new["users"].get(user)
            assert given_level is None or after.of(user) <= max(50, before.of(user))
        assert before.required_for("m.room.power_levels", is_state=True) <= 50
