"""A user's push rules: the predefined ones, what the user made of them, and the user's own.

Only the difference from the predefined rules is stored (`RuleChanges`), so that a user who never
changed anything costs nothing, and new predefined rules reach everybody.
Source: client-server API, push notifications, "Push Rules", "Push Rules: API".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from federation.protocol import default_push_rules as predefined
from federation.protocol.default_push_rules import OwnValue
from federation.protocol.errors import InvalidParam, MissingParam, NotFound, Unknown
from federation.protocol.push_conditions import Condition, check_condition, check_pattern

MAX_CUSTOM_RULES: Final = 2000
MAX_RULE_ID_LENGTH: Final = 512
MAX_CONDITIONS: Final = 50
MAX_ACTIONS: Final = 20
MAX_CUSTOM_CONDITIONS: Final = 5000
"""Of all of a user's rules together."""
MAX_QUESTION_PATTERNS: Final = 512
"""Characters of all of a user's patterns together that have a `?`. Each of them takes a step for
each character of a message; literal text and `*` cost a few microseconds altogether."""
MAX_CHANGES_BYTES: Final = 1_048_576


class RuleKind(StrEnum):
    """The kinds of rules, in the order in which they are tried."""

    OVERRIDE = "override"
    CONTENT = "content"
    POSTCONTENT = "postcontent"
    """Of MSC4306; only predefined rules are of this kind."""
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"

    @property
    def has_conditions(self) -> bool:
        """Whether rules of this kind carry conditions of their own."""
        return self in (RuleKind.OVERRIDE, RuleKind.POSTCONTENT, RuleKind.UNDERRIDE)


Action = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PushRule:
    """When an event should notify, and how; `conditions` or `pattern` depend on the kind."""

    rule_id: str
    actions: tuple[Action, ...]
    conditions: tuple[Condition, ...] = ()
    pattern: str | OwnValue | None = None
    enabled: bool = True
    default: bool = False


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a user changed about a predefined rule; None where it stays as it is."""

    enabled: bool | None = None
    actions: tuple[Action, ...] | None = None


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """How a user's rules differ from the predefined ones: what is stored."""

    custom: Mapping[RuleKind, tuple[PushRule, ...]] = field(default_factory=dict)
    adjusted: Mapping[str, Adjustment] = field(default_factory=dict)


NO_CHANGES: Final = RuleChanges()

_Rules = Mapping[RuleKind, tuple[PushRule, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class PredefinedRules:
    """A set of predefined rules: `above` stands before the user's own rules, `below` after."""

    above: _Rules
    below: _Rules

    def find(self, kind: RuleKind, rule_id: str) -> PushRule | None:
        """The rule as it is predefined."""
        rules = self.above.get(kind, ()) + self.below.get(kind, ())
        return next((rule for rule in rules if rule.rule_id == rule_id), None)


def _predefine(*rules: predefined.Rule) -> tuple[PushRule, ...]:
    return tuple(
        PushRule(
            rule_id=rule["rule_id"],
            actions=tuple(rule["actions"]),
            conditions=tuple(rule.get("conditions", ())),
            pattern=rule.get("pattern"),
            enabled=rule.get("enabled", True),
            default=True,
        )
        for rule in rules
    )


PREDEFINED_RULES: Final = PredefinedRules(
    above={RuleKind.OVERRIDE: _predefine(predefined.MASTER_RULE)},
    below={
        RuleKind.OVERRIDE: _predefine(*predefined.OVERRIDE_RULES),
        RuleKind.UNDERRIDE: _predefine(*predefined.UNDERRIDE_RULES),
    },
)
"""The rules of specification v1.19, and those for polls."""

PREDEFINED_WITH_LEGACY_MENTIONS: Final = PredefinedRules(
    above=PREDEFINED_RULES.above,
    below={
        RuleKind.OVERRIDE: _predefine(
            *predefined.OVERRIDE_RULES[: predefined.END_OF_MENTIONS],
            *predefined.LEGACY_OVERRIDE_RULES,
            *predefined.OVERRIDE_RULES[predefined.END_OF_MENTIONS :],
        ),
        RuleKind.CONTENT: _predefine(*predefined.LEGACY_CONTENT_RULES),
        RuleKind.UNDERRIDE: PREDEFINED_RULES.below[RuleKind.UNDERRIDE],
    },
)
"""The same with the rules that version 1.17 removed, after those for `m.mentions`."""


def with_thread_rules(rules: PredefinedRules) -> PredefinedRules:
    """The same, and threads notify those who are subscribed to them and nobody else."""
    threads = {RuleKind.POSTCONTENT: _predefine(*predefined.THREAD_RULES)}
    return replace(rules, below={**rules.below, **threads})


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All push rules of a user, most important first within each kind."""

    user_id: str
    changes: RuleChanges = NO_CHANGES
    predefined: PredefinedRules = PREDEFINED_RULES

    def rules(self, kind: RuleKind) -> tuple[PushRule, ...]:
        """The rules of a kind in order, disabled ones too."""
        above = tuple(self._adjust(rule) for rule in self.predefined.above.get(kind, ()))
        below = tuple(self._adjust(rule) for rule in self.predefined.below.get(kind, ()))
        return above + self.changes.custom.get(kind, ()) + below

    def find_rule(self, kind: RuleKind, rule_id: str) -> PushRule | None:
        """The rule as it stands."""
        return next((rule for rule in self.rules(kind) if rule.rule_id == rule_id), None)

    def get_rule(self, kind: str, rule_id: str) -> PushRule:
        """The rule as it stands; raises `NotFound` for an unknown rule or kind."""
        known = find_kind(kind)
        rule = None if known is None else self.find_rule(known, rule_id)
        if rule is None:
            raise NotFound("The push rule was not found")
        return rule

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """The ruleset as clients see it: the value of `global`."""
        shown = {
            kind.value: [rule_json(kind, rule, self.user_id) for rule in self.rules(kind)]
            for kind in RuleKind
        }
        if not shown[RuleKind.POSTCONTENT]:
            del shown[RuleKind.POSTCONTENT]
        return shown

    def _adjust(self, rule: PushRule) -> PushRule:
        change = self.changes.adjusted.get(rule.rule_id)
        if change is None:
            return rule
        return replace(
            rule,
            enabled=rule.enabled if change.enabled is None else change.enabled,
            actions=rule.actions if change.actions is None else change.actions,
        )


def find_kind(kind: str) -> RuleKind | None:
    """The kind of that name."""
    return RuleKind(kind) if kind in RuleKind.__members__.values() else None


def rule_json(kind: RuleKind, rule: PushRule, user_id: str) -> dict[str, Any]:
    """A rule as its user sees it."""
    shown: dict[str, Any] = {
        "rule_id": rule.rule_id,
        "default": rule.default,
        "enabled": rule.enabled,
        "actions": list(rule.actions),
    }
    if kind.has_conditions:
        shown["conditions"] = [
            {key: _own_value(value, user_id) for key, value in condition.items()}
            for condition in rule.conditions
        ]
    if kind is RuleKind.CONTENT:
        shown["pattern"] = _own_value(rule.pattern, user_id)
    return shown


def _own_value(value: object, user_id: str) -> object:
    match value:
        case OwnValue.USER_ID:
            return user_id
        case OwnValue.LOCALPART:
            return user_id[1:].partition(":")[0]
        case _:
            return value


def set_rule(
    ruleset: Ruleset,
    kind: str,
    rule_id: str,
    body: Mapping[str, Any],
    *,
    before: str | None = None,
    after: str | None = None,
) -> Ruleset:
    """Create or change a rule of the user's own.

    A new rule is enabled and becomes the most important of its kind unless `before` or `after`
    name a place; a changed one stays enabled or disabled and, unless told otherwise, where it is.
    Raises `InvalidParam`, `MissingParam`, and `Unknown` for a `before` or `after` that the user
    has no rule for.
    """
    known = find_kind(kind)
    if known is None:
        raise InvalidParam(f"There is no kind of push rules {kind!r}")
    if known is RuleKind.POSTCONTENT:
        raise InvalidParam("There are only predefined rules of this kind")
    rule = parse_rule(known, check_new_rule_id(rule_id), body)
    rules = list(ruleset.changes.custom.get(known, ()))
    former = next((i for i, other in enumerate(rules) if other.rule_id == rule_id), None)
    if former is not None:
        rule = replace(rule, enabled=rules.pop(former).enabled)
    elif sum(map(len, ruleset.changes.custom.values())) >= MAX_CUSTOM_RULES:
        raise InvalidParam(f"A user may have at most {MAX_CUSTOM_RULES} push rules")
    rules.insert(_place(rules, before, after, former or 0), rule)
    return _check_growth(ruleset, _with_custom(ruleset, known, rules))


def delete_rule(ruleset: Ruleset, kind: str, rule_id: str) -> Ruleset:
    """Remove a rule of the user's own; raises `NotFound`, for predefined rules as well."""
    known = find_kind(kind)
    rules = ruleset.changes.custom.get(known, ()) if known is not None else ()
    kept = [rule for rule in rules if rule.rule_id != rule_id]
    if known is None or len(kept) == len(rules):
        raise NotFound("The push rule was not found")
    return _with_custom(ruleset, known, kept)


def set_enabled(ruleset: Ruleset, kind: str, rule_id: str, body: Mapping[str, Any]) -> Ruleset:
    """Enable or disable a rule; raises `NotFound`, `MissingParam`, `InvalidParam`."""
    enabled = _required(body, "enabled")
    if not isinstance(enabled, bool):
        raise InvalidParam("'enabled' must be a boolean")
    return _change(
        ruleset, kind, rule_id, replace(ruleset.get_rule(kind, rule_id), enabled=enabled)
    )


def set_actions(ruleset: Ruleset, kind: str, rule_id: str, body: Mapping[str, Any]) -> Ruleset:
    """Give a rule other actions; raises `NotFound`, `MissingParam`, `InvalidParam`."""
    actions = parse_actions(_required(body, "actions"))
    changed = replace(ruleset.get_rule(kind, rule_id), actions=actions)
    return _check_growth(ruleset, _change(ruleset, kind, rule_id, changed))


def copy_room_rules(ruleset: Ruleset, old_room_id: str, new_room_id: str) -> Ruleset:
    """Give the successor of an upgraded room the rules of the old room, where it has none yet.

    These are the room rule and the override rule named like the room, by which clients mute one.
    """
    for kind in (RuleKind.ROOM, RuleKind.OVERRIDE):
        rules = ruleset.changes.custom.get(kind, ())
        rule = next((rule for rule in rules if rule.rule_id == old_room_id), None)
        if rule is None or ruleset.find_rule(kind, new_room_id) is not None:
            continue
        conditions = tuple(
            {k: new_room_id if v == old_room_id else v for k, v in condition.items()}
            for condition in rule.conditions
        )
        copy = replace(rule, rule_id=new_room_id, conditions=conditions)
        ruleset = _with_custom(ruleset, kind, [copy, *rules])
    return ruleset


def parse_rule(kind: RuleKind, rule_id: str, body: Mapping[str, Any]) -> PushRule:
    """A rule as a client sends it; raises `InvalidParam`, `MissingParam`."""
    actions = parse_actions(_required(body, "actions"))
    if kind is RuleKind.CONTENT:
        pattern = _required(body, "pattern")
        if not isinstance(pattern, str):
            raise InvalidParam("'pattern' must be a string")
        return PushRule(rule_id, actions, pattern=check_pattern(pattern))
    if kind.has_conditions:
        return PushRule(rule_id, actions, conditions=_parse_conditions(body.get("conditions")))
    return PushRule(rule_id, actions)


def parse_actions(actions: object) -> tuple[Action, ...]:
    """The actions of a rule; the historical ones are kept and mean nothing.

    Raises `InvalidParam`.
    """
    if not isinstance(actions, list):
        raise InvalidParam("'actions' must be a list")
    if len(actions) > MAX_ACTIONS:
        raise InvalidParam(f"A push rule may have at most {MAX_ACTIONS} actions")
    for action in actions:
        match action:
            case "notify" | "dont_notify" | "coalesce" | {"set_tweak": str()}:
                continue
            case _:
                raise InvalidParam("An action is neither 'notify' nor a tweak")
    return tuple(actions)


def check_new_rule_id(rule_id: str) -> str:
    """The ID of a rule that a user may create; raises `InvalidParam`."""
    if rule_id.startswith("."):
        raise InvalidParam("Rule IDs that start with a dot are reserved for predefined rules")
    if not rule_id or "/" in rule_id or "\\" in rule_id:
        raise InvalidParam("A rule ID may not be empty nor contain slashes or backslashes")
    if len(rule_id) > MAX_RULE_ID_LENGTH:
        raise InvalidParam(f"A rule ID may have at most {MAX_RULE_ID_LENGTH} characters")
    return rule_id


def encode_changes(changes: RuleChanges) -> bytes:
    """The stored form: JSON of the user's own rules and of the adjusted predefined ones."""
    stored: dict[str, Any] = {
        kind.value: [_stored_rule(rule) for rule in rules] for kind, rules in changes.custom.items()
    }
    if changes.adjusted:
        stored["adjusted"] = {
            rule_id: _stored_adjustment(change) for rule_id, change in changes.adjusted.items()
        }
    return orjson.dumps(stored)


def decode_changes(stored: bytes) -> RuleChanges:
    """The inverse of `encode_changes`."""
    fields = orjson.loads(stored)
    return RuleChanges(
        custom={
            kind: tuple(_loaded_rule(rule) for rule in fields[kind])
            for kind in RuleKind
            if kind in fields
        },
        adjusted={
            rule_id: Adjustment(change.get("enabled"), _loaded_actions(change.get("actions")))
            for rule_id, change in fields.get("adjusted", {}).items()
        },
    )


def _place(rules: list[PushRule], before: str | None, after: str | None, otherwise: int) -> int:
    anchor = after if before is None else before
    if anchor is None:
        return otherwise
    for index, rule in enumerate(rules):
        if rule.rule_id == anchor:
            return index if before is not None else index + 1
    raise Unknown(f"before/after rule not found: {anchor}")


def _check_growth(former: Ruleset, changed: Ruleset) -> Ruleset:
    """The changed rules, if they may be kept and tried on every event. Raises `InvalidParam`.

    Rules that came to be too many in another way may still be changed, but not grow.
    """
    for name, measure, most in _LIMITS:
        size = measure(changed.changes)
        if size > most and size > measure(former.changes):
            raise InvalidParam(f"All push rules together may have at most {most} {name}")
    return changed


def _count_conditions(changes: RuleChanges) -> int:
    return sum(len(rule.conditions) for rules in changes.custom.values() for rule in rules)


def _length_of_question_patterns(changes: RuleChanges) -> int:
    rules = (rule for rules in changes.custom.values() for rule in rules)
    return sum(len(p) for rule in rules for p in _patterns(rule) if "?" in p)


def _patterns(rule: PushRule) -> Iterator[str]:
    """What the rule looks for in texts."""
    for pattern in (rule.pattern, *(condition.get("pattern") for condition in rule.conditions)):
        if isinstance(pattern, str):
            yield pattern


def _with_custom(ruleset: Ruleset, kind: RuleKind, rules: list[PushRule]) -> Ruleset:
    custom = {**ruleset.changes.custom, kind: tuple(rules)}
    if not rules:
        del custom[kind]
    return replace(ruleset, changes=replace(ruleset.changes, custom=custom))


def _change(ruleset: Ruleset, kind: str, rule_id: str, changed: PushRule) -> Ruleset:
    known = RuleKind(kind)
    if changed.default:
        return _with_adjusted(ruleset, known, changed)
    rules = ruleset.changes.custom[known]
    return _with_custom(
        ruleset, known, [changed if rule.rule_id == rule_id else rule for rule in rules]
    )


def _with_adjusted(ruleset: Ruleset, kind: RuleKind, changed: PushRule) -> Ruleset:
    original = ruleset.predefined.find(kind, changed.rule_id)
    adjusted = dict(ruleset.changes.adjusted)
    adjusted.pop(changed.rule_id, None)
    if original is not None and changed != original:
        adjusted[changed.rule_id] = Adjustment(
            enabled=None if changed.enabled == original.enabled else changed.enabled,
            actions=None if changed.actions == original.actions else changed.actions,
        )
    return replace(ruleset, changes=replace(ruleset.changes, adjusted=adjusted))


def _parse_conditions(conditions: object) -> tuple[Condition, ...]:
    if conditions is None:
        return ()
    if not isinstance(conditions, list):
        raise InvalidParam("'conditions' must be a list")
    if len(conditions) > MAX_CONDITIONS:
        raise InvalidParam(f"A push rule may have at most {MAX_CONDITIONS} conditions")
    return tuple(check_condition(condition) for condition in conditions)


def _required(body: Mapping[str, Any], name: str) -> Any:
    if name not in body:
        raise MissingParam(f"{name!r} is missing")
    return body[name]


def _stored_rule(rule: PushRule) -> dict[str, Any]:
    return dict(_stored_fields(rule))


def _stored_fields(rule: PushRule) -> Iterator[tuple[str, Any]]:
    yield "rule_id", rule.rule_id
    yield "actions", rule.actions
    if rule.conditions:
        yield "conditions", rule.conditions
    if rule.pattern is not None:
        yield "pattern", rule.pattern
    if not rule.enabled:
        yield "enabled", False


def _stored_adjustment(change: Adjustment) -> dict[str, Any]:
    fields = {"enabled": change.enabled, "actions": change.actions}
    return {name: value for name, value in fields.items() if value is not None}


def _loaded_rule(rule: Mapping[str, Any]) -> PushRule:
    return PushRule(
        rule_id=rule["rule_id"],
        actions=tuple(rule["actions"]),
        conditions=tuple(rule.get("conditions", ())),
        pattern=rule.get("pattern"),
        enabled=rule.get("enabled", True),
    )


def _loaded_actions(actions: list[Action] | None) -> tuple[Action, ...] | None:
    return None if actions is None else tuple(actions)


_LIMITS: Final = (
    ("conditions", _count_conditions, MAX_CUSTOM_CONDITIONS),
    ("characters of patterns with '?'", _length_of_question_patterns, MAX_QUESTION_PATTERNS),
    ("bytes", lambda changes: len(encode_changes(changes)), MAX_CHANGES_BYTES),
)
