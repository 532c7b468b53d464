"""The server's endpoints and the specification's, side by side."""

import csv
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from federation.protocol.endpoint import Endpoint
from homeserver.http.call import Call

SPECIFIED = Path(__file__).parents[1] / "vectors" / "endpoints.csv"
"""The inventory of the specification's OpenAPI documents, version 1.19."""

API_PACKAGES = (
    "homeserver.client_api",
    "homeserver.admin_api",
    "homeserver.call_api",
    "federation.inbound",
)
"""Each lists what it serves in its module `endpoints`."""


@dataclass(frozen=True, slots=True)
class Specified:
    """An endpoint of the specification."""

    api: str
    chapter: str
    method: str
    path: str
    auth: str

    @property
    def key(self) -> tuple[str, str]:
        return self.method, shape(self.path)


def shape(path: str) -> str:
    """The path with its parameters nameless and without a slash at the end."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def specified_endpoints() -> list[Specified]:
    """The endpoints that a homeserver serves; what it asks of others is left out."""
    with SPECIFIED.open(newline="") as lines:
        rows = [
            Specified(row["api"], row["module"], row["method"], row["path"], row["auth"])
            for row in csv.DictReader(lines)
        ]
    served_apis = {"client-server", "server-server"}
    # A few endpoints are described in two documents.
    return list({row.key: row for row in rows if row.api in served_apis}.values())


def served_endpoints() -> list[Endpoint[Call]]:
    """All endpoints that the server registers."""
    registers = [name for package in API_PACKAGES if (name := find_register(package))]
    return [one for name in registers for one in importlib.import_module(name).ENDPOINTS]


def find_register(package: str) -> str | None:
    """The module that lists a package's endpoints, where there is one."""
    if importlib.util.find_spec(package) is None:
        return None
    name = f"{package}.endpoints"
    return name if importlib.util.find_spec(name) else None


def api_modules() -> Iterator[ModuleType]:
    """The modules of handlers, without the registers."""
    for package in API_PACKAGES:
        if importlib.util.find_spec(package) is None:
            continue
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if module.name != f"{package}.endpoints":
                yield importlib.import_module(module.name)


def keys_of(endpoint: Endpoint[Call]) -> set[tuple[str, str]]:
    """The method with each of the endpoint's paths."""
    return {(endpoint.method, shape(path)) for path in (endpoint.path, *endpoint.aliases)}
