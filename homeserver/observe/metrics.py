"""The figures in Prometheus' form. Imported only where they are asked for.

Everything is read when somebody asks: the parts of the server count in plain numbers, and hold no
object of a library that would have to be updated as they work.
"""

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from homeserver.observe.readings import Reading, Readings
from homeserver.observe.request_times import Key, Times
from storage.cache import Cache

OTHERS = "others"
"""Stands for all destinations that are not named."""

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Values of labels, each combination with its figure."""


class Metrics:
    """Renders what the readings say."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    async def render(self) -> bytes:
        """All figures of this moment, as text."""
        reading = await self._readings.take()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Figures(self._readings, reading))
        ProcessCollector(registry=registry)
        return generate_latest(registry)


class Figures(Collector):
    """All metrics of one reading."""

    def __init__(self, readings: Readings, reading: Reading) -> None:
        self._readings = readings
        self._reading = reading
        self._services = readings.watched.services

    def collect(self) -> Iterator[Metric]:
        """Every metric, with a name that begins with hearth_."""
        yield from self._server()
        yield from self._requests()
        yield from self._storage()
        yield from self._federation()
        yield from self._pushes()
        yield from self._bridges()
        yield from self._media()

    def _server(self) -> Iterator[Metric]:
        database, migration = self._reading.database, ""
        if database is not None:
            migration = str(database.migration)
        yield gauge(
            "info",
            "Always 1; which hearth this is",
            [((self._services.version, platform.python_version(), migration), 1)],
            ("version", "python", "migration"),
        )
        if database is not None:
            last = database.last_backup
            finished_s = 0 if last is None else last.finished_ts / 1000
            yield gauge(
                "last_backup_timestamp_seconds",
                "When the last backup was finished; 0 if there never was one",
                finished_s,
            )
        yield gauge("healthy", "Whether /health answers 200", self._reading.problem is None)
        memory = self._reading.memory.items()
        yield gauge(
            "memory_bytes",
            "Memory of the server, its private PostgreSQL and what decodes media",
            [((part, "rss"), one.rss) for part, one in memory]
            + [((part, "pss"), one.pss) for part, one in memory],
            ("part", "kind"),
        )

    def _requests(self) -> Iterator[Metric]:
        times = self._readings.requests.times
        yield counter(
            "http_requests",
            "Answers by endpoint and status",
            [
                ((*key, str(status)), count)
                for key, one in times.items()
                for status, count in one.statuses.items()
            ],
            ("method", "endpoint", "status"),
        )
        yield histogram(
            "http_request_duration_seconds",
            "How long answers took that wait for nothing",
            {key: one for key, one in times.items() if not one.is_long_poll},
        )
        yield histogram(
            "http_long_poll_duration_seconds",
            "How long answers took that may wait for news",
            {key: one for key, one in times.items() if one.is_long_poll},
        )
        dispatcher = self._readings.dispatcher
        if dispatcher is not None:
            yield gauge("http_requests_in_flight", "Requests under way", dispatcher.in_flight)
            yield gauge("sync_waiters", "Requests that wait for news", dispatcher.long_polls)

    def _storage(self) -> Iterator[Metric]:
        events, stream = self._readings.events, self._readings.watched.stream
        yield counter(
            "events_committed",
            "Events that this process has committed, by whose they are",
            [(("local",), events.local), (("remote",), events.remote)],
            ("origin",),
        )
        yield gauge("stream_position", "The last position of the stream", stream.position)
        committer = self._services.committer
        done = committer.done
        yield counter("committer_batches", "Transactions of the committer", done.count)
        yield counter("committer_submissions", "What they stored together", done.submissions)
        yield counter("committer_seconds", "How long they took", done.seconds)
        yield gauge(
            "committer_queue_length", "What waits for the next transaction", committer.queue_length
        )
        pool = self._services.db.use
        yield gauge(
            "database_connections",
            "Connections of the pool",
            [(("idle",), pool.idle), (("busy",), pool.open - pool.idle)],
            ("state",),
        )
        limit = self._services.settings.database.pool_size
        yield gauge("database_connections_limit", "The most that there may be", limit)
        cached = Cache.use()
        yield gauge("cache_bytes", "What all caches hold", cached.bytes)
        yield gauge("cache_entries", "How many things that is", cached.entries)
        budget = self._readings.watched.cache_bytes
        yield gauge("cache_budget_bytes", "What they may hold", budget)

    def _federation(self) -> Iterator[Metric]:
        received, waiting = self._services.transactions.tally, self._services.transactions.waiting
        yield counter(
            "federation_transactions_received", "Transactions taken", received.transactions
        )
        yield counter(
            "federation_pdus_received",
            "Events in them, by what became of them",
            [
                (("accepted",), received.pdus - received.refused),
                (("refused",), received.refused),
            ],
            ("result",),
        )
        yield counter("federation_edus_received", "EDUs in them", received.edus)
        yield gauge("federation_transactions_receiving", "Transactions being taken", waiting)
        sender = self._services.sending.sender
        sent, state = sender.tally, sender.state
        yield counter(
            "federation_transactions_sent",
            "Transactions sent, by what became of them",
            [(("taken",), sent.transactions), (("failed",), sent.failures)],
            ("result",),
        )
        yield counter("federation_pdus_sent", "Events in those that were taken", sent.pdus)
        yield counter("federation_edus_sent", "EDUs in those that were taken", sent.edus)
        yield gauge("federation_transactions_sending", "Transactions under way", state.under_way)
        yield gauge("federation_destinations_failing", "Servers that fail", state.failing)
        yield gauge("federation_pdus_waiting", "Events waiting in memory", state.pdus_waiting)
        yield from self._backlog()

    def _backlog(self) -> Iterator[Metric]:
        database = self._reading.database
        if database is None:
            return
        backlog = [(one.destination or OTHERS, one) for one in database.backlog]
        yield gauge(
            "federation_backlog_rooms",
            "Rooms of which a server has not got all events",
            [((name,), one.rooms) for name, one in backlog],
            ("destination",),
        )
        yield gauge(
            "federation_backlog_edus",
            "EDUs that a server has not got and must get",
            [((name,), one.edus) for name, one in backlog],
            ("destination",),
        )
        servers = sum(one.servers for one in database.backlog)
        yield gauge("federation_backlog_destinations", "Servers that lack something", servers)

    def _pushes(self) -> Iterator[Metric]:
        delivery = self._services.pushing.delivery
        tally = delivery.tally
        yield counter(
            "push_notifications",
            "Notifications handed to gateways, by what became of them",
            [
                (("sent",), tally.sent),
                (("rejected",), tally.rejected),
                (("refused",), tally.refused),
                (("failed",), tally.failed),
            ],
            ("result",),
        )
        yield gauge("push_waiting", "Notifications waiting in memory", delivery.waiting)
        yield gauge("push_pushers_behind", "Pushers that have to catch up", delivery.behind)

    def _bridges(self) -> Iterator[Metric]:
        delivery = self._services.appservices.delivery
        couriers = [] if delivery is None else delivery.couriers
        yield counter(
            "bridge_transactions",
            "Transactions of bridges, by what became of them",
            [
                sample
                for one in couriers
                for sample in (
                    ((one.service.service_id, "taken"), one.sent),
                    ((one.service.service_id, "failed"), one.failed),
                )
            ],
            ("bridge", "result"),
        )
        yield gauge(
            "bridge_waiting",
            "Changes waiting in memory for a bridge",
            [((one.service.service_id,), len(one.outbox)) for one in couriers],
            ("bridge",),
        )
        yield gauge(
            "bridge_behind",
            "Whether a bridge has to catch up from the database",
            [((one.service.service_id,), one.outbox.is_behind) for one in couriers],
            ("bridge",),
        )

    def _media(self) -> Iterator[Metric]:
        tally = self._services.media.contents.tally
        yield counter("media_received_bytes", "Bytes of files that came", tally.received_bytes)
        yield counter("media_sent_bytes", "Bytes of files that were asked for", tally.sent_bytes)
        if self._reading.database is not None:
            media = self._reading.database.media
            yield gauge("media_stored_bytes", "Bytes of all files", media.bytes)
            yield gauge("media_stored_files", "How many files that is", media.files)


def gauge(
    name: str, text: str, samples: Samples | float, labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    """What goes up and down."""
    family = GaugeMetricFamily(f"hearth_{name}", text, labels=labels)
    for values, figure in samples_of(samples):
        family.add_metric(values, figure)
    return family


def counter(
    name: str, text: str, samples: Samples | float, labels: tuple[str, ...] = ()
) -> CounterMetricFamily:
    """What only grows; its name gets `_total` at the end."""
    family = CounterMetricFamily(f"hearth_{name}", text, labels=labels)
    for values, figure in samples_of(samples):
        family.add_metric(values, figure)
    return family


def histogram(name: str, text: str, times: dict[Key, Times]) -> HistogramMetricFamily:
    """How long requests took."""
    family = HistogramMetricFamily(f"hearth_{name}", text, labels=("method", "endpoint"))
    for key, one in times.items():
        bounds = [*map(str, one.bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(one.counts), strict=True))
        family.add_metric(key, buckets, one.total_s)
    return family


def samples_of(samples: Samples | float) -> Samples:
    """The samples, or the only one of a metric without labels."""
    return [((), float(samples))] if isinstance(samples, int | float) else samples
