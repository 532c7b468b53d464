"""The rules of a user: predefined ones, changes to them, the user's own, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import InvalidParam, MatrixError, MissingParam, NotFound, Unknown
from federation.protocol.push_rules import (
    MAX_CUSTOM_CONDITIONS,
    MAX_CUSTOM_RULES,
    MAX_QUESTION_PATTERNS,
    NO_CHANGES,
    PREDEFINED_RULES,
    PREDEFINED_WITH_LEGACY_MENTIONS,
    PushRule,
    RuleChanges,
    RuleKind,
    Ruleset,
    copy_room_rules,
    decode_changes,
    delete_rule,
    encode_changes,
    find_kind,
    set_actions,
    set_enabled,
    set_rule,
    with_thread_rules,
)
from tests.protocol.push_rooms import ALICE

DEFAULTS = Ruleset(ALICE)
WITH_THREADS = Ruleset(ALICE, predefined=with_thread_rules(PREDEFINED_RULES))
NOTIFY = {"actions": ["notify"]}
CAKE = {"pattern": "cake", "actions": ["notify"]}


def ids(ruleset: Ruleset, kind: str) -> list[str]:
    return [rule["rule_id"] for rule in ruleset.to_json()[kind]]


def own_ids(ruleset: Ruleset, kind: str) -> list[str]:
    return [rule_id for rule_id in ids(ruleset, kind) if not rule_id.startswith(".")]


def test_the_predefined_rules_are_in_the_order_of_the_specification() -> None:
    assert ids(DEFAULTS, "override") == [
        ".m.rule.master",
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".org.matrix.msc4075.rule.rtc.invite_for_me",
        ".m.rule.is_user_mention",
        ".org.matrix.msc4075.rule.rtc.invite_for_room",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".org.matrix.msc3930.rule.poll_response",
        ".m.rule.suppress_edits",
    ]
    assert ids(DEFAULTS, "underride") == [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
        ".org.matrix.msc3930.rule.poll_start_one_to_one",
        ".org.matrix.msc3930.rule.poll_start",
        ".org.matrix.msc3930.rule.poll_end_one_to_one",
        ".org.matrix.msc3930.rule.poll_end",
    ]
    for kind in ("content", "room", "sender"):
        assert DEFAULTS.to_json()[kind] == []


def test_a_rule_in_json_has_what_the_specification_shows() -> None:
    override = {rule["rule_id"]: rule for rule in DEFAULTS.to_json()["override"]}
    assert override[".m.rule.master"] == {
        "rule_id": ".m.rule.master",
        "default": True,
        "enabled": False,
        "conditions": [],
        "actions": [],
    }
    assert override[".m.rule.is_user_mention"] == {
        "rule_id": ".m.rule.is_user_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {
                "kind": "event_property_contains",
                "key": "content.m\\.mentions.user_ids",
                "value": ALICE,
            }
        ],
        "actions": [
            "notify",
            {"set_tweak": "sound", "value": "default"},
            {"set_tweak": "highlight"},
        ],
    }
    assert override[".m.rule.invite_for_me"]["conditions"][2] == {
        "kind": "event_match",
        "key": "state_key",
        "pattern": ALICE,
    }


def test_the_legacy_mention_rules_are_there_when_asked_for() -> None:
    legacy = Ruleset(ALICE, predefined=PREDEFINED_WITH_LEGACY_MENTIONS)
    assert ids(legacy, "content") == [".m.rule.contains_user_name"]
    assert legacy.to_json()["content"][0]["pattern"] == "alice"
    assert ids(legacy, "override")[4:11] == [
        ".org.matrix.msc4075.rule.rtc.invite_for_me",
        ".m.rule.is_user_mention",
        ".org.matrix.msc4075.rule.rtc.invite_for_room",
        ".m.rule.is_room_mention",
        ".m.rule.contains_display_name",
        ".m.rule.roomnotif",
        ".m.rule.tombstone",
    ]


def test_own_rules_stand_above_predefined_ones_except_the_master_rule() -> None:
    ruleset = set_rule(DEFAULTS, "override", "mine", NOTIFY)
    assert ids(ruleset, "override")[:3] == [".m.rule.master", "mine", ".m.rule.suppress_notices"]


def test_a_new_rule_is_enabled_and_not_default() -> None:
    ruleset = set_rule(DEFAULTS, "content", "cake", CAKE)
    assert ruleset.to_json()["content"] == [
        {
            "rule_id": "cake",
            "default": False,
            "enabled": True,
            "pattern": "cake",
            "actions": ["notify"],
        }
    ]


def test_rules_of_rooms_and_senders_have_neither_conditions_nor_pattern() -> None:
    ruleset = set_rule(
        DEFAULTS, "room", "!r:example.org", NOTIFY | {"conditions": [], "pattern": ""}
    )
    assert set(ruleset.to_json()["room"][0]) == {"rule_id", "default", "enabled", "actions"}


def test_the_place_of_a_new_rule_is_first_or_beside_another() -> None:
    ruleset = set_rule(DEFAULTS, "content", "b", CAKE)
    ruleset = set_rule(ruleset, "content", "a", CAKE)
    assert own_ids(ruleset, "content") == ["a", "b"]
    ruleset = set_rule(ruleset, "content", "before b", CAKE, before="b")
    ruleset = set_rule(ruleset, "content", "after b", CAKE, after="b")
    assert own_ids(ruleset, "content") == ["a", "before b", "b", "after b"]
    ruleset = set_rule(ruleset, "content", "both", CAKE, before="after b", after="a")
    assert own_ids(ruleset, "content") == ["a", "before b", "b", "both", "after b"]


def test_a_changed_rule_keeps_its_place_and_stays_disabled() -> None:
    ruleset = set_rule(DEFAULTS, "content", "b", CAKE)
    ruleset = set_rule(ruleset, "content", "a", CAKE)
    ruleset = set_enabled(ruleset, "content", "b", {"enabled": False})
    ruleset = set_rule(ruleset, "content", "b", {"pattern": "pie", "actions": []})
    assert own_ids(ruleset, "content") == ["a", "b"]
    rule = ruleset.get_rule("content", "b")
    assert (rule.pattern, rule.actions, rule.enabled) == ("pie", (), False)
    ruleset = set_rule(ruleset, "content", "b", CAKE, before="a")
    assert own_ids(ruleset, "content") == ["b", "a"]


def test_a_rule_that_was_deleted_and_made_again_is_enabled() -> None:
    ruleset = set_rule(DEFAULTS, "content", "a", CAKE)
    ruleset = set_enabled(ruleset, "content", "a", {"enabled": False})
    ruleset = delete_rule(ruleset, "content", "a")
    assert ruleset == DEFAULTS
    assert set_rule(ruleset, "content", "a", CAKE).get_rule("content", "a").enabled


@pytest.mark.parametrize("anchor", ["absent", ".m.rule.suppress_notices", "itself"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_place_beside_a_rule_that_is_not_the_users_is_refused(anchor: str, side: str) -> None:
    with pytest.raises(Unknown):
        set_rule(DEFAULTS, "override", "itself", NOTIFY, **{side: anchor})


@pytest.mark.parametrize("rule_id", ["", ".mine", ".m.rule.master", "a/b", "a\\b", "x" * 1000])
def test_reserved_and_impossible_rule_ids_are_refused(rule_id: str) -> None:
    with pytest.raises(InvalidParam):
        set_rule(DEFAULTS, "override", rule_id, NOTIFY)


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("postcontent", NOTIFY, InvalidParam),
        ("override", {}, MissingParam),
        ("override", {"actions": "notify"}, InvalidParam),
        ("override", {"actions": ["shout"]}, InvalidParam),
        ("override", {"actions": [1]}, InvalidParam),
        ("override", {"actions": [{}]}, InvalidParam),
        ("override", {"actions": [{"set_tweak": 1}]}, InvalidParam),
        ("override", {"actions": ["notify"] * 100}, InvalidParam),
        ("override", NOTIFY | {"conditions": {}}, InvalidParam),
        ("override", NOTIFY | {"conditions": [{}]}, MissingParam),
        ("underride", NOTIFY | {"conditions": ["x"]}, InvalidParam),
        ("content", NOTIFY, MissingParam),
        ("content", NOTIFY | {"pattern": 1}, InvalidParam),
        ("content", NOTIFY | {"pattern": "x" * 1000}, InvalidParam),
    ],
)
def test_malformed_rules_are_refused(
    kind: str, body: dict[str, Any], error: type[MatrixError]
) -> None:
    with pytest.raises(error) as refusal:
        set_rule(DEFAULTS, kind, "mine", body)
    assert refusal.value.status == 400


def test_the_number_of_own_rules_is_limited() -> None:
    rules = tuple(PushRule(f"!{number}", ()) for number in range(MAX_CUSTOM_RULES))
    full = Ruleset(ALICE, RuleChanges({RuleKind.ROOM: rules}))
    with pytest.raises(InvalidParam):
        set_rule(full, "room", "!one more", NOTIFY)
    assert set_rule(full, "room", "!0", NOTIFY).get_rule("room", "!0").actions == ("notify",)


def questions(number: int, length: int) -> dict[str, Any]:
    return {"actions": [], "pattern": f"{number}{'?-' * length}"[:length]}


def test_patterns_that_take_long_are_few() -> None:
    rules = set_rule(DEFAULTS, "content", "a", questions(1, MAX_QUESTION_PATTERNS))
    rules = set_rule(rules, "content", "a", questions(2, MAX_QUESTION_PATTERNS - 10))
    rules = set_rule(rules, "content", "b", questions(3, 10))
    rules = set_rule(rules, "content", "c", {"actions": [], "pattern": "-" * 500})
    with pytest.raises(InvalidParam):
        set_rule(rules, "content", "d", questions(4, 2))
    condition = {"kind": "event_match", "key": "content.body", "pattern": "?"}
    with pytest.raises(InvalidParam):
        set_rule(rules, "override", "d", {"actions": [], "conditions": [condition]})


def test_too_many_slow_patterns_from_elsewhere_may_be_changed_but_not_grow() -> None:
    many = tuple(PushRule(f"r{n}", (), pattern="-?" * 200) for n in range(3))
    rules = Ruleset(ALICE, RuleChanges({RuleKind.CONTENT: many}))
    rules = set_rule(rules, "content", "r1", questions(1, 300))
    with pytest.raises(InvalidParam):
        set_rule(rules, "content", "r1", questions(1, 301))


def test_the_number_of_conditions_is_limited_altogether() -> None:
    body = {"actions": [], "conditions": [{"kind": "contains_display_name"}] * 50}
    rules = DEFAULTS
    for number in range(MAX_CUSTOM_CONDITIONS // 50):
        rules = set_rule(rules, "override", f"r{number}", body)
    with pytest.raises(InvalidParam):
        set_rule(rules, "underride", "one more", body)
    set_rule(rules, "override", "r0", body)


def test_the_size_of_rules_is_limited_altogether() -> None:
    large = ["notify", {"set_tweak": "sound", "value": "x" * 100_000}]
    rules = DEFAULTS
    for number in range(10):
        rules = set_rule(rules, "room", f"!{number}", {"actions": large})
    with pytest.raises(InvalidParam):
        set_rule(rules, "sender", "@a:b", {"actions": large})
    with pytest.raises(InvalidParam):
        set_actions(rules, "override", ".m.rule.master", {"actions": large})


def test_historical_actions_are_kept_as_they_came() -> None:
    ruleset = set_rule(DEFAULTS, "sender", ALICE, {"actions": ["dont_notify"]})
    assert ruleset.to_json()["sender"][0]["actions"] == ["dont_notify"]


@pytest.mark.parametrize(
    ("kind", "rule_id"),
    [("content", "absent"), ("override", ".m.rule.absent"), ("postcontent", ".m.rule.master")],
)
def test_unknown_rules_are_not_found(kind: str, rule_id: str) -> None:
    with pytest.raises(NotFound):
        DEFAULTS.get_rule(kind, rule_id)
    with pytest.raises(NotFound):
        delete_rule(DEFAULTS, kind, rule_id)
    with pytest.raises(NotFound):
        set_enabled(DEFAULTS, kind, rule_id, {"enabled": True})
    with pytest.raises(NotFound):
        set_actions(DEFAULTS, kind, rule_id, {"actions": []})


def test_predefined_rules_cannot_be_deleted() -> None:
    with pytest.raises(NotFound):
        delete_rule(DEFAULTS, "override", ".m.rule.master")


def test_predefined_rules_are_adjusted_and_only_the_difference_is_kept() -> None:
    ruleset = set_enabled(DEFAULTS, "override", ".m.rule.master", {"enabled": True})
    ruleset = set_actions(ruleset, "underride", ".m.rule.message", {"actions": []})
    assert ruleset.get_rule("override", ".m.rule.master").enabled
    assert ruleset.get_rule("underride", ".m.rule.message").actions == ()
    assert set(ruleset.changes.adjusted) == {".m.rule.master", ".m.rule.message"}
    ruleset = set_enabled(ruleset, "override", ".m.rule.master", {"enabled": False})
    ruleset = set_actions(ruleset, "underride", ".m.rule.message", {"actions": ["notify"]})
    assert ruleset.changes == NO_CHANGES


def test_both_adjustments_of_a_rule_are_kept() -> None:
    ruleset = set_actions(DEFAULTS, "override", ".m.rule.reaction", {"actions": ["notify"]})
    ruleset = set_enabled(ruleset, "override", ".m.rule.reaction", {"enabled": False})
    rule = ruleset.get_rule("override", ".m.rule.reaction")
    assert (rule.enabled, rule.actions) == (False, ("notify",))


@pytest.mark.parametrize("body", [{"enabled": 1}, {"enabled": "true"}, {"enabled": None}])
def test_enabled_must_be_a_boolean(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidParam):
        set_enabled(DEFAULTS, "override", ".m.rule.master", body)


def test_what_is_to_be_set_must_be_there() -> None:
    with pytest.raises(MissingParam):
        set_enabled(DEFAULTS, "override", ".m.rule.master", {})
    with pytest.raises(MissingParam):
        set_actions(DEFAULTS, "override", ".m.rule.master", {})


def test_the_successor_of_a_room_gets_its_rules() -> None:
    mute = {
        "actions": [],
        "conditions": [{"kind": "event_match", "key": "room_id", "pattern": "!old"}],
    }
    ruleset = set_rule(DEFAULTS, "room", "!old", NOTIFY)
    ruleset = set_rule(ruleset, "override", "!old", mute)
    ruleset = copy_room_rules(ruleset, "!old", "!new")
    assert own_ids(ruleset, "room") == ["!new", "!old"]
    assert ruleset.get_rule("override", "!new").conditions[0]["pattern"] == "!new"
    assert ruleset.get_rule("override", "!old").conditions[0]["pattern"] == "!old"
    assert copy_room_rules(ruleset, "!old", "!new") == ruleset
    assert copy_room_rules(DEFAULTS, "!old", "!new") == DEFAULTS


def test_clients_see_five_kinds_in_the_order_of_the_specification() -> None:
    assert list(DEFAULTS.to_json()) == ["override", "content", "room", "sender", "underride"]
    assert find_kind("room") is RuleKind.ROOM
    assert find_kind("ROOM") is None


def test_thread_rules_are_a_kind_between_content_and_room() -> None:
    assert list(WITH_THREADS.to_json()) == [
        "override",
        "content",
        "postcontent",
        "room",
        "sender",
        "underride",
    ]


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "enable", "actions", "before", "after"]),
        st.sampled_from(list(RuleKind)),
        st.sampled_from(["a", "b", "c", ".m.rule.master", ".m.rule.message"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(steps)
def test_stored_changes_come_back_as_they_were(
    changes: list[tuple[str, RuleKind, str, bool]],
) -> None:
    ruleset = WITH_THREADS
    for step, kind, rule_id, flag in changes:
        try:
            ruleset = _apply(ruleset, step, kind, rule_id, flag)
        except MatrixError:
            continue
    stored = encode_changes(ruleset.changes)
    restored = Ruleset(ALICE, decode_changes(stored), WITH_THREADS.predefined)
    assert restored.to_json() == ruleset.to_json()
    assert decode_changes(stored) == ruleset.changes
    for kind in RuleKind:
        assert len(set(ids(ruleset, kind))) == len(ids(ruleset, kind))


def _apply(ruleset: Ruleset, step: str, kind: RuleKind, rule_id: str, flag: bool) -> Ruleset:
    body = {
        "actions": ["notify"] if flag else [],
        "pattern": "x",
        "conditions": [{"kind": "contains_display_name"}] if flag else [],
        "enabled": flag,
    }
    match step:
        case "delete":
            return delete_rule(ruleset, kind, rule_id)
        case "enable":
            return set_enabled(ruleset, kind, rule_id, body)
        case "actions":
            return set_actions(ruleset, kind, rule_id, body)
        case "before" | "after":
            return set_rule(ruleset, kind, rule_id, body, **{step: "a"})
        case _:
            return set_rule(ruleset, kind, rule_id, body)
