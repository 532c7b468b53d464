"""The lock file of Python packages: which versions, for which machines, by which hashes."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from imagebuilder.architectures import Architecture


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package of the lock file."""

    name: str
    version: str
    marker: str
    """For which machines it is; empty for all."""
    hashes: tuple[str, ...]


def parse(text: str) -> Iterator[Requirement]:
    """All packages of a `requirements.txt` with hashes."""
    for line in text.replace("\\\n", " ").splitlines():
        words, _, _ = line.partition("#")
        if "==" not in words:
            continue
        pinned, *hashes = words.split("--hash=sha256:")
        named, _, marker = pinned.partition(";")
        name, _, version = named.strip().partition("==")
        yield Requirement(name, version, marker.strip(), tuple(one.strip() for one in hashes))


def applies(requirement: Requirement, architecture: Architecture) -> bool:
    """Whether the package is for Linux on this kind of machine."""
    facts = {
        "platform_system": "Linux",
        "sys_platform": "linux",
        "platform_machine": architecture.machine,
    }
    return not requirement.marker or holds(ast.parse(requirement.marker, mode="eval").body, facts)


def holds(node: ast.expr, facts: dict[str, str]) -> bool:
    """Whether a condition holds; only what our lock file uses is known.

    Source: PEP 508, "Environment Markers".
    """
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(holds(value, facts) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(holds(value, facts) for value in values)
        case ast.Compare(
            left=ast.Name(id=name), ops=[operator], comparators=[ast.Constant(value=value)]
        ) if name in facts:
            if isinstance(operator, ast.Eq):
                return facts[name] == value
            if isinstance(operator, ast.NotEq):
                return facts[name] != value
    raise ValueError(f"The condition {ast.unparse(node)} is not known.")
