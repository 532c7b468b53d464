"""The authorisation rules as a whole, and those for events without rules of their own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.auth_rules.general import check_auth, check_auth_events
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed, Forbidden
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room

ALL = tuple(ROOM_VERSIONS)
BEFORE_12 = ALL[:11]


@pytest.fixture(params=ALL)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def auth_events_verdict(room: Room, event: Pdu, auth_events: list[Pdu]) -> str | None:
    try:
        check_auth_events(event, auth_events)
    except AuthRuleFailed as failure:
        return failure.rule
    return None


# Sending


def test_members_send_messages_and_others_do_not(version: str) -> None:
    room = Room.furnished(version)
    assert room.verdict(room.build("m.room.message", BOB)) is None
    assert room.verdict(room.build("m.room.message", DAVE)) == "sender.joined"
    room.member(BOB, "leave")
    assert room.verdict(room.build("m.room.message", BOB)) == "sender.joined"


def test_an_event_needs_the_level_of_its_type(version: str) -> None:
    room = Room.furnished(version, users={BOB: 50})
    assert room.verdict(room.build("m.room.topic", BOB, {}, "")) is None
    assert room.verdict(room.build("m.room.topic", CAROL, {}, "")) == "level"
    room.power_levels({"users": {BOB: 50}, "events": {"m.room.topic": 51, "m.room.message": 1}})
    assert room.verdict(room.build("m.room.topic", BOB, {}, "")) == "level"
    assert room.verdict(room.build("m.room.message", CAROL)) == "level"
    assert room.verdict(room.build("m.room.message", BOB)) is None


def test_state_keyed_by_a_user_is_the_users_own(version: str) -> None:
    room = Room.furnished(version, users={BOB: 50})
    assert room.verdict(room.build("org.example.mine", BOB, {}, BOB)) is None
    assert room.verdict(room.build("org.example.mine", ALICE, {}, BOB)) == "state_key"
    assert room.verdict(room.build("org.example.mine", BOB, {}, "bob")) is None


def test_a_failure_is_told_as_forbidden() -> None:
    room = Room.furnished()
    with pytest.raises(Forbidden, match="not joined") as caught:
        check_auth(room.build("m.room.message", DAVE), room.auth_state)
    assert caught.value.body()["errcode"] == "M_FORBIDDEN"


# The room


def test_a_room_that_is_not_federated_is_for_users_of_its_server(version: str) -> None:
    room = Room(version, content={"m.federate": False})
    room.member(ALICE, "join")
    room.join_rule("public")
    assert room.member_verdict(BOB, "join") is None
    assert room.member_verdict(CAROL, "join") == "federate"
    federated = Room(version, content={"m.federate": "false"})
    federated.member(ALICE, "join")
    federated.join_rule("public")
    assert federated.member_verdict(CAROL, "join") is None


def test_events_are_of_the_room_of_the_create_event(version: str) -> None:
    room = Room.furnished(version)
    stray = room.build("m.room.message", BOB, room_id="!elsewhere:hub.example")
    assert room.verdict(stray) == "room_id"


def test_nothing_is_allowed_without_a_create_event(version: str) -> None:
    room = Room.furnished(version)
    with pytest.raises(AuthRuleFailed) as caught:
        check_auth(room.build("m.room.message", BOB), AuthState({}))
    assert caught.value.rule == "create.missing"


# Aliases and redactions


def test_servers_keep_their_aliases_until_version_5(version: str) -> None:
    room = Room.furnished(version)
    special = int(version) <= 5
    own = room.build("m.room.aliases", DAVE, {"aliases": []}, "leaf.example")
    foreign = room.build("m.room.aliases", DAVE, {"aliases": []}, "hub.example")
    keyless = room.build("m.room.aliases", DAVE, {"aliases": []})
    assert room.verdict(own) == (None if special else "sender.joined")
    assert room.verdict(foreign) == ("aliases.server" if special else "sender.joined")
    assert room.verdict(keyless) == ("aliases.server" if special else "sender.joined")


def test_redacting_others_is_a_rule_in_versions_1_and_2(version: str) -> None:
    room = Room.furnished(version, users={BOB: 50})
    checked = int(version) <= 2

    def redact(by: str, target: str) -> str | None:
        return room.verdict(room.build("m.room.redaction", by, redacts=target))

    assert redact(BOB, "$x:leaf.example") is None
    assert redact(CAROL, "$x:leaf.example") == ("redaction.level" if checked else None)
    assert redact(CAROL, "$x:hub.example") is None
    targetless = room.build("m.room.redaction", CAROL)
    assert room.verdict(targetless) == ("redaction.level" if checked else None)


# Auth events


def test_the_selected_auth_events_are_fine(version: str) -> None:
    room = Room.furnished(version)
    for event in list(room.events.values()):
        cited = [room.events[event_id] for event_id in event.auth_events]
        assert auth_events_verdict(room, event, cited) is None


def test_no_place_is_cited_twice(version: str) -> None:
    room = Room.furnished(version)
    old = room.state["m.room.power_levels", ""]
    cited = [room.events[e] for e in room.build("m.room.message", BOB).auth_events]
    again = room.power_levels({})
    event = room.build("m.room.message", BOB)
    assert old in cited
    assert auth_events_verdict(room, event, [*cited, again]) == "auth_events.duplicate"


def test_what_is_of_no_concern_is_not_cited(version: str) -> None:
    room = Room.furnished(version)
    event = room.build("m.room.message", BOB)
    cited = [room.events[e] for e in event.auth_events]
    for extra in (room.topic("x"), room.state["m.room.member", CAROL], event):
        assert auth_events_verdict(room, event, [*cited, extra]) == "auth_events.selection"


def test_the_create_event_is_cited_until_version_11(version: str) -> None:
    room = Room.furnished(version)
    event = room.build("m.room.message", BOB)
    others = [room.events[e] for e in event.auth_events if e != room.create.event_id]
    with_create = [room.create, *others]
    if version in BEFORE_12:
        assert auth_events_verdict(room, event, others) == "auth_events.create"
        assert auth_events_verdict(room, event, with_create) is None
    else:
        assert auth_events_verdict(room, event, others) is None
        assert auth_events_verdict(room, event, with_create) == "auth_events.selection"


def test_auth_events_are_of_the_same_room(version: str) -> None:
    room = Room.furnished(version)
    event = room.build("m.room.message", BOB)
    stray = room.build("m.room.power_levels", ALICE, {}, "", room_id="!elsewhere:hub.example")
    assert auth_events_verdict(room, event, [stray]) == "auth_events.room"


# Properties

event_types = st.sampled_from(["m.room.message", "m.room.topic", "m.room.redaction", "org.x"])
unrelated = st.dictionaries(st.sampled_from(["org.a", "org.b", "m.room.name"]), st.text(max_size=3))


@given(
    version=st.sampled_from(ALL),
    event_type=event_types,
    sender=st.sampled_from([ALICE, BOB, CAROL, DAVE]),
    state_key=st.none() | st.sampled_from(["", ALICE, BOB]),
    others=unrelated,
)
def test_unrelated_state_changes_no_verdict(
    version: str, event_type: str, sender: str, state_key: str | None, others: dict[str, str]
) -> None:
    room = Room.furnished(version, users={BOB: 50})
    event = room.build(event_type, sender, {}, state_key)
    before = room.verdict(event)
    for other_type, other_key in others.items():
        room.send(other_type, ALICE, {"x": 1}, other_key)
    room.member(DAVE + "x", "join")
    assert room.verdict(event) == before


@given(version=st.sampled_from(ALL), membership=st.sampled_from(["join", "invite", "leave", "ban"]))
def test_the_selected_auth_events_decide_like_the_whole_state(
    version: str, membership: str
) -> None:
    room = Room.furnished(version, users={BOB: 50}, join_rule="invite")
    for target in (ALICE, BOB, CAROL, DAVE):
        for sender in (ALICE, BOB, CAROL, DAVE):
            event = room.build("m.room.member", sender, {"membership": membership}, target)
            cited = [room.events[event_id] for event_id in event.auth_events]
            view = AuthState({e.state_place: e for e in cited}, create=room.create)
            assert broken_rule(event, view) == room.verdict(event)


def broken_rule(event: Pdu, state: AuthState) -> str | None:
    try:
        check_auth(event, state)
    except AuthRuleFailed as failure:
        return failure.rule
    return None
