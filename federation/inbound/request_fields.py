"""Typed reads from the body that another server sends.

A key with the value null counts as absent. Strings with a NUL character are refused: nothing that
is stored here has one.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from federation.protocol.errors import BadJson, MissingParam

T = TypeVar("T")
K = TypeVar("K", bound=str)

KIND_NAMES = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def require(fields: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The value at `key`. Raises `MissingParam`, or `BadJson` for one of another type."""
    value = optional(fields, key, kind)
    if value is None:
        raise MissingParam(f"Missing parameter '{key}'")
    return value


def optional(fields: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    """The value at `key`, or None where it is absent. Raises `BadJson`."""
    value = fields.get(key)
    return None if value is None else checked(value, key, kind)


def require_ids(
    fields: Mapping[str, Any], key: str, check: Callable[[str], K], max_count: int
) -> list[K]:
    """The array of identifiers at `key`. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    values = require(fields, key, list)
    if len(values) > max_count:
        raise BadJson(f"'{key}' has more than {max_count} entries")
    return [check(checked(value, key, str)) for value in values]


def require_by_id(
    fields: Mapping[str, Any], key: str, check: Callable[[str], K], kind: type[T]
) -> dict[K, T]:
    """The object at `key`, from identifiers to values of a type.

    Raises `MissingParam`, `BadJson`, `InvalidParam`.
    """
    values = require(fields, key, dict)
    return {check(identifier): checked(value, key, kind) for identifier, value in values.items()}


def checked(value: object, key: str, kind: type[T]) -> T:
    """The value, if it is of a type. Raises `BadJson`."""
    # The exact type: to Python a bool is an int, to JSON it is not.
    if type(value) is not kind:
        raise BadJson(f"'{key}' must be {KIND_NAMES[kind]}")
    if kind is str and "\0" in str(value):
        raise BadJson(f"'{key}' must not contain a NUL character")
    return value
