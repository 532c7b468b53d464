"""How clients are told of LiveKit.

Source: MSC4143, "Discovery of transports"; MSC4195, "Discovering and announcing transports", by the
names that its implementations use.
"""

from collections.abc import Mapping, Sequence

from homeserver.config.sections.calls import Calls


def livekit_transports(settings: Calls) -> Sequence[Mapping[str, str]]:
    """The ways to be in a call; none where there is no LiveKit."""
    if not settings.livekit_url:
        return []
    service_url, url = settings.service_url, settings.livekit_url
    return [{"type": "livekit", "livekit_service_url": service_url, "url": url}]
