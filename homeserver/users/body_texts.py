"""Texts that a part of a request's body must have."""

from collections.abc import Mapping
from typing import Any

from federation.protocol.errors import BadJson, MissingParam


def require_text(holder: Mapping[str, Any], name: str) -> str:
    """The text under a name. Raises `MissingParam`, and `BadJson` for anything but a text."""
    value = holder.get(name)
    if value is None:
        raise MissingParam(f"Missing parameter '{name}'")
    if not isinstance(value, str) or "\0" in value:
        raise BadJson(f"'{name}' must be a string")
    return value
