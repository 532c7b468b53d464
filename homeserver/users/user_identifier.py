"""Who somebody says they are when they log in.

Source: client-server API, "Identifier types".
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.errors import BadJson, Forbidden, MissingParam, Unknown


def read_user_name(body: Mapping[str, Any]) -> str:
    """The user ID or localpart in `identifier`, or in `user` as older clients send it.

    Raises `MissingParam`, `BadJson`, `Unknown` for a type of identifier that does not exist, and
    `Forbidden` for an e-mail address or telephone number: this server keeps none, so it knows of
    nobody who has it.
    """
    identifier = body.get("identifier")
    if identifier is None:
        if "medium" in body or "address" in body:
            raise Forbidden("Nobody here has this third-party identifier")
        return _name(body)
    if not isinstance(identifier, dict):
        raise BadJson("'identifier' must be an object")
    kind = identifier.get("type")
    if kind == "m.id.user":
        return _name(identifier)
    if kind in {"m.id.thirdparty", "m.id.phone"} or (kind is None and "medium" in identifier):
        raise Forbidden("Nobody here has this third-party identifier")
    raise Unknown("Unknown type of user identifier")


def _name(holder: Mapping[str, Any]) -> str:
    name = holder.get("user")
    if name is None:
        raise MissingParam("Missing parameter 'user'")
    if not isinstance(name, str) or "\0" in name:
        raise BadJson("'user' must be a string")
    return name
