"""From method and path to the endpoint.

A tree of path segments; a literal segment goes before a parameter. Segments are split before they
are percent-decoded, so that `%2F` stays inside its parameter. One slash at the end is ignored:
clients write some paths with and some without it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from federation.protocol.endpoint import Endpoint
from federation.protocol.errors import MatrixError, MethodNotAllowed, Unrecognized
from homeserver.http.call import Call
from homeserver.http.query import percent_decode

LEGACY_VERSIONS = (
    (("_matrix", "client"), "v3", "r0"),
    (("_matrix", "media"), "v3", "r0"),
)
"""Below the prefix, what is served under the first version is served under the second too."""

UNSTABLE = (("_matrix", "client"), ("v3", "v1"), "unstable")
"""What became stable before clients stopped asking for it by its unstable name is served under that
name too, unless something else is: matrix-js-sdk before 35 and both first mobile apps upload
cross-signing keys there."""


class WrongMethod(MethodNotAllowed):
    """The path exists with `allowed` methods only."""

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        super().__init__(f"{method} is not allowed here")
        self.allowed = sorted(allowed)


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint at one of its paths, with the names of that path's parameters."""

    endpoint: Endpoint[Call]
    parameter_names: tuple[str, ...]


class Node:
    """What may follow after some segments, and what is served when nothing follows."""

    __slots__ = ("literals", "parameter", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, Node] = {}
        self.parameter: Node | None = None
        self.routes: dict[str, Route] = {}


class Router:
    """All endpoints of the server."""

    __slots__ = ("_root",)

    def __init__(self, endpoints: Iterable[Endpoint[Call]]) -> None:
        """Raises `ValueError` when two endpoints claim the same method and path."""
        self._root = Node()
        for endpoint in endpoints:
            for path in (endpoint.path, *endpoint.aliases):
                self._add(endpoint, path)
        for prefix, version, legacy_version in LEGACY_VERSIONS:
            self._share(prefix, version, legacy_version)
        prefix, versions, unstable = UNSTABLE
        node = self._descend(prefix)
        for version in versions:
            copy_routes(
                node.literals.get(version, Node()), node.literals.setdefault(unstable, Node())
            )

    def find(self, method: str, path: str) -> tuple[Endpoint[Call], dict[str, str]]:
        """The endpoint at a path as it was sent, and the path's parameters.

        Raises `Unrecognized`, `WrongMethod`, or `InvalidParam` for a path that is not UTF-8.
        """
        segments = split_path(path)
        if "%" in path:
            segments = [percent_decode(segment) for segment in segments]
        node = self._root
        values: list[str] = []
        for segment in segments:
            child = node.literals.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    return self._find_by_search(method, segments)
                values.append(segment)
            node = child
        route = node.routes.get(method)
        if route is None:
            return self._find_by_search(method, segments)
        return route.endpoint, dict(zip(route.parameter_names, values, strict=True))

    def _find_by_search(
        self, method: str, segments: list[str]
    ) -> tuple[Endpoint[Call], dict[str, str]]:
        """As `find`, also where a literal led astray and a parameter in its place fits."""
        allowed: set[str] = set()
        for node, values in matches(self._root, segments):
            route = node.routes.get(method)
            if route is not None:
                return route.endpoint, dict(zip(route.parameter_names, values, strict=True))
            allowed.update(node.routes)
        raise refusal(method, allowed)

    def _add(self, endpoint: Endpoint[Call], path: str) -> None:
        node = self._root
        names: list[str] = []
        for segment in split_path(path):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, Node())
        methods = ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,)
        for method in methods:
            if method in node.routes:
                raise ValueError(f"{method} {path} is declared twice")
            node.routes[method] = Route(endpoint, tuple(names))

    def _share(self, prefix: tuple[str, ...], version: str, legacy_version: str) -> None:
        node = self._descend(prefix)
        shared = node.literals.get(version)
        if shared is not None and node.literals.setdefault(legacy_version, shared) is not shared:
            raise ValueError(f"{legacy_version} is another name of {version}; nothing goes there")

    def _descend(self, prefix: tuple[str, ...]) -> Node:
        node = self._root
        for segment in prefix:
            node = node.literals.get(segment, Node())
        return node


def copy_routes(source: Node, target: Node) -> None:
    """Have below `target` what is below `source`, wherever `target` has nothing of its own."""
    for name, child in source.literals.items():
        copy_routes(child, target.literals.setdefault(name, Node()))
    if source.parameter is not None:
        target.parameter = target.parameter or Node()
        copy_routes(source.parameter, target.parameter)
    for method, route in source.routes.items():
        target.routes.setdefault(method, route)


def split_path(path: str) -> list[str]:
    """The segments, without an empty last one."""
    segments = path.split("/")
    del segments[0]
    if segments and not segments[-1]:
        segments.pop()
    return segments


def matches(node: Node, segments: list[str]) -> Iterator[tuple[Node, list[str]]]:
    """All nodes that fit the segments and serve something, literals before parameters."""
    if not segments:
        if node.routes:
            yield node, []
        return
    segment, rest = segments[0], segments[1:]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from matches(literal, rest)
    if node.parameter is not None and segment:
        for found, values in matches(node.parameter, rest):
            yield found, [segment, *values]


def refusal(method: str, allowed: set[str]) -> MatrixError:
    """The error for a path at which `method` is not served."""
    if not allowed:
        return Unrecognized("Unrecognized request")
    return WrongMethod(method, allowed | {"OPTIONS"})
