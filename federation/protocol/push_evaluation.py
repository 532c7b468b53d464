"""Which push rule an event meets for a user, and what follows from it.

Rules are compiled to a program. Its tests that are the same for every user run once for an event
(they are most of them), and the users who changed no rule share one program; so an event in a room
of a hundred readers costs one walk over the rules and a hundred short looks at what is left.
Source: client-server API, push notifications, "Push Rules".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from federation.protocol.default_push_rules import LEGACY_MENTION_RULES
from federation.protocol.glob import fold
from federation.protocol.property_path import ABSENT
from federation.protocol.push_conditions import (
    BODY,
    Condition,
    EventView,
    PersonalTest,
    SharedTest,
    asks_for_display_name,
    compile_personal,
    compile_shared,
    is_in_thread,
    is_personal,
    literal_event_type,
    wanted_subscription,
)
from federation.protocol.push_rules import (
    NO_CHANGES,
    Action,
    PredefinedRules,
    PushRule,
    RuleKind,
    Ruleset,
)

_MENTIONS: Final = "content.m\\.mentions"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the matching rule says; `actions` are the rule's, with tweaks for a push gateway."""

    rule_id: str
    notify: bool
    highlight: bool
    sound: str | None
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """A rule as tests: all of `shared` and all of `personal` must hold.

    `subscribed` is what the user's subscription to the thread must be; empty where it may be any.
    """

    decision: Decision
    shared: tuple[SharedTest, ...]
    personal: tuple[PersonalTest, ...]
    subscribed: frozenset[bool]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Compiled rules in order; `by_type` holds those left for event types that rules name.

    `asks_for_display_name` says that the display name in the room is of any concern, and
    `asks_for_subscriptions` that it matters to which threads the user is subscribed.
    """

    by_type: Mapping[str, tuple[CompiledRule, ...]]
    others: tuple[CompiledRule, ...]
    asks_for_display_name: bool
    asks_for_subscriptions: bool


@dataclass(frozen=True, slots=True, eq=False)
class Evaluator:
    """A user's compiled push rules. Users without changes share `program`."""

    user_id: str
    program: Program


def compile_ruleset(ruleset: Ruleset) -> Evaluator:
    """The user's rules, ready to be evaluated; keep it until the rules change."""
    if ruleset.changes == NO_CHANGES:
        return Evaluator(ruleset.user_id, _predefined_program(ruleset.predefined))
    return Evaluator(ruleset.user_id, _compile_program(ruleset))


def evaluate(
    evaluator: Evaluator,
    event: EventView,
    display_name: str | None = None,
    *,
    is_subscribed: bool = False,
) -> Decision | None:
    """What the first matching rule says, or None if no rule matches or the event is the user's own.

    `display_name` is the user's in the room of the event, and `is_subscribed` says whether they are
    subscribed to its thread, if it is in one.
    """
    user_id = evaluator.user_id
    if event.sender == user_id:
        return None
    program = evaluator.program
    candidates = event.candidates.get(program)
    if candidates is None:
        candidates = event.candidates[program] = _candidates(program, event)
    for rule in candidates:
        if (not is_subscribed) in rule.subscribed:
            continue
        for test in rule.personal:
            if not test(event, user_id, display_name):
                break
        else:
            return rule.decision
    return None


def build_decision(rule_id: str, actions: Iterable[Action]) -> Decision:
    """What a rule with these actions says; unknown and historical actions mean nothing."""
    actions = tuple(actions)
    sound: str | None = None
    highlight = False
    for action in actions:
        match action:
            case {"set_tweak": "sound", "value": str(value)}:
                sound = value
            case {"set_tweak": "highlight", "value": value}:
                highlight = value is True
            case {"set_tweak": "highlight"}:
                highlight = True
    return Decision(rule_id, "notify" in actions, highlight, sound, actions)


def _candidates(program: Program, event: EventView) -> tuple[CompiledRule, ...]:
    """The rules that may match, up to the first that matches for everybody."""
    candidates: list[CompiledRule] = []
    for rule in program.by_type.get(fold(event.event_type), program.others):
        for test in rule.shared:
            if not test(event):
                break
        else:
            candidates.append(rule)
            if not rule.personal and not rule.subscribed:
                break
    return tuple(candidates)


@cache
def _predefined_program(predefined: PredefinedRules) -> Program:
    return _compile_program(Ruleset("", predefined=predefined))


def _compile_program(ruleset: Ruleset) -> Program:
    typed = [
        _compile_rule(kind, rule)
        for kind in RuleKind
        for rule in ruleset.rules(kind)
        if rule.enabled
    ]
    names = {name for required, _ in typed for name in required}
    return Program(
        by_type={
            name: tuple(rule for required, rule in typed if required <= {name}) for name in names
        },
        others=tuple(rule for required, rule in typed if not required),
        asks_for_display_name=any(
            asks_for_display_name(condition)
            for kind in RuleKind
            for rule in ruleset.rules(kind)
            if rule.enabled
            for condition in _conditions(kind, rule)
        ),
        asks_for_subscriptions=any(rule.subscribed for _, rule in typed),
    )


def _compile_rule(kind: RuleKind, rule: PushRule) -> tuple[set[str], CompiledRule]:
    """The event types that the rule asks for (two can never hold at once) and all other tests."""
    shared: list[SharedTest] = []
    personal: list[PersonalTest] = []
    types: set[str] = set()
    subscribed: set[bool] = set()
    for condition in _conditions(kind, rule):
        event_type = literal_event_type(condition)
        subscription = wanted_subscription(condition)
        if event_type is not None:
            types.add(event_type)
        elif subscription is not None:
            shared.append(is_in_thread)
            subscribed.add(subscription)
        elif is_personal(condition):
            personal.append(compile_personal(condition))
        else:
            shared.append(compile_shared(condition))
    if kind is RuleKind.ROOM:
        shared.append(_in_room(rule.rule_id))
    elif kind is RuleKind.SENDER:
        shared.append(_sent_by(rule.rule_id))
    if rule.default and rule.rule_id in LEGACY_MENTION_RULES:
        shared.append(_without_mentions)
    decision = build_decision(rule.rule_id, rule.actions)
    return types, CompiledRule(decision, tuple(shared), tuple(personal), frozenset(subscribed))


def _conditions(kind: RuleKind, rule: PushRule) -> tuple[Condition, ...]:
    if kind is not RuleKind.CONTENT:
        return rule.conditions
    body_matches: dict[str, Any] = {"kind": "event_match", "key": BODY, "pattern": rule.pattern}
    return (body_matches,)


def _in_room(room_id: str) -> SharedTest:
    return lambda event: event.room.room_id == room_id


def _sent_by(user_id: str) -> SharedTest:
    return lambda event: event.sender == user_id


def _without_mentions(event: EventView) -> bool:
    return event.value(_MENTIONS) is ABSENT
