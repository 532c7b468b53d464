"""Group calls, put together, where they are configured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from federation.protocol.endpoint import Endpoint
from federation.protocol.identifiers import ServerName
from homeserver.building.core import Core
from homeserver.http.call import Call
from homeserver.users.users import Users
from storage.duties import CALL_LEAVES

if TYPE_CHECKING:
    from homeserver.calls.calls import Calls
    from homeserver.calls.ports import DelayedEvents

LEAVES_TOPIC = "call_leaves"


def build_calls(core: Core, users: Users, delayed_events: "DelayedEvents") -> "Calls | None":
    """The services of calls; nothing of them is loaded where there is no LiveKit."""
    settings = core.settings.calls
    if not settings.livekit_url:
        return None
    from federation.outbound.call_tokens import RemoteCallTokens
    from federation.outbound.delayed_events import RemoteDelayedEvents
    from federation.outbound.openid import RemoteOpenIds
    from homeserver.calls.calls import Calls
    from homeserver.calls.homeserver_tokens import HomeserverTokens
    from homeserver.calls.issuing import TokenIssuer
    from homeserver.calls.leaves import Leaves
    from homeserver.calls.livekit import LiveKit
    from homeserver.calls.openid import OpenIds
    from homeserver.calls.removals import Removals
    from homeserver.calls.signed_tokens import ApiKey
    from homeserver.calls.token_service import TokenService

    client = core.links.client if core.settings.federation.enabled else None
    key = ApiKey(settings.api_key, settings.api_secret)
    livekit = LiveKit(settings.livekit_api_url, key, core.clock)

    def events_of(server: ServerName) -> "DelayedEvents":
        if server == core.server_name:
            return delayed_events
        return RemoteDelayedEvents(core.links.connections, server)

    leaves = Leaves(
        core.db,
        livekit,
        events_of,
        core.announcer(LEAVES_TOPIC),
        core.clock,
        core.duty(CALL_LEAVES),
    )
    removals = Removals(core.db, livekit, core.clock)
    issuer = TokenIssuer(key, settings.token_lifetime_s, removals, core.clock)
    core.stream.listen(removals.heard)
    core.hear(LEAVES_TOPIC, leaves.hear, leaves.missed_messages)
    openids = OpenIds(
        core.server_name, users.short_lived_tokens, RemoteOpenIds(client) if client else None
    )
    return Calls(
        livekit=livekit,
        token_service=TokenService(
            core.db, settings, core.server_name, openids, livekit, leaves, issuer
        ),
        homeserver_tokens=HomeserverTokens(
            core.db,
            settings,
            core.server_name,
            livekit,
            leaves,
            issuer,
            RemoteCallTokens(client) if client else None,
        ),
        leaves=leaves,
        removals=removals,
        key=key,
        clock=core.clock,
    )


def call_endpoints(calls: "Calls | None") -> Sequence[Endpoint[Call]]:
    """What is served where there are calls."""
    if calls is None:
        return ()
    from homeserver.call_api.endpoints import ENDPOINTS

    return ENDPOINTS
