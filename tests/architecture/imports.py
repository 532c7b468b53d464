"""Which module imports which, read from the source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("homeserver", "federation", "storage", "migrations")


@dataclass(frozen=True, slots=True)
class Import:
    """That `importer` imports `imported`; `for_types_only` under TYPE_CHECKING."""

    importer: str
    imported: str
    line: int
    for_types_only: bool
    at_load: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@cache
def sources() -> dict[str, ast.Module]:
    """The parsed modules of the four packages, by name."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(paths)}


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> tuple[Import, ...]:
    """Every import statement of ours."""
    return tuple(one for name, tree in sources().items() for one in imports_of(name, tree))


def imports_of(importer: str, tree: ast.Module) -> Iterator[Import]:
    """The imports of one module, those inside of functions too."""
    at_load, types_only = nodes_at_load(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for imported in imported_names(node):
                yield Import(importer, imported, node.lineno, node in types_only, node in at_load)


def nodes_at_load(tree: ast.Module) -> tuple[set[ast.AST], set[ast.AST]]:
    """The import statements that run when the module is loaded, and those for type checkers."""
    at_load: set[ast.AST] = set(tree.body)
    types_only: set[ast.AST] = set()
    for statement in tree.body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            types_only.update(statement.body)
    return at_load, types_only


def imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [resolve(node.module, alias.name) for alias in node.names] if node.module else []


def resolve(module: str, name: str) -> str:
    """`from module import name`: the module `module.name` where there is one, else `module`."""
    inner = f"{module}.{name}"
    return inner if inner in sources() else module


def is_within(module: str, package: str) -> bool:
    """Whether a module is the package or inside of it."""
    return module == package or module.startswith(f"{package}.")
