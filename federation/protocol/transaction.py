"""Transactions: the envelope in which servers send each other events and EDUs.

Source: server-server API, "Transactions".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.protocol import canonical_json
from federation.protocol.edu import Edu
from federation.protocol.errors import BadJson, Forbidden
from federation.protocol.identifiers import ServerName

MAX_PDUS = 50
MAX_EDUS = 100


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of another server: its events as JSON objects, and its EDUs."""

    origin: ServerName
    pdus: Sequence[Mapping[str, Any]]
    edus: Sequence[Edu]


def parse_transaction(body: Mapping[str, Any], origin: ServerName) -> Transaction:
    """The transaction in a request that `origin` has signed.

    What is neither an event nor an EDU by its outer shape is left out: it has no name under which
    it could be refused. Raises `BadJson` (no lists, or too long ones), `Forbidden` (it names
    another origin).
    """
    if body.get("origin", origin) != origin:
        raise Forbidden(f"The transaction is not of {origin}, which signed the request")
    pdus = _list(body, "pdus", MAX_PDUS)
    edus = _list(body, "edus", MAX_EDUS)
    return Transaction(
        origin,
        [pdu for pdu in pdus if isinstance(pdu, dict)],
        [parsed for edu in edus if (parsed := _find_edu(edu)) is not None],
    )


def encode_transaction(
    origin: ServerName,
    origin_server_ts: int,
    pdus: Sequence[bytes],
    edus: Sequence[bytes],
) -> bytes:
    """The canonical JSON of a transaction of events and EDUs that are in canonical form.

    The caller keeps to `MAX_PDUS` and `MAX_EDUS`.
    """
    edus_part = b'"edus":[%s],' % b",".join(edus) if edus else b""
    return b'{%s"origin":%s,"origin_server_ts":%d,"pdus":[%s]}' % (
        edus_part,
        canonical_json.encode(origin),
        origin_server_ts,
        b",".join(pdus),
    )


def _list(body: Mapping[str, Any], name: str, limit: int) -> list[Any]:
    value = body.get(name, [])
    if not isinstance(value, list):
        raise BadJson(f"`{name}` is not an array")
    if len(value) > limit:
        raise BadJson(f"A transaction may have at most {limit} {name}")
    return value


def _find_edu(edu: object) -> Edu | None:
    match edu:
        case {"edu_type": str(edu_type), "content": dict(content)}:
            return Edu(edu_type, content)
    return None
