"""The commented configuration and docs/configuration.md, both made from the settings."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from homeserver.config.sections.ranges import Range
from homeserver.config.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
WIDTH = 96

HEADER = """\
# The configuration of hearth. Keys behind a # have the value shown; remove the # to change
# them. docs/configuration.md has the same text in one page; `hearth config check` checks.
"""

INTRODUCTION = """\
# Configuration

Made from `homeserver/config/sections` by `make docs`; do not edit.

hearth reads one TOML file: the one named with `--config` or in the environment variable
`HEARTH_CONFIG`, else `hearth.toml` in the current directory, else `/etc/hearth/hearth.toml`.
`hearth config init` writes one with every key, its default and its explanation;
`hearth config check` says what is wrong with one. A key that hearth does not know is an error.

Every key can be given in the environment instead, which wins over the file: `HEARTH_`, the
section, two underscores and the key, for instance `HEARTH_SERVER__NAME=example.org` or
`HEARTH_LIMITS__MESSAGE__BURST=100`. Lists and tables are written as JSON there:
`HEARTH_LISTEN='[{"address": "0.0.0.0", "port": 8008}]'`.

Relative paths are relative to the directory of the file, where nothing else is said.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting, or a list of tables of settings."""

    name: str
    hint: Any
    default: Any
    """What it is when it is not given; `MISSING` where it must be."""
    text: str

    @property
    def table(self) -> type | None:
        """The record class, where this is a list of tables."""
        items = get_args(self.hint)[0] if get_origin(self.hint) is tuple else None
        return items if isinstance(items, type) and is_dataclass(items) else None


@dataclass(frozen=True, slots=True)
class Group:
    """A section of the file, or one of the tables of a list."""

    name: str
    text: str
    keys: tuple[Key, ...]
    is_list: bool


def groups() -> list[Group]:
    """All sections in the order of the file, each followed by the lists of tables it holds."""
    found: list[Group] = []
    for name, hint in get_type_hints(Settings).items():
        is_list = get_origin(hint) is tuple
        found += _groups_below(name, get_args(hint)[0] if is_list else hint, is_list)
    return found


def _groups_below(name: str, record: type, is_list: bool) -> Iterator[Group]:
    hints = get_type_hints(record, include_extras=True)
    texts = _field_texts(record)
    keys = tuple(Key(f.name, hints[f.name], _default(f), texts[f.name]) for f in fields(record))
    yield Group(name, _flat(record.__doc__ or ""), keys, is_list)
    for key in keys:
        if key.table is not None:
            yield from _groups_below(f"{name}.{key.name}", key.table, True)


def _default(record_field: "Field[Any]") -> Any:
    if record_field.default_factory is not MISSING:
        return record_field.default_factory()
    return record_field.default


def _field_texts(record: type) -> dict[str, str]:
    """The strings that stand below the fields of a record class."""
    (node,) = ast.parse(inspect.getsource(record)).body
    return dict(_texts_in(node)) if isinstance(node, ast.ClassDef) else {}


def _texts_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in zip(node.body, node.body[1:], strict=False):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, _flat(text)


def _flat(text: str) -> str:
    return " ".join(text.split())


# -- the commented file -----------------------------------------------------------------------


def render_file(values: Mapping[str, object]) -> str:
    """A configuration file with every key; only those in `values` ("section.key") are active.

    `#` without a space stands before what can be taken into use by removing it.
    """
    parts = [HEADER]
    for group in groups():
        active = {
            key.name: values[f"{group.name}.{key.name}"]
            for key in group.keys
            if f"{group.name}.{key.name}" in values
        }
        parts.append(_render_group(group, active))
    return "\n".join(parts)


def _render_group(group: Group, active: Mapping[str, object]) -> str:
    is_off = group.is_list and not active
    mark = "#" if is_off else ""
    lines = _comment(group.text)
    lines.append(f"{mark}[[{group.name}]]" if group.is_list else f"[{group.name}]")
    for key in group.keys:
        if key.table is not None:
            continue
        lines += _comment(f"{key.text} ({_kind(key.hint)})")
        if key.name in active:
            lines.append(f"{key.name} = {_toml(active[key.name])}")
        else:
            lines.append(f"#{key.name} = {_toml(_shown(key))}")
    return "\n".join([*lines, ""])


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _shown(key: Key) -> object:
    """The default, or something of the right kind for what has none."""
    if key.default is MISSING or key.default is None:
        return "…"
    return key.default


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return _toml(asdict(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)


# -- the document -----------------------------------------------------------------------------


def render_document() -> str:
    """The text of docs/configuration.md."""
    return "\n".join([INTRODUCTION, *map(_render_section, groups())])


def _render_section(group: Group) -> str:
    title = f"[[{group.name}]]" if group.is_list else f"[{group.name}]"
    lines = [f"## `{title}`", "", group.text, ""]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in group.keys:
        if key.table is not None:
            kind, default = f"list of `[[{group.name}.{key.name}]]`", "none"
        else:
            kind, default = _kind(key.hint), _default_cell(key)
        lines.append(f"| `{key.name}` | {_cell(kind)} | {_cell(default)} | {_cell(key.text)} |")
    return "\n".join([*lines, ""])


def _default_cell(key: Key) -> str:
    if key.default is MISSING:
        return "must be given"
    if key.default is None:
        return "none"
    if isinstance(key.default, tuple) and len(key.default) > 4:
        return f"{len(key.default)} networks that are not the public internet"
    return f"`{_toml(key.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _kind(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_kind(arguments[0])}{_bounds(arguments[1])}"
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "table"
    if origin is UnionType:
        return _kind(arguments[0])
    if is_dataclass(hint):
        return "table of " + " and ".join(f"`{f.name}`" for f in fields(hint))
    words = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    return words.get(hint, "path")


def _bounds(bounds: Range) -> str:
    match bounds.at_least, bounds.at_most:
        case (None, None):
            return ""
        case (low, None):
            return f", at least {low}"
        case (None, high):
            return f", at most {high}"
        case (low, high):
            return f", {low} to {high}"
    return ""


if __name__ == "__main__":
    DOCUMENT.write_text(render_document(), encoding="utf-8")
