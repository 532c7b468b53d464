"""Regular expressions that no text can stall, and that otherwise match as Python's do."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.appservices.patterns import MAX_TEXT, Pattern, PatternRefused

ATOMS = st.sampled_from(
    ["a", "b", "_", ".", r"\.", "[ab]", "[^a]", "[a-c_]", r"\d", r"\w", r"[\d_]", "^", "$", r"\b"]
)


def repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repetition = st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{,2}"])
    grouped = inner.map(lambda text: f"(?:{text})")
    return st.one_of(
        st.tuples(grouped, repetition).map("".join),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        inner.map(lambda text: f"(?={text})"),
        inner.map(lambda text: f"(?!{text})"),
        inner.map(lambda text: f"(?i:{text})"),
    )


EXPRESSIONS = st.recursive(ATOMS, repeated, max_leaves=8)


@given(source=EXPRESSIONS, text=st.text("abcAB_.1 \n", max_size=8))
def test_what_matches_is_what_pythons_expressions_match(source: str, text: str) -> None:
    assert Pattern(source).matches(text) is (re.match(source, text) is not None)


@pytest.mark.parametrize(
    ("source", "text", "fits"),
    [
        (r"@irc_.*:example\.org", "@irc_bob:example.org", True),
        (r"@irc_.*:example\.org", "@irc_bob:exampleXorg", False),
        (r"@irc_.*", "@irc_bob:example.org", True),
        (r"irc_.*", "@irc_bob:example.org", False),
        (r"^@ircbot:example\.org$", "@ircbot:example.org", True),
        (r"^@ircbot:example\.org$", "@ircbot:example.org.evil", False),
        (r"@(?!admin)[a-z]+:x", "@admin:x", False),
        (r"@(?!admin)[a-z]+:x", "@bob:x", True),
        (r"#irc_[^:]+:x", "#irc_#den:x", True),
    ],
)
def test_expressions_of_bridges(source: str, text: str, fits: bool) -> None:
    assert Pattern(source).matches(text) is fits


@pytest.mark.parametrize(
    "source", ["(a+)+$", "(a|a)*$", "(.*)*b", "(a?){20}a{20}$", ".*.*.*.*.*.*.*x", "(?=(a+)+b)a"]
)
def test_no_text_stalls_an_expression(source: str) -> None:
    # Python's matcher would take longer than the universe has existed over some of these.
    assert Pattern(source).matches("a" * MAX_TEXT + "!") is False
    assert isinstance(Pattern(source).matches("a" * (MAX_TEXT - 1) + "!"), bool)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(", "missing"),
        (r"(a)\1", "refers back"),
        ("(?<=a)b", "looks behind"),
        ("(?<!a)b", "looks behind"),
        ("a{1000000}", "too large"),
        ("(((a{50}){50}){50}){50}", "too large"),
        ("(){1000000000}", "too large"),
        ("a" * 2_000, "longer than"),
    ],
)
def test_what_cannot_be_matched_is_refused(source: str, reason: str) -> None:
    with pytest.raises(PatternRefused, match=reason):
        Pattern(source)
