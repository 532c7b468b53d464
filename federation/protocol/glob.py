"""Glob-style matching as Matrix has it: `*` is zero or more characters, `?` exactly one.

The stars of a pattern part it into segments, each of which has a fixed length. The leftmost place
where a segment fits is therefore always the best one: whatever can follow a later place can follow
the earlier one as well. So the segments are looked for one after the other and never again, and no
pattern can make a match take more than (length of text) x (length of pattern) steps, as a plain
translation to `.*` would.

Source: appendices, "Glob-style matching".
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

Matcher = Callable[[str], bool]

_WORD = "[0-9A-Za-z_]"
_WORD_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


def fold(text: str) -> str:
    """The text as case-insensitive comparisons see it, of the same length.

    Characters that fold to several (such as the German sharp s) stay as they are, so that `?`
    still stands for one of them.
    """
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(c if len(c.casefold()) > 1 else c.casefold() for c in text)


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> Matcher:
    """A test whether a text as a whole matches the pattern (case-sensitively; see `fold`)."""
    return _compile(pattern, question_mark=True)


@lru_cache(maxsize=4096)
def compile_star_glob(pattern: str) -> Matcher:
    """Like `compile_glob` for filters, whose only wildcard is `*`."""
    return _compile(pattern, question_mark=False)


@lru_cache(maxsize=4096)
def compile_word_glob(pattern: str) -> Matcher:
    """A test whether some part of a text matches that starts and ends at word boundaries.

    A word boundary is the start or end of the text, or a place beside a character that is not an
    ASCII letter, digit or underscore. Source: client-server API, push rules, `event_match`.
    """
    return _compile_words(_segments(pattern))


@lru_cache(maxsize=4096)
def compile_words(words: str) -> Matcher:
    """A test whether a text contains exactly these characters, between word boundaries."""
    return _compile_words([words])


class GlobSet:
    """Many patterns tried at once: literals, prefixes and suffixes cost one step together."""

    __slots__ = ("_exact", "_matchers", "_prefixes", "_suffixes")

    def __init__(self, patterns: Iterable[str], *, question_mark: bool = True) -> None:
        wildcards = "*?" if question_mark else "*"
        exact: set[str] = set()
        prefixes: list[str] = []
        suffixes: list[str] = []
        matchers: list[Matcher] = []
        compile_one = compile_glob if question_mark else compile_star_glob
        for pattern in patterns:
            if not _has_any(pattern, wildcards):
                exact.add(pattern)
            elif pattern[-1] == "*" and not _has_any(pattern[:-1], wildcards):
                prefixes.append(pattern[:-1])
            elif pattern[0] == "*" and not _has_any(pattern[1:], wildcards):
                suffixes.append(pattern[1:])
            else:
                matchers.append(compile_one(pattern))
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self._suffixes = tuple(suffixes)
        self._matchers = tuple(matchers)

    def matches(self, text: str) -> bool:
        """Whether at least one pattern matches the whole text."""
        return (
            text in self._exact
            or text.startswith(self._prefixes)
            or text.endswith(self._suffixes)
            or any(matcher(text) for matcher in self._matchers)
        )


def like_pattern(pattern: str) -> str:
    r"""The SQL `LIKE` pattern (with `\` as escape character) of a filter's `*` pattern."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _has_any(text: str, characters: str) -> bool:
    return any(character in text for character in characters)


Segment = str | list[str | None]
"""Literal text, or characters with None for each `?`."""


def _segments(pattern: str) -> list[Segment]:
    return [
        part if "?" not in part else [None if c == "?" else c for c in part]
        for part in pattern.split("*")
    ]


def _expression(segment: Segment) -> str:
    return "".join("." if character is None else re.escape(character) for character in segment)


def _compile(pattern: str, *, question_mark: bool) -> Matcher:
    segments: list[Segment] = _segments(pattern) if question_mark else [*pattern.split("*")]
    if len(segments) == 1:
        return _compile_exact(segments[0])
    first, *middle, last = segments
    if first == "" and last == "" and len(middle) == 1 and isinstance(middle[0], str):
        needle = middle[0]
        return lambda text: needle in text
    return _compile_sequence(first, middle, last)


def _compile_exact(segment: Segment) -> Matcher:
    if isinstance(segment, str):
        return segment.__eq__
    fullmatch = re.compile(_expression(segment), re.DOTALL).fullmatch
    return lambda text: fullmatch(text) is not None


def _compile_sequence(first: Segment, middle: list[Segment], last: Segment) -> Matcher:
    head = re.compile(_expression(first), re.DOTALL)
    searches = [re.compile(_expression(s), re.DOTALL).search for s in middle if s]
    tail = re.compile(_expression(last), re.DOTALL)
    tail_length = len(last)

    def matches(text: str) -> bool:
        found = head.match(text)
        for search in searches:
            if found is None:
                return False
            found = search(text, found.end())
        if found is None:
            return False
        tail_start = len(text) - tail_length
        return tail_start >= found.end() and tail.match(text, tail_start) is not None

    return matches


def _compile_words(segments: list[Segment]) -> Matcher:
    expressions = [_expression(segment) for segment in segments]
    expressions[0] = _boundary_before(segments[0]) + expressions[0]
    expressions[-1] += _boundary_after(segments[-1])
    searches = [re.compile(e, re.DOTALL).search for e in expressions if e]
    needle = max((s for s in segments if isinstance(s, str)), key=len, default="")

    def matches(text: str) -> bool:
        if needle not in text:
            return False
        end = 0
        for search in searches:
            found = search(text, end)
            if found is None:
                return False
            end = found.end()
        return True

    return matches


def _boundary_before(segment: Segment) -> str:
    if not segment:
        return ""
    if segment[0] is None:
        return f"(?:(?<!{_WORD})|(?!{_WORD}))"
    return f"(?<!{_WORD})" if segment[0] in _WORD_CHARACTERS else ""


def _boundary_after(segment: Segment) -> str:
    if not segment:
        return ""
    if segment[-1] is None:
        return f"(?:(?!{_WORD})|(?<!{_WORD}))"
    return f"(?!{_WORD})" if segment[-1] in _WORD_CHARACTERS else ""
