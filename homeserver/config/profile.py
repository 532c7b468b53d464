"""What the settings of `[profile]` mean for the others.

A profile is other defaults: whatever the operator gives, in the file or the environment, wins.
"""

from collections.abc import Mapping
from typing import Any

LOW_BANDWIDTH: Mapping[str, Mapping[str, Any]] = {
    "presence": {"enabled": False},
    "rooms": {"typing": False},
    "sync": {"first_events": 5},
    "outgoing": {"keepalive_s": 240},
}
"""By section and key. Links that forget connections do so after five minutes or later."""
LOW_BANDWIDTH_LISTENER: Mapping[str, Any] = {
    "gzip_over_bytes": 400,
    "browser_headers": "asked",
    "keepalive_s": 240,
}
"""For every listener."""


def apply_profile(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete values of all settings, where `given` are those that the operator gives."""
    if not values["profile"]["low_bandwidth"]:
        return dict(values)
    changed = dict(values)
    for section, defaults in LOW_BANDWIDTH.items():
        changed[section] = {**values[section], **defaults, **given.get(section, {})}
    given_listeners = given.get("listen", ({},))
    changed["listen"] = [
        {**complete, **LOW_BANDWIDTH_LISTENER, **own}
        for complete, own in zip(values["listen"], given_listeners, strict=True)
    ]
    return changed
