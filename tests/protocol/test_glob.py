"""Glob-style matching agrees with a slow and plain model, and stays fast on nasty patterns."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.glob import (
    GlobSet,
    compile_glob,
    compile_star_glob,
    compile_word_glob,
    compile_words,
    fold,
    like_pattern,
)
from tests.patience import PATIENCE_S

WORD = re.compile(r"[0-9A-Za-z_]")
patterns = st.text(alphabet="ab*?-", max_size=7)
texts = st.text(alphabet="ab-? \n", max_size=9)


def model(pattern: str, text: str) -> bool:
    """Recursion over the definition of `*` and `?`."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return model(pattern[1:], text) or (bool(text) and model(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and model(pattern[1:], text[1:])


def word_model(pattern: str, text: str) -> bool:
    """Every part between two word boundaries is tried."""

    def is_boundary(at: int) -> bool:
        around = text[at - 1 : at + 1]
        return at in (0, len(text)) or not all(WORD.match(character) for character in around)

    places = [at for at in range(len(text) + 1) if is_boundary(at)]
    return any(model(pattern, text[i:j]) for i in places for j in places if i <= j)


@given(patterns, texts)
def test_a_glob_matches_what_the_model_matches(pattern: str, text: str) -> None:
    assert compile_glob(pattern)(text) == model(pattern, text)


@given(patterns, texts)
def test_a_star_glob_takes_question_marks_literally(pattern: str, text: str) -> None:
    literal = str.maketrans("?", "\0")
    expected = model(pattern.translate(literal), text.translate(literal))
    assert compile_star_glob(pattern)(text) == expected


@given(patterns, texts)
def test_a_word_glob_matches_what_the_model_matches(pattern: str, text: str) -> None:
    assert compile_word_glob(pattern)(text) == word_model(pattern, text)


@given(st.text(alphabet="ab*?- ", min_size=1, max_size=4), texts)
def test_words_are_found_literally(words: str, text: str) -> None:
    literal = str.maketrans("*?", "\x01\x02")
    assert compile_words(words)(text) == word_model(
        words.translate(literal), text.translate(literal)
    )


@given(st.lists(patterns, max_size=4), texts)
def test_a_set_matches_when_one_of_its_patterns_does(several: list[str], text: str) -> None:
    assert GlobSet(several).matches(text) == any(model(pattern, text) for pattern in several)


@given(patterns, texts)
def test_the_like_pattern_matches_the_same(pattern: str, text: str) -> None:
    like = like_pattern(pattern)
    expression = re.sub(r"\\(.)|(%)|(.)", _like_part, like, flags=re.DOTALL)
    matched = re.fullmatch(expression, text, re.DOTALL) is not None
    assert matched == compile_star_glob(pattern)(text)


def _like_part(part: re.Match[str]) -> str:
    return ".*" if part[2] else re.escape(part[1] or part[3])


def test_like_patterns_escape_what_sql_takes_for_wildcards() -> None:
    assert like_pattern(r"m.a_b%c\*") == r"m.a\_b\%c\\%"


@given(st.text(max_size=20))
def test_folding_keeps_the_length_and_is_stable(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


def test_folding_ignores_case_beyond_ascii() -> None:
    assert fold("ÉCOLE Σ") == fold("école ς")


@pytest.mark.parametrize("body", ["An example event.", "exple", "An exciting triple-whammy"])
def test_the_examples_of_the_specification_for_bodies(body: str) -> None:
    assert compile_word_glob("ex*ple")(fold(body))


@pytest.mark.parametrize(
    ("topic", "matches"),
    [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False)],
)
def test_the_examples_of_the_specification_for_other_properties(topic: str, matches: bool) -> None:
    assert compile_glob("lunc?*")(fold(topic)) is matches


def test_characters_outside_ascii_are_word_boundaries() -> None:
    assert compile_word_glob("cake")("écakeé")
    assert not compile_word_glob("cake")("_cake")


@pytest.mark.parametrize("pattern", ["*a" * 100 + "*b", "a*" * 100 + "b", "*?a" * 100 + "*b"])
def test_no_pattern_backtracks_catastrophically(pattern: str) -> None:
    text = "a" * 60_000
    started = time.process_time()
    assert not compile_glob(pattern)(text)
    assert not compile_word_glob(pattern)(text)
    assert time.process_time() - started < PATIENCE_S
