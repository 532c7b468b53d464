"""What the settings of `[profile]` mean for the others.

A profile is other defaults: whatever the operator gives, in the file or the environment, wins.
"""

from collections.abc import Mapping
from typing import Any

Sections = Mapping[str, Mapping[str, Any]]

LISTENERS = "listen"
"""What stands under this name is for each of them."""

PROFILES: Mapping[str, Sections] = {
    "low_bandwidth": {
        "presence": {"enabled": False},
        "rooms": {"typing": False},
        "sync": {"first_events": 5},
        # Links that forget connections do so after five minutes or later.
        "outgoing": {"keepalive_s": 240},
        LISTENERS: {"gzip_over_bytes": 400, "browser_headers": "asked", "keepalive_s": 240},
    },
    "small_memory": {
        "database": {"pool_size": 3, "shared_buffers_mb": 8, "max_wal_mb": 32},
        "cache": {"budget_mb": 16},
        "limits": {"max_body_bytes": 2_097_152},
        "media": {"thumbnails_at_a_time": 1},
    },
}
"""By profile, section and key."""


def apply_profiles(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete values of all settings, where `given` are those that the operator gives."""
    changed = dict(values)
    for profile, sections in PROFILES.items():
        if not values["profile"][profile]:
            continue
        for name, defaults in sections.items():
            if name == LISTENERS:
                own = given.get(name, ({},))
                pairs = zip(changed[name], own, strict=True)
                changed[name] = [{**listener, **defaults, **mine} for listener, mine in pairs]
            else:
                changed[name] = {**changed[name], **defaults, **given.get(name, {})}
    return changed
