"""Dot-separated property paths."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.property_path import ABSENT, build_path, find_property, parse_path

names = st.text(alphabet="a.\\", max_size=4)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to", ("content", "m.relates_to")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"content.a\x", ("content", "a\\x")),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
    ],
)
def test_the_examples_of_the_specification(path: str, expected: tuple[str, ...]) -> None:
    assert parse_path(path) == expected


@given(st.lists(names, min_size=1, max_size=4))
def test_parsing_undoes_building(path: list[str]) -> None:
    assert parse_path(build_path(tuple(path))) == tuple(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (r"content.m\.x.y", 1),
        ("content.m.x.y", 2),
        ("content.none", None),
        ("content.absent", ABSENT),
        ("content.none.deeper", ABSENT),
        ("content.list.0", ABSENT),
    ],
)
def test_finding_a_property(path: str, expected: Any) -> None:
    event = {"content": {"m.x": {"y": 1}, "m": {"x": {"y": 2}}, "none": None, "list": [1]}}
    assert find_property(event, path) == expected
