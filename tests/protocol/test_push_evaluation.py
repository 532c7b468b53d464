"""Which rule an event meets: each predefined rule, the order of kinds, and a plain model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.glob import compile_glob, compile_word_glob, compile_words, fold
from federation.protocol.pdu import Pdu
from federation.protocol.property_path import find_property
from federation.protocol.push_conditions import EventView, RoomContext
from federation.protocol.push_evaluation import (
    Decision,
    build_decision,
    compile_ruleset,
    evaluate,
)
from federation.protocol.push_rules import (
    PREDEFINED_RULES,
    PREDEFINED_WITH_LEGACY_MENTIONS,
    RuleKind,
    Ruleset,
    set_actions,
    set_enabled,
    set_rule,
    with_thread_rules,
)
from tests.protocol.push_rooms import ALICE, BOB, ROOM, event, room, text, view

DEFAULTS = Ruleset(ALICE)
LEGACY = Ruleset(ALICE, predefined=PREDEFINED_WITH_LEGACY_MENTIONS)
CALL = "org.matrix.msc4075.rtc.notification"
INVITE_FOR_ME = ".org.matrix.msc4075.rule.rtc.invite_for_me"
INVITE_FOR_ROOM = ".org.matrix.msc4075.rule.rtc.invite_for_room"
FOR_THREADS = Ruleset(ALICE, predefined=with_thread_rules(PREDEFINED_RULES))


def decide(
    pdu: Pdu,
    ruleset: Ruleset = DEFAULTS,
    *,
    members: int = 3,
    levels: dict[str, Any] | None = None,
    name: str | None = None,
) -> Decision | None:
    return evaluate(compile_ruleset(ruleset), view(pdu, members, levels), name)


def rule(*args: Any, **kwargs: Any) -> str | None:
    decision = decide(*args, **kwargs)
    return None if decision is None else decision.rule_id


def member(membership: str, state_key: str) -> Pdu:
    return event({"membership": membership}, "m.room.member", state_key=state_key)


POWERFUL = {"users": {BOB: 50}}
MENTION_ROOM = {"m.mentions": {"room": True}}


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        (text("Hello"), ".m.rule.message"),
        (event({"msgtype": "m.notice", "body": "x"}), ".m.rule.suppress_notices"),
        (member("invite", ALICE), ".m.rule.invite_for_me"),
        (member("invite", BOB), ".m.rule.member_event"),
        (member("join", ALICE), ".m.rule.member_event"),
        (text("x", **{"m.mentions": {"user_ids": [BOB, ALICE]}}), ".m.rule.is_user_mention"),
        (text("x", **{"m.mentions": {"user_ids": [BOB]}}), ".m.rule.message"),
        (text("x", **{"m.mentions": {"user_ids": ALICE}}), ".m.rule.message"),
        (text("x", **{"m.mentions": "everybody"}), ".m.rule.message"),
        (text("x", **MENTION_ROOM), ".m.rule.is_room_mention"),
        (text("x", **{"m.mentions": {"room": "true"}}), ".m.rule.message"),
        (event({}, "m.room.tombstone", state_key=""), ".m.rule.tombstone"),
        (event({}, "m.room.tombstone", state_key="x"), None),
        (event({}, "m.room.tombstone"), None),
        (event({}, "m.reaction"), ".m.rule.reaction"),
        (event({}, "m.room.server_acl", state_key=""), ".m.rule.room.server_acl"),
        (text("* x", **{"m.relates_to": {"rel_type": "m.replace"}}), ".m.rule.suppress_edits"),
        (text("x", **{"m.relates_to": {"rel_type": "m.thread"}}), ".m.rule.message"),
        (event({}, "m.call.invite"), ".m.rule.call"),
        (event({}, "m.room.encrypted"), ".m.rule.encrypted"),
        (event({}, "org.matrix.msc3381.poll.start"), ".org.matrix.msc3930.rule.poll_start"),
        (event({}, "org.matrix.msc3381.poll.end"), ".org.matrix.msc3930.rule.poll_end"),
        (event({}, "org.matrix.msc3381.poll.response"), ".org.matrix.msc3930.rule.poll_response"),
        (event({"m.mentions": {"user_ids": [ALICE]}}, CALL), INVITE_FOR_ME),
        (event(MENTION_ROOM, CALL), INVITE_FOR_ROOM),
        (event({"m.mentions": {"user_ids": [BOB]}}, CALL), None),
        (event({}, "org.matrix.msc4310.rtc.decline"), None),
        (event({}, "m.room.topic", state_key=""), None),
        (event({}, "org.example.unknown"), None),
    ],
)
def test_the_predefined_rule_for_an_event(pdu: Pdu, expected: str | None) -> None:
    assert rule(pdu, levels=POWERFUL) == expected


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        (text("x"), ".m.rule.room_one_to_one"),
        (event({}, "m.room.encrypted"), ".m.rule.encrypted_room_one_to_one"),
        (event({}, "m.call.invite"), ".m.rule.call"),
        (
            event({}, "org.matrix.msc3381.poll.start"),
            ".org.matrix.msc3930.rule.poll_start_one_to_one",
        ),
        (event({}, "org.matrix.msc3381.poll.end"), ".org.matrix.msc3930.rule.poll_end_one_to_one"),
    ],
)
def test_rooms_of_two_have_rules_of_their_own(pdu: Pdu, expected: str) -> None:
    assert rule(pdu, members=2) == expected


def test_mentioning_the_room_needs_power() -> None:
    assert rule(text("x", **MENTION_ROOM)) == ".m.rule.message"


def test_what_the_rules_say_of_notification_sound_and_highlight() -> None:
    mention = decide(text("x", **{"m.mentions": {"user_ids": [ALICE]}}))
    assert mention is not None
    assert (mention.notify, mention.highlight, mention.sound) == (True, True, "default")
    ring = decide(event({}, "m.call.invite"))
    assert ring is not None
    assert (ring.notify, ring.highlight, ring.sound) == (True, False, "ring")
    message = decide(text("x"))
    assert message is not None
    assert (message.notify, message.highlight, message.sound) == (True, False, None)
    reaction = decide(event({}, "m.reaction"))
    assert reaction is not None
    assert not reaction.notify


@pytest.mark.parametrize(
    ("actions", "notify", "highlight", "sound"),
    [
        ([], False, False, None),
        (["dont_notify"], False, False, None),
        (["coalesce"], False, False, None),
        (["notify", "dont_notify"], True, False, None),
        (["notify", {"set_tweak": "highlight"}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": True}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": False}], True, False, None),
        (["notify", {"set_tweak": "sound", "value": "cake.wav"}], True, False, "cake.wav"),
        (["notify", {"set_tweak": "sound"}], True, False, None),
        (["notify", {"set_tweak": "lamp", "value": 1}, 5, None], True, False, None),
    ],
)
def test_actions_say(actions: Any, notify: bool, highlight: bool, sound: str | None) -> None:
    decision = build_decision("rule", actions)
    assert (decision.notify, decision.highlight, decision.sound) == (notify, highlight, sound)


def test_nobody_is_notified_of_own_events() -> None:
    assert decide(event({"msgtype": "m.text", "body": "x"}, sender=ALICE)) is None


def test_without_the_legacy_rules_names_in_the_text_mean_nothing() -> None:
    assert rule(text("alice @room"), levels=POWERFUL, name="Alice") == ".m.rule.message"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Hello Wonderland!", ".m.rule.contains_display_name"),
        ("Hello @room", ".m.rule.roomnotif"),
        ("Hello @alice:example.org", ".m.rule.contains_user_name"),
        ("Hello", ".m.rule.message"),
    ],
)
def test_the_legacy_rules_look_into_events_without_mentions(body: str, expected: str) -> None:
    assert rule(text(body), LEGACY, levels=POWERFUL, name="Wonderland") == expected
    silent = text(body, **{"m.mentions": {}})
    assert rule(silent, LEGACY, levels=POWERFUL, name="Wonderland") == ".m.rule.message"


def test_the_master_rule_silences_everything() -> None:
    silent = set_enabled(DEFAULTS, "override", ".m.rule.master", {"enabled": True})
    silent = set_rule(silent, "override", "mine", {"actions": ["notify"]})
    assert rule(text("x"), silent) == ".m.rule.master"


def test_kinds_are_tried_in_order_and_a_disabled_rule_never_matches() -> None:
    notify = {"actions": ["notify"]}
    ruleset = set_rule(DEFAULTS, "override", "o", notify)
    ruleset = set_rule(ruleset, "content", "c", notify | {"pattern": "cake"})
    ruleset = set_rule(ruleset, "room", ROOM, notify)
    ruleset = set_rule(ruleset, "sender", BOB, notify)
    ruleset = set_rule(ruleset, "underride", "u", notify)
    met = []
    for kind, rule_id in [
        ("override", "o"),
        ("content", "c"),
        ("room", ROOM),
        ("sender", BOB),
        ("underride", "u"),
    ]:
        met.append(rule(text("Cake!"), ruleset))
        ruleset = set_enabled(ruleset, kind, rule_id, {"enabled": False})
    assert met == ["o", "c", ROOM, BOB, "u"]
    assert rule(text("Cake!"), ruleset) == ".m.rule.message"


def test_room_and_sender_rules_are_about_theirs_only() -> None:
    ruleset = set_rule(DEFAULTS, "room", "!other", {"actions": []})
    ruleset = set_rule(ruleset, "sender", "@carol:example.org", {"actions": []})
    assert rule(text("x"), ruleset) == ".m.rule.message"


def test_changed_actions_of_a_predefined_rule_count() -> None:
    ruleset = set_actions(DEFAULTS, "underride", ".m.rule.message", {"actions": []})
    decision = decide(text("x"), ruleset)
    assert decision is not None
    assert not decision.notify


def test_the_most_important_of_two_content_rules_decides() -> None:
    ruleset = set_rule(DEFAULTS, "content", "tea", {"pattern": "tea", "actions": []})
    ruleset = set_rule(ruleset, "content", "time", {"pattern": "time", "actions": ["notify"]})
    assert rule(text("It's time for tea"), ruleset) == "time"


def test_two_types_at_once_never_match() -> None:
    conditions = [
        {"kind": "event_match", "key": "type", "pattern": pattern} for pattern in ("m.a", "m.b")
    ]
    ruleset = set_rule(DEFAULTS, "override", "x", {"actions": [], "conditions": conditions})
    assert rule(event({}, "m.a"), ruleset) is None


def test_one_view_serves_users_with_different_rules() -> None:
    pdu = text("x", **{"m.mentions": {"user_ids": ["@u3:example.org"]}})
    event_view = EventView.of(pdu, room())
    met = []
    for number in range(6):
        ruleset = Ruleset(f"@u{number}:example.org")
        if number == 5:
            ruleset = set_rule(ruleset, "room", ROOM, {"actions": []})
        decision = evaluate(compile_ruleset(ruleset), event_view)
        met.append(decision.rule_id if decision else None)
    assert met == [".m.rule.message"] * 3 + [".m.rule.is_user_mention", ".m.rule.message", ROOM]


def test_users_without_changes_share_one_program() -> None:
    one, other = compile_ruleset(DEFAULTS), compile_ruleset(Ruleset(BOB))
    assert one.program is other.program


@dataclass(frozen=True, slots=True)
class Reader:
    """What is asked of who reads an event."""

    name: str | None
    is_subscribed: bool


def model(ruleset: Ruleset, pdu: Pdu, context: RoomContext, reader: Reader) -> str | None:
    """The rule met, read off the JSON that a client gets."""
    fields = EventView.of(pdu, context).fields
    rules = ruleset.to_json()
    for kind in RuleKind:
        for entry in rules.get(kind, ()):
            if entry["enabled"] and _met(kind, entry, fields, context, reader):
                return str(entry["rule_id"])
    return None


def _met(
    kind: RuleKind,
    entry: Mapping[str, Any],
    fields: Mapping[str, Any],
    context: RoomContext,
    reader: Reader,
) -> bool:
    match kind:
        case RuleKind.ROOM:
            return bool(entry["rule_id"] == fields["room_id"])
        case RuleKind.SENDER:
            return bool(entry["rule_id"] == fields["sender"])
        case RuleKind.CONTENT:
            body = fields["content"].get("body")
            pattern = fold(entry["pattern"])
            return isinstance(body, str) and compile_word_glob(pattern)(fold(body))
        case _:
            return all(_holds(c, fields, context, reader) for c in entry["conditions"])


def _holds(
    condition: Mapping[str, Any],
    fields: Mapping[str, Any],
    context: RoomContext,
    reader: Reader,
) -> bool:
    value = find_property(fields, condition.get("key", ""))
    match condition["kind"]:
        case "event_match":
            word = condition["key"] == "content.body"
            matcher = (compile_word_glob if word else compile_glob)(fold(condition["pattern"]))
            return isinstance(value, str) and matcher(fold(value))
        case "event_property_is":
            wanted = condition["value"]
            return type(value) is type(wanted) and bool(value == wanted)
        case "event_property_contains":
            return isinstance(value, list) and condition["value"] in value
        case "room_member_count":
            return context.member_count == int(condition["is"])
        case "sender_notification_permission":
            levels = context.power_levels
            assert levels is not None
            return levels.of(fields["sender"]) >= levels.notification(condition["key"])
        case "contains_display_name":
            body = fields["content"].get("body")
            name = fold(reader.name or "")
            return isinstance(body, str) and bool(name) and compile_words(name)(fold(body))
        case "io.element.msc4306.thread_subscription":
            relation = fields["content"].get("m.relates_to", {})
            wanted = condition["subscribed"]
            return relation.get("rel_type") == "m.thread" and wanted is reader.is_subscribed
        case _:
            return False


TYPES = ["m.room.message", "m.room.encrypted", "m.reaction", "m.room.member", "M.Reaction", "x"]
conditions = st.one_of(
    st.fixed_dictionaries(
        {
            "kind": st.just("event_match"),
            "key": st.sampled_from(["type", "sender", "content.body", "state_key"]),
            "pattern": st.sampled_from([*TYPES, "m.*", "*", "hello", "al*ce", "", BOB]),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("room_member_count"), "is": st.sampled_from(["2", "3"])}
    ),
    st.sampled_from([{"kind": "contains_display_name"}, {"kind": "unknown"}]),
    st.just({"kind": "sender_notification_permission", "key": "room"}),
    st.fixed_dictionaries(
        {"kind": st.just("io.element.msc4306.thread_subscription"), "subscribed": st.booleans()}
    ),
)
events = st.builds(
    event,
    content=st.fixed_dictionaries(
        {},
        optional={
            "body": st.sampled_from(["hello", "hello alice", "x", 5]),
            "msgtype": st.sampled_from(["m.text", "m.notice"]),
            "m.mentions": st.sampled_from([{"user_ids": [ALICE]}, {"room": True}, {}]),
            "membership": st.sampled_from(["invite", "join"]),
            "m.relates_to": st.sampled_from(
                [{"rel_type": rel_type, "event_id": "$root"} for rel_type in ("m.thread", "x")]
            ),
        },
    ),
    event_type=st.sampled_from(TYPES),
    state_key=st.sampled_from([None, "", ALICE]),
)
customs = st.lists(
    st.tuples(
        st.sampled_from([kind for kind in RuleKind if kind is not RuleKind.POSTCONTENT]),
        st.sampled_from(["a", "b", ROOM, BOB]),
        st.lists(conditions, max_size=3),
    ),
    max_size=4,
)


readers = st.builds(Reader, st.sampled_from([None, "Alice", "x"]), st.booleans())


@given(st.sampled_from([DEFAULTS, FOR_THREADS]), customs, events, st.sampled_from([2, 3]), readers)
def test_the_compiled_rules_meet_what_the_rules_in_json_meet(
    ruleset: Ruleset,
    custom: list[tuple[RuleKind, str, list[dict[str, Any]]]],
    pdu: Pdu,
    members: int,
    reader: Reader,
) -> None:
    for kind, rule_id, several in custom:
        body = {"actions": ["notify"], "conditions": several, "pattern": "he*"}
        ruleset = set_rule(ruleset, kind, rule_id, body)
    context = room(members, {"users_default": 50 if members == 2 else 0})
    decision = evaluate(
        compile_ruleset(ruleset),
        EventView.of(pdu, context),
        reader.name,
        is_subscribed=reader.is_subscribed,
    )
    met = None if decision is None else decision.rule_id
    assert met == model(ruleset, pdu, context, reader)


def in_thread(**content: Any) -> Pdu:
    return text("hi", **{"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}, **content)


@pytest.mark.parametrize(
    ("pdu", "subscribed", "unsubscribed"),
    [
        (in_thread(), "subscribed_thread", "unsubscribed_thread"),
        (text("hi"), "message", "message"),
        (in_thread(**{"m.mentions": {"user_ids": [ALICE]}}), "is_user_mention", "is_user_mention"),
        (in_thread(msgtype="m.notice"), "suppress_notices", "suppress_notices"),
        (text("hi", **{"m.relates_to": {"rel_type": "m.thread"}}), "message", "message"),
    ],
)
def test_threads_notify_their_subscribers(pdu: Pdu, subscribed: str, unsubscribed: str) -> None:
    evaluator = compile_ruleset(FOR_THREADS)
    for state, expected in ((True, subscribed), (False, unsubscribed)):
        decision = evaluate(evaluator, view(pdu), is_subscribed=state)
        assert decision is not None
        assert decision.rule_id.rpartition(".")[2] == expected


def test_a_rule_of_the_users_own_may_ask_for_the_subscription() -> None:
    condition = {"kind": "io.element.msc4306.thread_subscription", "subscribed": True}
    body = {"actions": ["notify"], "conditions": [condition]}
    evaluator = compile_ruleset(set_rule(DEFAULTS, "override", "mine", body))
    assert evaluator.program.asks_for_subscriptions
    assert not compile_ruleset(DEFAULTS).program.asks_for_subscriptions
    for state, expected in ((True, "mine"), (False, ".m.rule.message")):
        decision = evaluate(evaluator, view(in_thread()), is_subscribed=state)
        assert decision is not None
        assert decision.rule_id == expected
