"""Redacting events.

Source: client-server API, "Redactions"; MSC3912 for what relates to the event.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import EventId, RoomId
from homeserver.http.call import Call
from homeserver.http.request_body import optional_str_list
from homeserver.rooms.related_redactions import Redactor
from homeserver.rooms.send import transaction_of

RELATIONS = ("with_rel_types", "org.matrix.msc3912.with_relations")
MAX_RELATIONS = 20


@endpoint(
    "PUT",
    "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
    Access.USER,
    rate=Rate.MESSAGE,
)
async def redact_event(call: Call) -> Mapping[str, Any]:
    """Redact an event, and what relates to it as the caller says.

    The same `txnId` again answers the first redaction.
    Errors: `Forbidden`, `NotFound`, `BadJson`, `InvalidParam`.
    """
    content, rel_types = split_relations(call.json)
    room_id, target = RoomId(call.path["roomId"]), EventId(call.path["eventId"])
    scope = (str(call.user_nid), "redact", room_id, target)
    transaction = transaction_of(call.device_nid, scope, call.path["txnId"])
    event_id = await call.services.rooms.events.redact(
        call.user_id,
        room_id,
        target,
        content,
        transaction,
        is_admin=call.is_admin,
        is_suspended=call.user.is_suspended,
    )
    if rel_types:
        redactor = Redactor(call.user_id, call.is_admin, call.user.is_suspended)
        await call.services.rooms.related_redactions.redact(redactor, room_id, target, rel_types)
    return {"event_id": event_id}


def split_relations(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The content of the redaction, and by which relations other events go with the target.

    Raises `BadJson`, `InvalidParam`.
    """
    rel_types = [rel_type for name in RELATIONS for rel_type in optional_str_list(body, name) or ()]
    if len(rel_types) > MAX_RELATIONS:
        raise InvalidParam(f"At most {MAX_RELATIONS} types of relations can be named")
    return {name: value for name, value in body.items() if name not in RELATIONS}, rel_types


ENDPOINTS = (redact_event,)
