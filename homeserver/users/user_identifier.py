"""Who somebody says they are when they log in.

Source: client-server API, "Identifier types".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.errors import BadJson, Forbidden, Unknown
from homeserver.users.body_texts import require_text


@dataclass(frozen=True, slots=True)
class Address:
    """An e-mail address or telephone number by which somebody logs in."""

    medium: str
    address: str


def read_user_name(body: Mapping[str, Any]) -> str | Address:
    """The user ID or localpart in `identifier`, or in `user` as older clients send it.

    Or the e-mail address or telephone number there. Raises `MissingParam`, `BadJson`, `Unknown`
    for a type of identifier that does not exist, and `Forbidden` for a telephone number as it is
    dialled somewhere: it may be anybody's.
    """
    identifier = body.get("identifier")
    if identifier is None:
        return _address(body) if "medium" in body or "address" in body else _name(body)
    if not isinstance(identifier, dict):
        raise BadJson("'identifier' must be an object")
    kind = identifier.get("type")
    if kind == "m.id.user":
        return _name(identifier)
    if kind == "m.id.thirdparty" or (kind is None and "medium" in identifier):
        return _address(identifier)
    if kind == "m.id.phone":
        raise Forbidden("Nobody here has this telephone number")
    raise Unknown("Unknown type of user identifier")


def _address(holder: Mapping[str, Any]) -> Address:
    return Address(require_text(holder, "medium"), require_text(holder, "address"))


def _name(holder: Mapping[str, Any]) -> str:
    return require_text(holder, "user")
