"""State resolution, version 1."""

from hashlib import sha1

from federation.protocol.auth_events import JOIN_RULES, POWER_LEVELS, member_place
from federation.protocol.pdu import Pdu, StateKey
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room, resolve_branches

TOPIC: StateKey = ("m.room.topic", "")


def digest(event: Pdu) -> str:
    return sha1(event.event_id.encode()).hexdigest()


def test_what_only_one_state_has_is_not_in_conflict() -> None:
    room = Room.furnished("1")
    left, right = room.fork(), room.fork()
    left.member(BOB, "ban", by=ALICE)
    topic = right.topic("mine", by=BOB)
    assert resolve_branches(left, right) == left.state_ids | {TOPIC: topic.event_id}


def test_of_two_topics_the_deeper_one_wins() -> None:
    room = Room.furnished("1")
    left, right = room.fork(), room.fork()
    left.topic("shallow", depth=50)
    right.topic("deep", depth=51)
    assert resolve_branches(left, right) == right.state_ids


def test_of_equally_deep_topics_that_of_the_smaller_sha1_wins() -> None:
    room = Room.furnished("1")
    branches = [room.fork() for _ in range(5)]
    topics = [branch.topic("x", depth=50) for branch in branches]
    assert resolve_branches(*branches)[TOPIC] == min(topics, key=digest).event_id


def test_a_topic_that_is_not_allowed_gives_way() -> None:
    room = Room.furnished("1", users={BOB: 50})
    room.topic("old")
    left, right = room.fork(), room.fork()
    left.topic("of the banned", by=BOB)
    kept = right.topic("of Alice", depth=1)
    left.member(BOB, "ban", by=ALICE)
    assert resolve_branches(left, right)[TOPIC] == kept.event_id


def test_where_none_is_allowed_the_first_stays() -> None:
    room = Room.furnished("1")
    left, right = room.fork(), room.fork()
    first = left.topic("one", by=DAVE, depth=50)
    right.topic("two", by=DAVE, depth=51)
    assert resolve_branches(left, right)[TOPIC] == first.event_id


def test_power_levels_follow_each_other_until_one_is_not_allowed() -> None:
    room = Room.furnished("1", users={BOB: 50})
    branches = [room.fork() for _ in range(3)]
    users = {ALICE: 100, BOB: 50}
    branches[0].power_levels({"users": users | {CAROL: 50}}, depth=50)
    branches[1].power_levels({"users": users | {CAROL: 60}}, by=BOB, depth=51)
    branches[2].power_levels({"users": users | {CAROL: 70}}, depth=52)
    resolved = resolve_branches(*branches)
    assert resolved[POWER_LEVELS] == branches[0].state_ids[POWER_LEVELS]


def test_memberships_are_judged_by_the_resolved_join_rules() -> None:
    room = Room.furnished("1")
    room.member(DAVE, "join")
    left, right = room.fork(), room.fork()
    left.join_rule("invite")
    right.join_rule("public")
    left.member(DAVE, "leave")
    again = right.member(DAVE, "join")
    resolved = resolve_branches(left, right)
    assert resolved[JOIN_RULES] == right.state_ids[JOIN_RULES]
    assert resolved[member_place(DAVE)] == again.event_id
