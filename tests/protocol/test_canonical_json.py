import json
from pathlib import Path
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, NotJson
from federation.protocol.room_versions import V5, V6
from tests import strategies as some

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/canonical_json.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["canonical"])[:30])
def test_the_specifications_examples_hold(vector: dict[str, str]) -> None:
    value = canonical_json.decode(vector["input"].encode())
    assert canonical_json.encode(value) == vector["canonical"].encode()


@given(some.json_values)
def test_encoding_agrees_with_the_reference_library(value: Any) -> None:
    assert canonical_json.encode(value) == encode_canonical_json(value)


@given(st.dictionaries(st.text(), st.integers(0, 9)))
def test_keys_are_sorted_as_the_reference_library_sorts_them(value: Any) -> None:
    assert canonical_json.encode(value) == encode_canonical_json(value)


def test_every_character_is_written_as_the_reference_library_writes_it() -> None:
    everything = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    assert canonical_json.encode(everything) == encode_canonical_json(everything)


def test_keys_beyond_the_basic_plane_come_after_all_others() -> None:
    # UTF-16 order, which some languages sort by, would put the astral key first.
    assert (
        canonical_json.encode({"\U00010000": 1, "\uffff": 2})
        == '{"\uffff":2,"\U00010000":1}'.encode()
    )


@given(some.lax_json_values)
def test_lax_encoding_agrees_with_the_reference_library(value: Any) -> None:
    assert canonical_json.encode_lax(value) == encode_canonical_json(value)


@given(some.lax_json_values)
def test_decoding_undoes_encoding(value: Any) -> None:
    decoded = canonical_json.decode(canonical_json.encode_lax(value))
    assert _sorted_repr(decoded) == _sorted_repr(value)


@given(some.lax_json_values)
def test_decoding_agrees_with_the_standard_library(value: Any) -> None:
    text = json.dumps(value, indent=1).encode()
    assert _sorted_repr(canonical_json.decode(text)) == _sorted_repr(json.loads(text))


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53) + 1, 0, True, None, "", [], {}])
def test_the_limits_themselves_are_allowed(value: Any) -> None:
    assert canonical_json.encode({"a": [value]}) == encode_canonical_json({"a": [value]})


@pytest.mark.parametrize(
    "value",
    [
        2**53,
        -(2**53),
        2**64,
        10**4000,
        1.5,
        1.0,
        -0.0,
        1e10,
        float("nan"),
        float("inf"),
        b"bytes",
        {1, 2},
        object(),
    ],
)
def test_strict_encoding_refuses_what_the_specification_refuses(value: Any) -> None:
    for place in (value, [value], {"a": {"b": [value]}}):
        with pytest.raises(BadJson):
            canonical_json.encode(place)
        with pytest.raises(BadJson):
            canonical_json.check_strict(place)


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        "a\udfffb",
        {"\ud800": 1},
        {1: 2},
        {None: 2},
        {"a": 1.5, "b": {1: 2}},
        float("nan"),
        float("-inf"),
        b"",
        object(),
    ],
)
def test_neither_encoding_takes_what_is_not_json(value: Any) -> None:
    with pytest.raises(BadJson):
        canonical_json.encode(value)
    with pytest.raises(BadJson):
        canonical_json.encode_lax(value)


def test_room_version_6_is_the_first_strict_one() -> None:
    assert (
        canonical_json.encode_for({"a": 1.5, "b": 2**70}, V5)
        == b'{"a":1.5,"b":1180591620717411303424}'
    )
    with pytest.raises(BadJson):
        canonical_json.encode_for({"a": 1.5}, V6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b"01",
        b"1.",
        b"[1,]",
        b"{'a':1}",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\n"',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"1e999",
    ],
)
def test_decoding_refuses_what_is_not_json(data: bytes) -> None:
    with pytest.raises(NotJson):
        canonical_json.decode(data)


def test_of_equal_keys_the_last_counts() -> None:
    assert canonical_json.decode(b'{"a":1,"a":2}') == {"a": 2}
    assert canonical_json.decode(b'{"a":1,"a":123456789012345678901}') == {
        "a": 123456789012345678901
    }


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_integers_at_the_edge_of_64_bits_stay_integers(number: int) -> None:
    decoded = canonical_json.decode(b'{"a":[%d]}' % number)["a"][0]
    assert type(decoded) is int
    assert decoded == number


def test_an_endless_number_is_refused() -> None:
    for encode in (canonical_json.encode, canonical_json.encode_lax):
        with pytest.raises(BadJson):
            encode({"a": 10**5000})
    with pytest.raises((BadJson, NotJson)):
        canonical_json.decode(b"1" * 60_000)
    with pytest.raises((BadJson, NotJson)):
        canonical_json.decode(b'{"a":1.5,"b":' + b"1" * 6_000 + b"}")


def test_nesting_has_a_limit_for_reading_and_writing() -> None:
    most = canonical_json.MAX_DEPTH
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        at_limit = opening * most + b"1" + closing * most
        too_deep = opening + at_limit + closing
        assert canonical_json.encode(canonical_json.decode(at_limit)) == at_limit
        with pytest.raises(BadJson):
            canonical_json.decode(too_deep)
        with pytest.raises((BadJson, NotJson)):
            canonical_json.decode(opening * 30_000 + b"1" + closing * 30_000)
        for encode in (canonical_json.encode, canonical_json.encode_lax):
            with pytest.raises(BadJson):
                encode(json.loads(too_deep))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(canonical_json.decode(b"[" + b"[{}]," * 1000 + b"[]]")) == 1001


def _sorted_repr(value: Any) -> str:
    """A text that tells 1 from 1.0 and True, and 0.0 from -0.0."""
    if isinstance(value, dict):
        return repr([(key, _sorted_repr(value[key])) for key in sorted(value)])
    if isinstance(value, list):
        return repr([_sorted_repr(item) for item in value])
    return repr(value)
