"""State resolution, versions 2 and 2.1: known situations, told as two branches of a room."""

from typing import Any

import pytest

from federation.protocol.auth_events import JOIN_RULES, POWER_LEVELS, member_place
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import ROOM_VERSIONS
from federation.protocol.state_resolution.known_events import Loaded
from federation.protocol.state_resolution.resolve import resolve, resolve_among
from federation.protocol.state_resolution.v2 import is_power_event
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room, resolve_branches, resolve_states

FROM_2 = tuple(ROOM_VERSIONS)[1:]
V2 = FROM_2[:10]
TOPIC: StateKey = ("m.room.topic", "")


@pytest.fixture(params=FROM_2)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def grant(room: Room, *, by: str = ALICE, **users: int) -> Pdu:
    """Power levels with Alice's of 100 (where she needs one) and these."""
    names = {"bob": BOB, "carol": CAROL, "dave": DAVE}
    founder = {} if room.version.privileged_creators else {ALICE: 100}
    content = {"users": founder | {names[name]: level for name, level in users.items()}}
    return room.power_levels(content, by=by)


def test_states_that_agree_are_the_result(version: str) -> None:
    room = Room.furnished(version)
    assert resolve_branches(room, room.fork()) == room.state_ids
    assert resolve_branches(room) == room.state_ids


def test_what_happened_on_one_branch_only_is_kept(version: str) -> None:
    room = Room.furnished(version)
    left, right = room.fork(), room.fork()
    topic = left.topic("here")
    joined = right.member(DAVE, "join")
    resolved = resolve_branches(left, right)
    assert resolved == room.state_ids | {
        TOPIC: topic.event_id,
        member_place(DAVE): joined.event_id,
    }


def test_of_two_topics_the_later_one_wins(version: str) -> None:
    room = Room.furnished(version)
    left, right = room.fork(), room.fork()
    left.topic("late", origin_server_ts=2000)
    right.topic("early", origin_server_ts=1000)
    assert resolve_branches(left, right) == left.state_ids


def test_a_ban_beats_power_levels_set_by_the_banned(version: str) -> None:
    room = Room.furnished(version)
    granted = grant(room, bob=50)
    left, right = room.fork(), room.fork()
    left.member(ALICE, "join")
    ban = left.member(BOB, "ban", by=ALICE)
    grant(right, by=BOB, bob=50, carol=50)
    resolved = resolve_branches(left, right)
    assert resolved[POWER_LEVELS] == granted.event_id
    assert resolved[member_place(BOB)] == ban.event_id


def test_joining_does_not_evade_a_join_rule(version: str) -> None:
    room = Room.furnished(version)
    left, right = room.fork(), room.fork()
    closed = left.join_rule("invite")
    right.member(DAVE, "join")
    resolved = resolve_branches(left, right)
    assert resolved[JOIN_RULES] == closed.event_id
    assert member_place(DAVE) not in resolved


def test_a_longer_chain_of_power_levels_beats_its_own_beginning(version: str) -> None:
    room = Room.furnished(version)
    grant(room, bob=50)
    left, right = room.fork(), room.fork()
    grant(left, by=BOB, bob=50, carol=50)
    last = grant(left, by=CAROL, bob=50)
    assert resolve_branches(left, right)[POWER_LEVELS] == last.event_id


def test_taking_power_away_beats_what_is_done_with_it(version: str) -> None:
    room = Room.furnished(version)
    room.topic("first")
    grant(room, bob=50)
    left, right = room.fork(), room.fork()
    topic = left.topic("second")
    demotion = grant(left, bob=0)
    grant(right, by=BOB, bob=50)
    right.topic("third", by=BOB)
    resolved = resolve_branches(left, right)
    assert resolved[POWER_LEVELS] == demotion.event_id
    assert resolved[TOPIC] == topic.event_id


def test_a_topic_of_the_banned_is_reset_when_the_other_branch_never_had_it(version: str) -> None:
    room = Room.furnished(version)
    first = room.topic("first")
    left, right = room.fork(), room.fork()
    granted = grant(left, bob=50)
    left.topic("second", by=BOB)
    ban = left.member(BOB, "ban", by=ALICE)
    resolved = resolve_branches(left, right)
    assert resolved[TOPIC] == first.event_id
    assert resolved[member_place(BOB)] == ban.event_id
    assert resolved[POWER_LEVELS] == granted.event_id


def test_the_topic_that_rests_on_the_newest_power_levels_wins(version: str) -> None:
    room = Room.furnished(version)
    room.topic("first")
    grant(room, bob=50)
    left, right = room.fork(), room.fork()
    left.topic("second")
    demotion = grant(left, bob=0)
    topic = left.topic("fourth", origin_server_ts=1)
    grant(right, by=BOB, bob=50)
    right.topic("third", by=BOB, origin_server_ts=10_000)
    resolved = resolve_branches(left, right)
    assert resolved[POWER_LEVELS] == demotion.event_id
    assert resolved[TOPIC] == topic.event_id


def test_of_mutual_bans_that_of_the_mightier_holds(version: str) -> None:
    room = Room.furnished(version)
    grant(room, bob=60, carol=50, dave=50)
    room.member(DAVE, "join")
    left, right = room.fork(), room.fork()
    left.member(CAROL, "ban", by=BOB)
    right.member(DAVE, "ban", by=CAROL)
    resolved = resolve_branches(left, right)
    assert resolved[member_place(CAROL)] == left.state_ids[member_place(CAROL)]
    assert resolved[member_place(DAVE)] == room.state_ids[member_place(DAVE)]


def test_three_branches_merge_as_one(version: str) -> None:
    room = Room.furnished(version)
    branches = [room.fork() for _ in range(3)]
    joined = [b.member(f"@user{i}:hub.example", "join") for i, b in enumerate(branches)]
    resolved = resolve_branches(*branches)
    assert resolved == room.state_ids | {e.state_place: e.event_id for e in joined}


# What version 2.1 mends (MSC4297)


def late_join(version: str) -> tuple[Room, list[dict[StateKey, EventId]]]:
    """Bob joined while the room was public; one of two states of the now closed room lacks him."""
    room = Room(version)
    room.member(ALICE, "join")
    grant(room)
    room.join_rule("public")
    for user in (BOB, CAROL):
        room.member(user, "join")
    room.join_rule("invite")
    without_bob = {k: v for k, v in room.state_ids.items() if k != member_place(BOB)}
    return room, [room.state_ids, without_bob]


@pytest.mark.parametrize("version", V2)
def test_version_2_judges_an_old_join_by_the_present_join_rule(version: str) -> None:
    room, states = late_join(version)
    assert member_place(BOB) not in resolve_states(room, states)


def test_version_2_1_judges_an_old_join_by_the_join_rule_it_met() -> None:
    room, states = late_join("12")
    assert resolve_states(room, states) == room.state_ids


def test_version_2_1_replays_what_lies_between_conflicted_events() -> None:
    room = Room.furnished("12")
    first = grant(room, carol=50)
    grant(room, bob=100, carol=50)
    room.member(DAVE, "join")
    last = grant(room, by=BOB, bob=100)
    states = [room.state_ids, room.state_ids | {POWER_LEVELS: first.event_id}]
    assert resolve_states(room, states)[POWER_LEVELS] == last.event_id
    without_subgraph = resolve_among(room.events, resolve(room.version, states))
    assert without_subgraph[POWER_LEVELS] == first.event_id


# Details


def test_a_rejected_auth_event_vouches_for_nothing() -> None:
    room = Room.furnished("12")
    seizure = room.build("m.room.power_levels", BOB, {"users": {BOB: 100}}, "")
    room.events[seizure.event_id] = seizure
    bob = room.state_ids[member_place(BOB)]
    topic = room.build("m.room.topic", BOB, {}, "", auth_events=[bob, seizure.event_id])
    room.events[topic.event_id] = topic
    states = [room.state_ids, room.state_ids | {TOPIC: topic.event_id}]
    resolved = resolve_among(room.events, resolve(room.version, states), {seizure.event_id})
    assert TOPIC not in resolved
    assert TOPIC in resolve_among(room.events, resolve(room.version, states))


def test_events_that_are_not_to_be_had_are_passed_over(version: str) -> None:
    room = Room.furnished(version)
    left, right = room.fork(), room.fork()
    topic = left.topic("lost")
    right.member(DAVE, "join")
    del room.events[topic.event_id]
    assert resolve_branches(left, right) == right.state_ids


def test_circular_auth_events_end() -> None:
    room = Room.furnished("2")
    left, right = room.fork(), room.fork()
    left.power_levels({"users": {ALICE: 100}}, event_id="$a", auth_events=["$b"])
    right.power_levels({"users": {ALICE: 100}}, event_id="$b", auth_events=["$a"])
    left.topic("round")
    resolved = resolve_branches(left, right)
    assert POWER_LEVELS not in resolved


@pytest.mark.parametrize(
    ("event_type", "state_key", "content", "expected"),
    [
        ("m.room.power_levels", "", {}, True),
        ("m.room.join_rules", "", {}, True),
        ("m.room.join_rules", "x", {}, False),
        ("m.room.member", BOB, {"membership": "ban"}, True),
        ("m.room.member", BOB, {"membership": "leave"}, True),
        ("m.room.member", ALICE, {"membership": "leave"}, False),
        ("m.room.member", BOB, {"membership": "invite"}, False),
        ("m.room.topic", "", {}, False),
    ],
)
def test_power_events_are_those_that_may_take_power_away(
    event_type: str, state_key: str, content: dict[str, Any], expected: bool
) -> None:
    assert is_power_event(Room().build(event_type, ALICE, content, state_key)) == expected


def test_only_conflicted_events_and_what_they_rest_on_are_asked_for(version: str) -> None:
    room = Room.furnished(version)
    for number in range(50):
        room.member(f"@user{number}:hub.example", "join")
    left, right = room.fork(), room.fork()
    topics = {left.topic("a").event_id, right.topic("b").event_id}
    asked: set[EventId] = set()

    class Watched(dict[EventId, Pdu]):
        def __contains__(self, key: object) -> bool:
            asked.add(EventId(str(key)))
            return super().__contains__(key)

    states = [left.state_ids, right.state_ids]
    resolve_among(Watched(room.events), resolve(room.version, states))
    places = (("m.room.create", ""), POWER_LEVELS, member_place(ALICE))
    assert asked == topics | {room.state_ids[place] for place in places}


def test_a_long_history_of_power_levels_is_read_only_as_far_as_the_conflict_reaches(
    version: str,
) -> None:
    room = Room.furnished(version)
    for level in range(1, 41):
        grant(room, bob=level)
    left, right = room.fork(), room.fork()
    grant(left, bob=50)
    left.topic("of the left")
    grant(right, bob=60)
    right.topic("of the right")
    events = {**left.events, **right.events}
    states = [left.state_ids, right.state_ids]
    asked: set[EventId] = set()
    resolution = resolve(room.version, states)
    try:
        wanted = next(resolution)
        while True:
            asked |= wanted
            wanted = resolution.send(Loaded({i: events[i] for i in wanted}))
    except StopIteration as done:
        resolved = done.value
    assert resolved == resolve_among(events, resolve(room.version, states))
    assert sum(events[i].type == "m.room.power_levels" for i in asked) <= 4
