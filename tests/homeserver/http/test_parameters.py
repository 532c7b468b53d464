"""Typed reads of query parameters and body keys."""

from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import BadJson, InvalidParam, MissingParam, MissingToken
from homeserver.http import request_body
from homeserver.http.call import Call
from homeserver.http.query import parse_query, percent_decode
from homeserver.services import Services

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


def call_with(query_string: str) -> Call:
    request = cast(web.BaseRequest, SimpleNamespace(method="GET"))
    return Call(
        services=cast(Services, None),
        request=request,
        path={},
        query_string=query_string,
        request_id="1",
        remote_address="127.0.0.1",
    )


@given(texts)
def test_decoding_undoes_encoding(text: str) -> None:
    assert percent_decode(quote(text, safe="")) == text


@given(st.lists(st.tuples(texts.filter(bool), texts), max_size=20))
def test_a_query_is_read_as_it_was_built(pairs: list[tuple[str, str]]) -> None:
    read = parse_query(urlencode(pairs))
    assert [(name, value) for name in read for value in read[name]] == sorted(
        pairs, key=lambda pair: list(read).index(pair[0])
    )


def test_a_missing_query_parameter_is_named() -> None:
    call = call_with("a=1")
    assert call.query_str("a") == "1"
    assert call.query_optional_str("b") is None
    assert call.query_list("b") == []
    with pytest.raises(MissingParam, match="'b'"):
        call.query_str("b")


def test_numbers_have_defaults_and_bounds() -> None:
    call = call_with("limit=500&timeout=0&from=-3")
    assert call.query_int("limit", 10, maximum=100) == 100
    assert call.query_int("timeout", 10) == 0
    assert call.query_int("absent", 10) == 10
    assert call.query_int("absent") is None
    assert call.query_int("from", 0, minimum=-5) == -3
    with pytest.raises(InvalidParam):
        call.query_int("from", 0)
    with pytest.raises(InvalidParam):
        call.query_int("timeout", 1, minimum=1)


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "1e3", "٣", "9" * 5000, "+1", "1_0"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidParam):
        call_with(urlencode({"limit": text})).query_int("limit", 10)


def test_booleans_and_choices_are_checked() -> None:
    call = call_with("a=true&b=false&c=yes&dir=f")
    assert call.query_bool("a") is True
    assert call.query_bool("b", default=True) is False
    assert call.query_bool("absent", default=None) is None
    assert call.query_choice("dir", ("b", "f")) == "f"
    assert call.query_choice("absent", ("b", "f"), "b") == "b"
    with pytest.raises(InvalidParam):
        call.query_bool("c")
    with pytest.raises(InvalidParam):
        call.query_choice("c", ("b", "f"))


def test_nobody_is_behind_a_call_without_token() -> None:
    with pytest.raises(MissingToken):
        _ = call_with("").user_id


BODY: dict[str, Any] = {
    "text": "x",
    "number": 3,
    "yes": True,
    "object": {"a": 1},
    "list": ["a", "b"],
    "objects": [{}],
    "mixed": ["a", 1],
    "null": None,
    "fraction": 1.0,
    "nul": "a\0b",
}


def test_keys_of_the_right_type_are_read() -> None:
    assert request_body.require_str(BODY, "text") == "x"
    assert request_body.require_int(BODY, "number") == 3
    assert request_body.require_bool(BODY, "yes") is True
    assert request_body.require_object(BODY, "object") == {"a": 1}
    assert request_body.require_list(BODY, "mixed") == ["a", 1]
    assert request_body.require_str_list(BODY, "list") == ["a", "b"]
    assert request_body.require_object_list(BODY, "objects") == [{}]


@pytest.mark.parametrize("key", ["absent", "null"])
def test_null_is_as_good_as_absent(key: str) -> None:
    with pytest.raises(MissingParam, match=key):
        request_body.require_str(BODY, key)
    assert request_body.optional_str(BODY, key) is None
    assert request_body.optional_int(BODY, key) is None
    assert request_body.optional_bool(BODY, key, default=True) is True
    assert request_body.optional_object(BODY, key) is None
    assert request_body.optional_list(BODY, key) is None
    assert request_body.optional_str_list(BODY, key) is None
    assert request_body.optional_object_list(BODY, key) is None


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (request_body.require_str, "number"),
        (request_body.require_str, "nul"),
        (request_body.require_int, "yes"),
        (request_body.require_int, "text"),
        (request_body.require_int, "fraction"),
        (request_body.require_bool, "number"),
        (request_body.require_object, "list"),
        (request_body.require_list, "object"),
        (request_body.require_str_list, "mixed"),
        (request_body.require_object_list, "mixed"),
        (request_body.optional_str, "number"),
        (request_body.optional_int, "yes"),
        (request_body.optional_bool, "text"),
        (request_body.optional_str_list, "mixed"),
    ],
)
def test_the_wrong_type_is_refused(read: Any, key: str) -> None:
    with pytest.raises(BadJson, match=key):
        read(BODY, key)
