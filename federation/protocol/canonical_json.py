"""Canonical JSON: the one byte form of a value that hashes and signatures cover.

orjson does the work. Its sorted output is the canonical one for everything that the specification
allows: it sorts keys by UTF-8 bytes, which is the order of code points, and escapes what Python's
`json` escapes with `ensure_ascii=False`. What it would write differently or silently change are
numbers: floats have several spellings, NaN becomes `null`, integers end at 64 bits. So numbers are
looked at first, and room versions 1 to 5, whose events may contain such numbers, leave them to
the reference encoder. Source: appendices, "Canonical JSON".
"""

import json
from collections.abc import Iterable
from typing import Any

import orjson
from canonicaljson import encode_canonical_json

from federation.protocol.errors import BadJson, NotJson
from federation.protocol.room_versions import RoomVersion

MAX_INTEGER = 2**53 - 1
MAX_HANDED_ON = 2**63 - 1
"""The largest integer that the database and whatever writes JSON know."""
MAX_DEPTH = 200
"""Arrays and objects inside each other. orjson writes 254 levels and the stdlib fails somewhere
below 1000; no event of sane origin comes near."""

SORTED = orjson.OPT_SORT_KEYS
_LONG_NUMBER = b"0" * 19
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


def encode(value: Any) -> bytes:
    """The canonical form, refusing what the specification refuses.

    Raises `BadJson`: for floats (integral ones too, as all implementations do), integers beyond
    ±(2^53 - 1), keys that are not strings, lone surrogates, other types and too deep nesting.
    """
    check_strict(value)
    return encode_checked(value)


def encode_checked(value: Any) -> bytes:
    """The canonical form of a value that has passed `check_strict` (or consists of such values)."""
    try:
        return orjson.dumps(value, option=SORTED)
    except orjson.JSONEncodeError as error:
        raise BadJson(f"Not representable as JSON: {error}") from error


def encode_lax(value: Any) -> bytes:
    """The form that room versions 1 to 5 hash: floats and integers of any size are kept.

    Raises `BadJson` for NaN, infinity, keys that are not strings, lone surrogates, other types and
    too deep nesting.
    """
    try:
        return encode(value)
    except BadJson:
        _check_lax((value,), 0)
    try:
        return encode_canonical_json(value)
    except ValueError as error:
        raise BadJson(f"Not representable as JSON: {error}") from error


def encode_for(value: Any, room_version: RoomVersion) -> bytes:
    """The canonical form under a room version's rules; raises `BadJson`."""
    return encode(value) if room_version.strict_canonical_json else encode_lax(value)


def check_strict(value: Any) -> None:
    """Check types, integer range and depth of a value; keys and surrogates are left to `encode`.

    Raises `BadJson`. Decoded JSON that passes has a canonical form.
    """
    _check_strict((value,), 0)


def decode(
    data: bytes,
    max_depth: int | None = MAX_DEPTH,
    max_integer: int | None = None,
    *,
    exact: bool = True,
) -> Any:
    """The value of untrusted JSON, with integers of any size and floats as they are.

    With `max_integer` larger integers, either side of zero, are refused with `BadJson`. Unless
    `exact`, integers beyond 64 bits become floats, which whatever writes JSON can write.

    Of equal keys in one object the last counts. Raises `NotJson` for anything but UTF-8 JSON
    without lone surrogates, `BadJson` for too deep nesting. The size is the caller's to limit.
    With `max_depth` None so is the depth, which is then below 1024: for a list of events of which
    a deep one must not spoil the others.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"Not JSON: {error}") from error
    # Counting is many times faster than walking, and enough for all but large bodies.
    if max_depth is not None and data.count(b"{") + data.count(b"[") > max_depth:
        check_depth(value, max_depth)
    # orjson reads integers beyond 64 bits as floats. Few bodies have so many digits in a row.
    if exact and _LONG_NUMBER in data.translate(_DIGITS_TO_ZERO):
        value = _decode_big_integers(data)
        if max_integer is not None:
            check_integers((value,), max_integer)
    return value


def check_depth(value: Any, max_depth: int) -> None:
    """Raise `BadJson` if objects and arrays are nested more than `max_depth` levels."""
    level = [value]
    for _ in range(max_depth):
        level = [child for container in level for child in _containers_in(container)]
        if not level:
            return
    raise BadJson(f"Nested deeper than {max_depth} levels")


def check_integers(values: Iterable[Any], max_integer: int = MAX_HANDED_ON) -> None:
    """Raise `BadJson` for an integer that is too large; the depth is known to be harmless."""
    for value in values:
        if isinstance(value, dict):
            check_integers(value.values(), max_integer)
        elif isinstance(value, list):
            check_integers(value, max_integer)
        elif isinstance(value, int) and abs(value) > max_integer:
            raise BadJson(f"An integer is beyond ±{max_integer}")


def _containers_in(container: object) -> list[object]:
    if isinstance(container, dict):
        return [value for value in container.values() if isinstance(value, dict | list)]
    if isinstance(container, list):
        return [value for value in container if isinstance(value, dict | list)]
    return []


def _decode_big_integers(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadJson(f"A number is too long: {error}") from error
    except RecursionError as error:
        raise BadJson("Nested too deeply") from error


def _check_strict(values: Iterable[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadJson(f"Nested deeper than {MAX_DEPTH} levels")
    for value in values:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict:
            _check_strict(value.values(), depth + 1)
        elif kind is list or kind is tuple:
            _check_strict(value, depth + 1)
        elif kind is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise BadJson(f"The integer {_shown(value)} is beyond ±(2^53 - 1)")
        elif value is not None and kind is not bool:
            raise _refusal(value)


def _check_lax(values: Iterable[Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadJson(f"Nested deeper than {MAX_DEPTH} levels")
    for value in values:
        kind = type(value)
        if kind is dict:
            if not all(type(key) is str for key in value):
                raise BadJson("A key of an object is not a string")
            _check_lax(value.values(), depth + 1)
        elif kind is list or kind is tuple:
            _check_lax(value, depth + 1)
        elif value is not None and kind not in (str, int, float, bool):
            raise _refusal(value)


def _refusal(value: object) -> BadJson:
    if type(value) is float:
        return BadJson(f"The number {value!r} is not an integer")
    return BadJson(f"A {type(value).__name__} has no JSON form")


def _shown(value: int) -> str:
    # Python refuses to print integers of more than 4300 digits.
    return str(value) if value.bit_length() < 128 else f"of {value.bit_length()} bits"
