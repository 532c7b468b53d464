"""The authorisation rules of an event, in the order of the specification's list.

`check_auth` tries an event against a state, `check_auth_events` the auth events that it cites.
"""

from collections.abc import Iterable

from federation.protocol.auth_events import CREATE, auth_event_places
from federation.protocol.auth_rules.create import check_create
from federation.protocol.auth_rules.membership import check_member
from federation.protocol.auth_rules.power_levels import check_power_levels
from federation.protocol.auth_rules.redaction import check_redaction
from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.auth_rules.third_party_invite import check_third_party_invite
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.identifiers import server_of
from federation.protocol.pdu import Pdu, StateKey


def check_auth(event: Pdu, state: AuthState) -> None:
    """Authorise an event by a state: that of its auth events, the one before it, or the current.

    Signatures, event format and the choice of auth events are checked elsewhere.

    Source: room versions 1 to 12, "Authorisation rules".
    Raises `AuthRuleFailed`.
    """
    if event.type == "m.room.create":
        check_create(event)
        return
    create, sender = state.create, event.sender
    require(create.room_id == event.room_id, "room_id", "The room has another create event")
    if create.content.get("m.federate") is False:
        local = server_of(sender) == server_of(create.sender)
        require(local, "federate", f"{sender} is of another server, and the room not federated")
    if event.type == "m.room.aliases" and event.room_version.aliases_special_case:
        check_aliases(event)
    elif event.type == "m.room.member":
        check_member(event, state)
    else:
        require(state.membership(sender) == "join", "sender.joined", f"{sender} is not joined")
        if event.type == "m.room.third_party_invite":
            check_third_party_invite(event, state)
        else:
            check_sending(event, state)


def check_aliases(event: Pdu) -> None:
    """Authorise a server's list of its aliases of the room.

    Source: room version 1, authorisation rule 4.
    Raises `AuthRuleFailed`.
    """
    own = event.state_key == server_of(event.sender)
    require(own, "aliases.server", "The aliases are not those of the sender's server")


def check_sending(event: Pdu, state: AuthState) -> None:
    """Authorise an event of any type that the rules do not treat before the levels.

    Source: room version 12, authorisation rules 8 to 11; room version 1, 8 to 12.
    Raises `AuthRuleFailed`.
    """
    sender, power, state_key = event.sender, state.power, event.state_key
    required = power.required_for(event.type, is_state=state_key is not None)
    require(power.of(sender) >= required, "level", f"{sender} may not send {event.type}")
    if state_key is not None and state_key.startswith("@"):
        require(state_key == sender, "state_key", f"{sender} may not set the state of {state_key}")
    if event.type == "m.room.power_levels":
        check_power_levels(event, state)
    elif event.type == "m.room.redaction" and event.room_version.redaction_checked_on_auth:
        check_redaction(event, state)


def check_auth_events(event: Pdu, auth_events: Iterable[Pdu]) -> None:
    """Raise unless an event cites what it may cite as auth events, and no more.

    That none of them was rejected, and from room version 12 on that the create event was not, the
    caller knows.

    Source: room version 12, authorisation rules 2 and 3; room version 1, authorisation rule 2.
    Raises `AuthRuleFailed`.
    """
    allowed = auth_event_places(
        event.type, event.state_key, event.sender, event.content, event.room_version
    )
    cited: set[StateKey] = set()
    for auth_event in auth_events:
        place = None if auth_event.state_key is None else auth_event.state_place
        if place is None or place not in allowed:
            raise AuthRuleFailed("auth_events.selection", f"{auth_event.event_id} is of no concern")
        require(place not in cited, "auth_events.duplicate", f"Two auth events are {place}")
        same_room = auth_event.room_id == event.room_id
        require(same_room, "auth_events.room", f"{auth_event.event_id} is of another room")
        cited.add(place)
    complete = CREATE not in allowed or CREATE in cited
    require(complete, "auth_events.create", "The auth events lack the create event")
