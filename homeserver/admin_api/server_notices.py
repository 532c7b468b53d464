"""Telling users something in the name of the server.

Source: https://element-hq.github.io/synapse/latest/admin_api/server_notices.html
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.identifiers import check_user_id
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str, require_object, require_str
from homeserver.rooms.send import transaction_of
from homeserver.server_notices.notices import MESSAGE, Notice

PATH = "/_synapse/admin/v1/send_server_notice"


@endpoint("POST", PATH, Access.ADMIN, rate=Rate.REQUEST)
async def send_server_notice(call: Call) -> dict[str, Any]:
    """Send a notice to a user.

    Errors: `Unknown`, `MissingParam`, `BadJson`, `InvalidParam`, `NotFound`, `BadState`.
    """
    return {"event_id": await call.services.server_notices.send(read_notice(call), None)}


@endpoint("PUT", f"{PATH}/{{txnId}}", Access.ADMIN, rate=Rate.REQUEST)
async def send_server_notice_once(call: Call) -> dict[str, Any]:
    """Send a notice to a user; the same `txnId` again answers the first event. Errors: as above."""
    scope = (str(call.user_nid), "send_server_notice")
    transaction = transaction_of(call.device_nid, scope, call.path["txnId"])
    return {"event_id": await call.services.server_notices.send(read_notice(call), transaction)}


def read_notice(call: Call) -> Notice:
    """What a request asks for. Raises `MissingParam`, `BadJson`, `InvalidParam`."""
    event_type = optional_str(call.json, "type")
    return Notice(
        check_user_id(require_str(call.json, "user_id")),
        require_object(call.json, "content"),
        MESSAGE if event_type is None else event_type,
        optional_str(call.json, "state_key"),
    )


ENDPOINTS = (send_server_notice, send_server_notice_once)
