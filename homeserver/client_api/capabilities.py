"""What the user may do here.

Source: client-server API, "Capabilities negotiation".
"""

from typing import Any

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.room_versions import ROOM_VERSIONS
from homeserver.config.sections.calls import DelayedEvents
from homeserver.http.call import Call


@endpoint("GET", "/_matrix/client/v3/capabilities", Access.GUEST, rate=Rate.REQUEST)
async def get_capabilities(call: Call) -> dict[str, Any]:
    """List the capabilities; what only some users may do is there for them alone."""
    settings = call.services.settings
    has_passwords = {"enabled": settings.auth.password_login}
    capabilities: dict[str, Any] = {
        "m.change_password": has_passwords,
        "m.room_versions": {
            "default": settings.rooms.default_version,
            "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
        },
        "m.set_displayname": {"enabled": True},
        "m.set_avatar_url": {"enabled": True},
        "m.profile_fields": {"enabled": True},
        "m.3pid_changes": {"enabled": call.services.users.third_party_ids.can_change},
        "m.get_login_token": has_passwords,
        "m.forget_forced_upon_leave": {"enabled": settings.rooms.forget_on_leave},
        # MSC4452
        "io.element.msc4452.preview_url": {"enabled": settings.url_previews.enabled},
    }
    capabilities |= delayed_events(settings.delayed_events)
    if call.is_admin:
        capabilities["m.account_moderation"] = {"suspend": True, "lock": True}
    return {"capabilities": capabilities}


def delayed_events(limits: DelayedEvents) -> dict[str, Any]:
    """How many events may be delayed, and for how long, by both names of MSC4140."""
    shown = {"max_delay_ms": limits.max_delay_s * 1000, "max_scheduled": limits.max_scheduled}
    return {"m.delayed_events": shown, "org.matrix.msc4140.delayed_events": shown}


ENDPOINTS = (get_capabilities,)
