"""Which versions of the specification are served.

Source: client-server API, "API Versions".
"""

from collections.abc import Mapping

from federation.protocol.endpoint import Access, endpoint
from federation.protocol.response import Response
from homeserver.calls.transports import livekit_transports
from homeserver.http.call import Call
from homeserver.rooms.encryption_policy import Policy

SPEC_VERSIONS = (
    "r0.0.1",
    "r0.1.0",
    "r0.2.0",
    "r0.3.0",
    "r0.4.0",
    "r0.5.0",
    "r0.6.0",
    "r0.6.1",
    *(f"v1.{minor}" for minor in range(1, 20)),
)

FEATURES: Mapping[str, bool] = dict.fromkeys(
    (
        "com.beeper.msc4169",
        "fi.mau.msc2659.stable",
        "org.matrix.e2e_cross_signing",
        "org.matrix.msc2285.stable",
        "org.matrix.msc2432",
        "org.matrix.msc3266",
        "org.matrix.msc3391",
        "org.matrix.msc3440.stable",
        "org.matrix.msc3771",
        "org.matrix.msc3773",
        "org.matrix.msc3814",
        "org.matrix.msc3827.stable",
        "org.matrix.msc3856.stable",
        "org.matrix.msc3874",
        "org.matrix.msc3881",
        "org.matrix.msc3912",
        "org.matrix.msc3952_intentional_mentions",
        "org.matrix.msc3981",
        "org.matrix.msc4155",
        "org.matrix.msc4354",
        "org.matrix.msc4380.stable",
        "org.matrix.simplified_msc3575",
        "uk.half-shot.msc2666.query_mutual_rooms",
        "uk.half-shot.msc2666.query_mutual_rooms.stable",
        "uk.tcpip.msc4133",
        "uk.tcpip.msc4133.stable",
    ),
    True,
)
"""What clients look for by name: what no version of the specification has yet, and what has been
in one for so short a time that clients ask for it by its old name. docs/clients.md says more."""

THREAD_SUBSCRIPTIONS = "org.matrix.msc4306"
"""Whether threads notify their subscribers; clients subscribe by themselves where it is so."""

DELAYED_EVENTS = ("org.matrix.msc4140", "org.matrix.msc4140.stable")
"""Whether events can be delayed."""

CALLS = "org.matrix.msc4143"
"""Whether clients can ask for the ways to be in a call; some ask only where it is so."""

CACHED = "public, max-age=600, s-maxage=3600, stale-while-revalidate=600"
"""Of what everybody is told alike; whoever sends a token gets an answer of their own."""


# A token is not looked at: no feature is for some users only, and a client whose token has
# expired asks for the versions too.
@endpoint("GET", "/_matrix/client/versions", Access.PUBLIC)
async def get_versions(call: Call) -> Response:
    """List the versions, and the features that are not in any version yet."""
    settings = call.services.settings
    features = {
        **FEATURES,
        **forced(settings.rooms.encryption),
        THREAD_SUBSCRIPTIONS: settings.push.thread_subscriptions,
        **dict.fromkeys(DELAYED_EVENTS, settings.delayed_events.max_scheduled > 0),
        CALLS: bool(livekit_transports(settings.calls)),
    }
    headers = {"Vary": "Authorization"}
    if "Authorization" not in call.headers:
        headers["Cache-Control"] = CACHED
    return Response(
        body={"versions": SPEC_VERSIONS, "unstable_features": features}, headers=headers
    )


def forced(policy: Policy) -> dict[str, bool]:
    """Whether rooms of the presets are encrypted by the server, as clients ask for it."""
    is_private = policy != "off"
    return {
        "io.element.e2ee_forced.public": policy == "all",
        "io.element.e2ee_forced.private": is_private,
        "io.element.e2ee_forced.trusted_private": is_private,
    }


ENDPOINTS = (get_versions,)
