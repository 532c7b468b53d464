r"""Dot-separated property paths: `content.m\.relates_to.rel_type`.

Source: appendices, "Dot-separated property paths".
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

ABSENT: Final = object()
"""What `find_property` answers for a property that is not there (None would be JSON's null)."""

_PARTS = re.compile(r"(\\[.\\])|(\.)")


@lru_cache(maxsize=4096)
def parse_path(path: str) -> tuple[str, ...]:
    r"""The property names of a path; `\.` and `\\` are a literal dot and backslash.

    Any other backslash is a literal one.
    """
    names = [""]
    position = 0
    for part in _PARTS.finditer(path):
        names[-1] += path[position : part.start()]
        if part[1]:
            names[-1] += part[1][1]
        else:
            names.append("")
        position = part.end()
    names[-1] += path[position:]
    return tuple(names)


def build_path(names: tuple[str, ...]) -> str:
    """The path to nested properties: the inverse of `parse_path`."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)


def find_property(fields: Mapping[str, Any], path: str) -> Any:
    """The value at the path, or `ABSENT`."""
    value: Any = fields
    for name in parse_path(path):
        if not isinstance(value, Mapping):
            return ABSENT
        value = value.get(name, ABSENT)
    return value
