"""Typed reads from the object that a request carries.

Unknown keys are ignored. A key with the value null counts as absent: clients send both for the
same thing. Strings with a NUL character are refused, PostgreSQL's text type cannot keep them.

Source: client-server API, "Common error codes".
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from federation.protocol.errors import BadJson, MissingParam

T = TypeVar("T")

KIND_NAMES = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def require(body: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The value at `key`, which must be of type `kind`.

    Raises `MissingParam` when it is absent, `BadJson` when it is something else.
    """
    value = body.get(key)
    if value is None:
        raise MissingParam(f"Missing parameter '{key}'")
    return _checked(value, key, kind)


def optional(body: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    """The value at `key`, or None where it is absent. Raises `BadJson`."""
    value = body.get(key)
    return None if value is None else _checked(value, key, kind)


def require_str(body: Mapping[str, Any], key: str) -> str:
    """The string at `key`. Raises `MissingParam`, `BadJson`."""
    return require(body, key, str)


def optional_str(body: Mapping[str, Any], key: str) -> str | None:
    """The string at `key`, or None. Raises `BadJson`."""
    return optional(body, key, str)


def require_int(body: Mapping[str, Any], key: str) -> int:
    """The integer at `key`. Raises `MissingParam`, `BadJson`."""
    return require(body, key, int)


def optional_int(body: Mapping[str, Any], key: str) -> int | None:
    """The integer at `key`, or None. Raises `BadJson`."""
    return optional(body, key, int)


def require_bool(body: Mapping[str, Any], key: str) -> bool:
    """The boolean at `key`. Raises `MissingParam`, `BadJson`."""
    return require(body, key, bool)


def optional_bool(body: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """The boolean at `key`, or `default`. Raises `BadJson`."""
    value = optional(body, key, bool)
    return default if value is None else value


def require_object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`. Raises `MissingParam`, `BadJson`."""
    return require(body, key, dict)


def optional_object(body: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """The object at `key`, or None. Raises `BadJson`."""
    return optional(body, key, dict)


def require_list(body: Mapping[str, Any], key: str) -> list[Any]:
    """The array at `key`. Raises `MissingParam`, `BadJson`."""
    return require(body, key, list)


def optional_list(body: Mapping[str, Any], key: str) -> list[Any] | None:
    """The array at `key`, or None. Raises `BadJson`."""
    return optional(body, key, list)


def require_str_list(body: Mapping[str, Any], key: str) -> list[str]:
    """The array of strings at `key`. Raises `MissingParam`, `BadJson`."""
    return [_checked(item, key, str) for item in require_list(body, key)]


def optional_str_list(body: Mapping[str, Any], key: str) -> list[str] | None:
    """The array of strings at `key`, or None. Raises `BadJson`."""
    items = optional_list(body, key)
    return None if items is None else [_checked(item, key, str) for item in items]


def require_object_list(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The array of objects at `key`. Raises `MissingParam`, `BadJson`."""
    return [_checked(item, key, dict) for item in require_list(body, key)]


def optional_object_list(body: Mapping[str, Any], key: str) -> list[dict[str, Any]] | None:
    """The array of objects at `key`, or None. Raises `BadJson`."""
    items = optional_list(body, key)
    return None if items is None else [_checked(item, key, dict) for item in items]


def _checked(value: object, key: str, kind: type[T]) -> T:
    # The exact type: to Python a bool is an int, to JSON it is not.
    if type(value) is not kind:
        raise BadJson(f"'{key}' must be {KIND_NAMES[kind]}")
    if kind is str and "\0" in str(value):
        raise BadJson(f"'{key}' must not contain a NUL character")
    return value
