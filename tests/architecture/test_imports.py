"""The arrows between the layers, as the import statements have them.

`homeserver → storage → federation.protocol`, and what docs/architecture.md says within them.
"""

import ast
import graphlib
import importlib.metadata
import sys

import pytest

from tests.architecture.imports import (
    PACKAGES,
    Import,
    imports,
    is_within,
    sources,
)

BASICS = ("homeserver.clock", "homeserver.config", "homeserver.observe.log")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "federation.protocol": ("federation.protocol",),
    "federation.wire": ("federation.wire", "federation.protocol"),
    "federation.inbound": ("federation.inbound", "federation.wire", "federation.protocol"),
    "federation.outbound": ("federation.outbound", "federation.wire", "federation.protocol"),
    "storage": ("storage", "federation.protocol"),
    "migrations": ("migrations",),
    "homeserver.clock": (),
    "homeserver.config": (
        "homeserver.config",
        "federation.protocol",
        "storage.cluster",
        "storage.durable",
    ),
    "homeserver.observe.log": ("homeserver.config", "homeserver.http.request_id"),
    # Processes of their own load it, which have nothing of the server's.
    "homeserver.media.decoding": ("homeserver.media.decoding",),
    "homeserver.http": (
        "homeserver.http",
        "homeserver.services",
        "homeserver.users.requester",
        "federation.protocol",
        *BASICS,
    ),
}
"""Which of our modules a package may import; the longest name that fits a module counts."""

SERVICES = (
    "homeserver.mail",
    "homeserver.rooms",
    "homeserver.users",
    "homeserver.other_servers",
    "homeserver.encryption",
    "homeserver.push",
    "homeserver.media",
    "homeserver.server_notices",
    "homeserver.appservices",
    "homeserver.calls",
    "homeserver.sync",
    "homeserver.jobs",
    "homeserver.backup",
    "homeserver.takeover",
)
API = (
    "homeserver.client_api",
    "homeserver.admin_api",
    "homeserver.call_api",
    "homeserver.http",
)
WIRING = ("homeserver.app", "homeserver.building", "homeserver.cli", "homeserver.__main__")

MAY_NOT_IMPORT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(SERVICES, (*API, *WIRING, "homeserver.services", "homeserver.observe")),
    "homeserver.observe": ("homeserver.client_api", "homeserver.admin_api", *WIRING),
    "homeserver.client_api": ("homeserver.admin_api", "federation.outbound", *WIRING),
    "homeserver.admin_api": ("federation.outbound", *WIRING),
    "homeserver.call_api": (
        "homeserver.admin_api",
        "homeserver.client_api",
        "federation.outbound",
        *WIRING,
    ),
    "homeserver.services": WIRING,
}

LATER_SERVICES: dict[str, tuple[str, ...]] = {
    "homeserver.rooms": (
        "homeserver.encryption",
        "homeserver.push",
        "homeserver.appservices",
        "homeserver.calls",
        "homeserver.sync",
    ),
    "homeserver.media": (
        "homeserver.encryption",
        "homeserver.push",
        "homeserver.appservices",
        "homeserver.sync",
    ),
    "homeserver.encryption": ("homeserver.sync",),
    "homeserver.push": ("homeserver.sync",),
    "homeserver.appservices": ("homeserver.sync",),
    "homeserver.calls": ("homeserver.sync",),
}
"""Services that come after: they hear of what happened by subscription, not by a call."""

EFFECTS = {
    "aiohttp",
    "asyncio",
    "asyncpg",
    "contextvars",
    "datetime",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "structlog",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
PURE_LIBRARIES = {"canonicaljson", "nacl", "orjson", "signedjson", "unpaddedbase64"}

FOREIGN: dict[str, set[str]] = {
    "federation.wire": {"aiohttp", "asyncio", "asyncpg", "logging", "os", "socket", "time"},
    "federation.inbound": {"aiohttp", "asyncpg"},
    "federation.outbound": {"asyncpg"},
    "storage": {"aiohttp"},
    "homeserver.rooms": {"aiohttp"},
    "homeserver.sync": {"aiohttp"},
    "homeserver.client_api": {"asyncpg"},
    "homeserver.http": {"asyncpg", "pydantic"},
}
"""Libraries that are another layer's business."""

BROAD_EXCEPT = {
    "federation.inbound.edus": "an EDU that fails does not spoil those after it",
    "federation.inbound.transactions": "an event that fails does not come again for ever",
    "federation.outbound.probing": "a server that cannot be looked for does not end the search",
    "federation.outbound.sender": "a destination that fails does not end the others",
    "homeserver.appservices.delivery": "a service that cannot be told does not end the others",
    "homeserver.calls.timer": "a delayed event that fails does not end the others",
    "homeserver.calls.leaves": "a leave that cannot be looked after does not end the others",
    "homeserver.encryption.remote_devices": "a server whose answer fails does not end the others",
    "homeserver.http.dispatch": "every request ends in an answer",
    "homeserver.cli.main": "the operator reads a sentence instead of a stack trace",
    "homeserver.jobs.runner": "a job that fails is tried again and does not end the others",
    "homeserver.push.delivery": "a pusher that fails does not end the others",
    "storage.committer": "each caller gets the error of its own write",
}
"""Modules with the top of a task in them, where any error is caught, and why."""


def within(package: str) -> list[Import]:
    return [one for one in imports() if is_within(one.importer, package)]


def most_specific(module: str) -> str | None:
    fitting = [package for package in MAY_IMPORT if is_within(module, package)]
    return max(fitting, key=len, default=None)


def is_ours(module: str) -> bool:
    return any(is_within(module, package) for package in PACKAGES)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_layer_imports_only_what_is_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package]
    wrong = [
        str(one)
        for one in within(package)
        if most_specific(one.importer) == package
        and is_ours(one.imported)
        and not any(is_within(one.imported, layer) for layer in allowed)
    ]
    assert not wrong


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_nothing_reaches_up(package: str) -> None:
    wrong = [
        str(one)
        for one in within(package)
        if any(is_within(one.imported, above) for above in MAY_NOT_IMPORT[package])
    ]
    assert not wrong


@pytest.mark.parametrize("package", LATER_SERVICES)
def test_services_have_an_order(package: str) -> None:
    wrong = [
        str(one)
        for one in within(package)
        if any(is_within(one.imported, later) for later in LATER_SERVICES[package])
    ]
    assert not wrong


def test_only_the_start_knows_the_composition_root() -> None:
    starts = ("homeserver.__main__", "homeserver.cli", "homeserver.app")
    wrong = [
        str(one)
        for one in imports()
        if is_within(one.imported, "homeserver.app")
        and not any(is_within(one.importer, start) for start in starts)
    ]
    assert not wrong


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {}
    for one in imports():
        if is_ours(one.imported) and not one.for_types_only:
            graph.setdefault(one.importer, set()).add(one.imported)
    # Raises CycleError, which names the modules of the cycle.
    graphlib.TopologicalSorter(graph).prepare()


def test_the_rules_of_matrix_have_no_effects() -> None:
    wrong = []
    for one in within("federation.protocol"):
        library = one.imported.partition(".")[0]
        is_known = library in sys.stdlib_module_names | PURE_LIBRARIES or is_ours(one.imported)
        if library in EFFECTS or not is_known:
            wrong.append(str(one))
    assert not wrong


@pytest.mark.parametrize("package", FOREIGN)
def test_a_layer_leaves_the_libraries_of_others_alone(package: str) -> None:
    wrong = [
        str(one)
        for one in within(package)
        if one.imported.partition(".")[0] in FOREIGN[package] and not one.for_types_only
    ]
    assert not wrong


def test_modules_do_not_import_each_other_in_circles() -> None:
    below: dict[str, set[str]] = {name: set() for name in sources()}
    for one in imports():
        if one.at_load and one.imported in below and one.imported != one.importer:
            below[one.importer].add(one.imported)
    while leaves := {name for name, imported in below.items() if not imported & below.keys()}:
        for name in leaves:
            del below[name]
    assert not below, f"in circles, or above them: {sorted(below)}"


def test_any_error_is_caught_only_at_the_top_of_a_task() -> None:
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not passes_on(node)
        if name not in BROAD_EXCEPT
    ]
    assert not wrong


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything."""
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether what it caught goes on, after some tidying up."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise)


def test_package_files_are_empty() -> None:
    packages = [package for package in sources() if is_package(package)]
    assert [name for name in packages if sources()[name].body] == []


def is_package(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in sources())


def test_modules_are_named_after_what_is_in_them() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [name for name in sources() if name.rpartition(".")[2] in nameless] == []


def test_no_dependency_brings_a_package_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"hearth"}


def test_records_are_the_standard_librarys_dataclasses() -> None:
    """A decorator of our own would save 4 MB and a quarter of a second at the start (measured), and
    cost every reader the question what it does differently.
    """
    strange = [
        f"{one.importer} has it from {one.imported}"
        for one in imports()
        if one.imported.endswith(".dataclass") and one.imported != "dataclasses.dataclass"
    ]
    assert strange == []
