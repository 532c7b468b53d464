"""The signature of a request between servers, and the header that carries it.

Source: server-server API, "Request Authentication".
"""

import re
from dataclasses import dataclass

import orjson

from federation.protocol.errors import Unauthorized
from federation.protocol.identifiers import (
    KeyId,
    ServerName,
    is_valid_key_id,
    is_valid_server_name,
)
from federation.protocol.signatures import SigningKey, sign_bytes

SCHEME = "X-Matrix"
MAX_HEADER_LENGTH = 4_096

_SCHEME = re.compile(r"x-matrix +", re.IGNORECASE)
# A value that is no token has to be quoted, but older servers do not quote colons. IPv6 literals
# bring brackets and signatures bring `/` and `=`; neither is mistaken for anything else.
_PARAMETER = re.compile(
    r"""[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]*))[ \t]*(?:,|$)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Authorization:
    """What an X-Matrix header claims; `destination` is None where an old server leaves it out."""

    origin: ServerName
    destination: ServerName | None
    key_id: KeyId
    signature: str


def signed_bytes(
    method: str, uri: str, origin: ServerName, destination: ServerName, content: bytes | None
) -> bytes:
    """What the signature covers: canonical JSON of the request.

    `uri` is the request target from `/_matrix` on, with its query, as it goes over the wire;
    `content` is the body's canonical JSON, None for a request without a body.
    """
    # The names of the members are in canonical order, so that a large body is encoded only once.
    body = b"" if content is None else b'"content":%b,' % content
    values = (orjson.dumps(value) for value in (destination, method, origin, uri))
    return b'{%b"destination":%b,"method":%b,"origin":%b,"uri":%b}' % (body, *values)


def authorization_header(
    method: str,
    uri: str,
    origin: ServerName,
    destination: ServerName,
    content: bytes | None,
    key: SigningKey,
) -> str:
    """The header of a request that this key signs; the parameters are those of `signed_bytes`."""
    signature = sign_bytes(signed_bytes(method, uri, origin, destination, content), key)
    return (
        f'{SCHEME} origin="{origin}",destination="{destination}",'
        f'key="{key.key_id}",sig="{signature}"'
    )


def parse_authorization(header: str) -> Authorization:
    """What a header says. Unknown parameters are passed over. Raises `Unauthorized`."""
    scheme = _SCHEME.match(header)
    if scheme is None or len(header) > MAX_HEADER_LENGTH:
        raise Unauthorized("Not an X-Matrix authorization")
    parameters = _parse_parameters(header, scheme.end())
    origin, key_id = parameters.get("origin", ""), parameters.get("key", "")
    destination = parameters.get("destination")
    if not is_valid_server_name(origin):
        raise Unauthorized("The X-Matrix authorization has no valid origin")
    if not is_valid_key_id(key_id):
        raise Unauthorized("The X-Matrix authorization has no valid key")
    if "sig" not in parameters:
        raise Unauthorized("The X-Matrix authorization has no sig")
    return Authorization(
        ServerName(origin),
        None if destination is None else ServerName(destination),
        KeyId(key_id),
        parameters["sig"],
    )


def _parse_parameters(header: str, position: int) -> dict[str, str]:
    """The parameters by lower-case name. Raises `Unauthorized`, also for one given twice."""
    found: dict[str, str] = {}
    while position < len(header):
        match = _PARAMETER.match(header, position)
        if match is None:
            raise Unauthorized("The X-Matrix authorization is malformed")
        name, quoted = match["name"].lower(), match["quoted"]
        if name in found:
            raise Unauthorized(f"The X-Matrix authorization has two parameters {name}")
        found[name] = match["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = match.end()
    return found
