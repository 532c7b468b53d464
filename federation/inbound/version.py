"""Which server this is. Source: server-server API, "Server implementation"."""

from collections.abc import Mapping
from typing import Any

from federation.inbound.ports import KeyCall
from federation.protocol.endpoint import Access, endpoint


@endpoint("GET", "/_matrix/federation/v1/version", Access.PUBLIC)
async def get_version(call: KeyCall) -> Mapping[str, Any]:
    """Tell name and version of the software."""
    return {"server": {"name": "hearth", "version": call.services.version}}


ENDPOINTS = (get_version,)
