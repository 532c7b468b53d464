"""Regular expressions of registrations, matched in time that grows with the text and no faster.

Python's own matcher tries one way after another, so that a careless expression may take years over
a user ID that a stranger has chosen. Here all ways are followed at once (Thompson's construction):
a text of n characters takes at most n steps through each state of the expression. The syntax is
Python's, which registrations are written for; what cannot be matched like this is refused:
back references, look-behind, atomic groups.

As in Synapse an expression has to match from the beginning of the text, but not to its end.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

MAX_STATES = 600
MAX_SOURCE = 1_000
MAX_TEXT = 1_024
"""IDs are shorter; what is longer matches nothing."""

TOO_LARGE = "it is too large; use * or + instead of high numbers"

IsIn = Callable[[str], bool]
Holds = Callable[["Run", int], bool]


class PatternRefused(Exception):
    """The expression is wrong, or cannot be matched here; the message says why."""


@dataclass(slots=True)
class State:
    """A state: it takes a character, or holds a condition, or leads on to others at once."""

    takes: IsIn | None = None
    holds: Holds | None = None
    nexts: list[int] = field(default_factory=list)


class Pattern:
    """An expression that is ready to be matched."""

    __slots__ = ("_start", "_states", "source")

    def __init__(self, source: str) -> None:
        """Raises `PatternRefused`."""
        self.source = source
        if len(source) > MAX_SOURCE:
            raise PatternRefused(f"it is longer than {MAX_SOURCE} characters")
        try:
            tree = _parser.parse(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise PatternRefused(str(error)) from error
        builder = Builder()
        self._start = builder.sequence(tree, builder.end, tree.state.flags)
        self._states = builder.states

    def matches(self, text: str) -> bool:
        """Whether the text begins with what the expression describes."""
        if len(text) > MAX_TEXT:
            return False
        return Run(self._states, text).matches_from(self._start, 0)


END = 0
"""The state in which a match is complete."""


class Run:
    """One text on its way through the states."""

    __slots__ = ("_looked", "_states", "text")

    def __init__(self, states: Sequence[State], text: str) -> None:
        self._states = states
        self._looked: dict[tuple[int, int], bool] = {}
        self.text = text

    def matches_from(self, start: int, position: int) -> bool:
        """Whether the text from a position on begins with what is described from a state on."""
        current = self._closure((start,), position)
        while current and END not in current:
            if position == len(self.text):
                return False
            char = self.text[position]
            position += 1
            moved = [n for s in current if (t := self._states[s].takes) and t(char)
                     for n in self._states[s].nexts]  # fmt: skip
            current = self._closure(moved, position)
        return END in current

    def looks_ahead(self, start: int, position: int) -> bool:
        """As `matches_from`, each place looked at once."""
        known = self._looked.get((start, position))
        if known is None:
            known = self._looked[start, position] = self.matches_from(start, position)
        return known

    def _closure(self, states: Sequence[int], position: int) -> set[int]:
        """The states that are reached from some without taking a character."""
        reached: set[int] = set()
        waiting = list(states)
        while waiting:
            number = waiting.pop()
            if number in reached:
                continue
            reached.add(number)
            state = self._states[number]
            if state.takes is None and (state.holds is None or state.holds(self, position)):
                waiting += state.nexts
        return reached


class Builder:
    """Makes states of a parsed expression, from its end to its beginning."""

    def __init__(self) -> None:
        self.states = [State()]
        self.end = END

    def add(self, state: State) -> int:
        """The number of a new state. Raises `PatternRefused` if there are too many."""
        if len(self.states) >= MAX_STATES:
            raise PatternRefused(TOO_LARGE)
        self.states.append(state)
        return len(self.states) - 1

    def sequence(self, items: Any, after: int, flags: int) -> int:
        """The state at which a sequence begins that leads to `after`."""
        for code, argument in reversed(list(items)):
            after = self.item(code, argument, after, flags)
        return after

    def item(self, code: Any, argument: Any, after: int, flags: int) -> int:
        """The state at which one part begins that leads to `after`."""
        if code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return self.add(State(takes=character(code, argument, flags), nexts=[after]))
        if code is op.BRANCH:
            starts = [self.sequence(branch, after, flags) for branch in argument[1]]
            return self.add(State(nexts=starts))
        if code is op.SUBPATTERN:
            _, added, removed, inner = argument
            return self.sequence(inner, after, (flags | added) & ~removed)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = argument
            return self.repeat(least, most, inner, after, flags)
        if code is op.AT:
            return self.add(State(holds=place(argument, flags), nexts=[after]))
        if code in (op.ASSERT, op.ASSERT_NOT) and argument[0] > 0:
            start = self.sequence(argument[1], self.end, flags)
            return self.add(State(holds=looking(start, code is op.ASSERT), nexts=[after]))
        if code is op.FAILURE:
            return self.add(State(takes=lambda _: False))
        raise PatternRefused(REFUSED.get(code, "a part of it is not supported"))

    def repeat(self, least: int, most: Any, inner: Any, after: int, flags: int) -> int:
        """The state at which `least` to `most` repetitions begin."""
        if least > MAX_STATES:
            raise PatternRefused(TOO_LARGE)
        if most is op.MAXREPEAT:
            again = self.add(State())
            self.states[again].nexts = [self.sequence(inner, again, flags), after]
            start = again
        else:
            start = after
            for _ in range(int(most) - least):
                start = self.add(State(nexts=[self.sequence(inner, start, flags), after]))
        for _ in range(least):
            start = self.sequence(inner, start, flags)
        return start


REFUSED = {
    op.GROUPREF: "it refers back to a group",
    op.GROUPREF_EXISTS: "it refers back to a group",
    op.ASSERT: "it looks behind (?<=",
    op.ASSERT_NOT: "it looks behind (?<!",
    op.ATOMIC_GROUP: "it has an atomic group (?>",
    op.POSSESSIVE_REPEAT: "it has a possessive repetition such as *+",
}


def character(code: Any, argument: Any, flags: int) -> IsIn:
    """What tells whether a character is the one, or one of those, that a part describes."""
    if code is op.ANY:
        return (lambda _: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if code is op.IN:
        is_negated = argument[0][0] is op.NEGATE
        tests = [one_of(kind, item, flags) for kind, item in argument[is_negated:]]
        return lambda char: any(test(char) for test in tests) != is_negated
    is_it = one_of(op.LITERAL, argument, flags)
    return is_it if code is op.LITERAL else lambda char: not is_it(char)


def one_of(code: Any, argument: Any, flags: int) -> IsIn:
    """What tells whether a character is in one part of a set."""
    if code is op.CATEGORY:
        return category(argument, ascii_only=bool(flags & re.ASCII))
    low, high = argument if code is op.RANGE else (argument, argument)
    if not flags & re.IGNORECASE:
        return lambda char: low <= ord(char) <= high
    return lambda char: any(low <= ord(case) <= high for case in cases(char))


def cases(char: str) -> Iterator[str]:
    """A character in the cases that it has as a single character."""
    yield char
    yield from (case for case in (char.lower(), char.upper()) if len(case) == 1)


def category(name: Any, *, ascii_only: bool) -> IsIn:
    """What tells whether a character is in a class such as that of digits."""
    kind, is_negated = CATEGORIES[name]

    def is_in(char: str) -> bool:
        return (kind(char) and not (ascii_only and ord(char) > 127)) != is_negated

    return is_in


def is_word(char: str) -> bool:
    """Whether a character is one of words."""
    return char.isalnum() or char == "_"


CATEGORIES: dict[Any, tuple[IsIn, bool]] = {
    op.CATEGORY_DIGIT: (str.isdecimal, False),
    op.CATEGORY_NOT_DIGIT: (str.isdecimal, True),
    op.CATEGORY_SPACE: (str.isspace, False),
    op.CATEGORY_NOT_SPACE: (str.isspace, True),
    op.CATEGORY_WORD: (is_word, False),
    op.CATEGORY_NOT_WORD: (is_word, True),
}


def place(where: Any, flags: int) -> Holds:
    """What tells whether a position is the one that an anchor such as `$` describes."""
    lines = bool(flags & re.MULTILINE)
    if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
        by_line = lines and where is op.AT_BEGINNING
        return lambda run, at: at == 0 or (by_line and run.text[at - 1] == "\n")
    if where in (op.AT_END, op.AT_END_STRING):
        return lambda run, at: is_end(run.text, at, where is op.AT_END, lines)
    is_boundary = where is op.AT_BOUNDARY
    return lambda run, at: between_words(run.text, at) == is_boundary


def is_end(text: str, at: int, before_newline: bool, lines: bool) -> bool:
    """Whether a position is the end, or, for `$`, that before a last newline."""
    if at == len(text):
        return True
    return before_newline and text[at] == "\n" and (lines or at == len(text) - 1)


def between_words(text: str, at: int) -> bool:
    """Whether a word begins or ends at a position."""
    before = at > 0 and is_word(text[at - 1])
    behind = at < len(text) and is_word(text[at])
    return before != behind


def looking(start: int, wanted: bool) -> Holds:
    """What tells whether the text goes on as it must, or as it must not."""
    return lambda run, at: run.looks_ahead(start, at) == wanted
