"""The figures for monitoring, put together. Imported only where they are switched on."""

from homeserver.building.core import Core
from homeserver.observe.metrics import Metrics
from homeserver.observe.metrics_listener import MetricsListener
from homeserver.observe.readings import Readings, Watched
from homeserver.services import Services


def build_readings(core: Core, services: Services) -> Readings:
    """What takes the figures; it hears of the stream from now on."""
    return Readings(Watched(services, core.stream, core.cache_bytes))


def build_listener(readings: Readings) -> MetricsListener:
    """Where they are told."""
    return MetricsListener(Metrics(readings).render)
