"""The figures for Prometheus, asked of a server that runs."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from homeserver.app import running
from homeserver.config.sections.metrics import Metrics
from homeserver.config.settings import Settings
from storage.backups import LastBackup, note_backup
from tests.homeserver.conftest import Homes, settings_for_tests

COMPOSE = Path(__file__).parents[3] / "docker" / "compose"
DOCUMENT = COMPOSE.parents[1] / "docs" / "monitoring.md"
DASHBOARD = COMPOSE / "grafana" / "dashboards" / "hearth.json"
ALERTS = COMPOSE / "prometheus" / "alerts.yml"
OF_PROMETHEUS_ITSELF = {"up"}
ENDINGS = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


@dataclass(frozen=True)
class Figures:
    """What /metrics answered."""

    families: dict[str, Metric]

    def one(self, name: str, **labels: str) -> float:
        """The figure with exactly these labels."""
        return next(value for found, value in self.all(name) if found == labels)

    def all(self, name: str) -> list[tuple[dict[str, str], float]]:
        """All figures of a name, with their labels."""
        return [
            (sample.labels, sample.value)
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name
        ]

    def names(self) -> set[str]:
        """Every name that a query may use, also where there is no figure just now."""
        return {
            family.name + ending
            for family in self.families.values()
            for ending in ENDINGS[family.type]
        }


class Watched:
    """A server with figures, and who asks for them."""

    def __init__(self, homes: Homes, session: aiohttp.ClientSession) -> None:
        self.homes = homes
        self.session = session
        self.url = f"http://127.0.0.1:{homes.server.metrics_port}"

    async def figures(self) -> Figures:
        async with self.session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain")
            text = await answer.text()
        return Figures({family.name: family for family in text_string_to_metric_families(text)})


def watched_settings(database_url: str, directory: Path, **metrics: Any) -> Settings:
    settings = settings_for_tests(database_url, directory)
    return replace(settings, metrics=Metrics(enabled=True, port=0, **metrics))


@asynccontextmanager
async def running_watched(settings: Settings) -> AsyncIterator[Watched]:
    async with running(settings) as server, aiohttp.ClientSession() as session:
        yield Watched(Homes(server, session), session)


@pytest_asyncio.fixture
async def watched(database_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    settings = watched_settings(database_url, tmp_path, named_destinations=2)
    async with running_watched(settings) as one:
        yield one


async def test_requests_are_counted_by_the_path_that_the_specification_has(
    watched: Watched,
) -> None:
    alice = await watched.homes.user("alice")
    room_id = await alice.create_room()
    for number in range(3):
        await alice.send(room_id, f"message {number}")
    await alice.sync()
    figures = await watched.figures()
    sending = {
        "method": "PUT",
        "endpoint": "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}",
    }
    assert figures.one("hearth_http_requests_total", **sending, status="200") == 3
    assert figures.one("hearth_http_request_duration_seconds_count", **sending) == 3
    assert figures.one("hearth_http_request_duration_seconds_bucket", **sending, le="+Inf") == 3
    syncing = {"method": "GET", "endpoint": "/_matrix/client/v3/sync"}
    assert figures.one("hearth_http_long_poll_duration_seconds_count", **syncing) == 1
    assert figures.one("hearth_events_committed_total", origin="local") >= 3


async def test_the_age_of_the_last_backup_is_known(watched: Watched) -> None:
    name = "hearth_last_backup_timestamp_seconds"
    assert (await watched.figures()).one(name) == 0
    services = watched.homes.services
    await note_backup(services.db, LastBackup(1_800_000_000_000, 1, 1, "all"))
    assert (await watched.figures()).one(name) == 1_800_000_000


async def test_what_strangers_ask_for_makes_no_names(watched: Watched) -> None:
    nobody = watched.homes.nobody()
    for number in range(20):
        await nobody.get(f"/random/{number}")
        await nobody.request("PROPFIND", f"/random/{number}")
    figures = await watched.figures()
    assert {
        (labels["method"], labels["endpoint"])
        for labels, _ in figures.all("hearth_http_request_duration_seconds_count")
    } == {("GET", "unmatched"), ("other", "unmatched")}


async def test_the_servers_that_lack_most_are_named_and_the_others_counted_together(
    watched: Watched,
) -> None:
    db = watched.homes.services.db
    lacking = [("one.test", 5), ("two.test", 9), ("three.test", 2), ("four.test", 1)]
    for name, rooms in lacking:
        await db.executemany(
            "INSERT INTO outgoing_rooms (destination, room_nid, missed_from) VALUES ($1, $2, 1)",
            [(name, room) for room in range(rooms)],
        )
    await db.execute(
        "INSERT INTO outgoing_edus (destination, stream_position, queued_ts, edu)"
        " VALUES ('four.test', 1, 0, '{}'), ('four.test', 2, 0, '{}')"
    )
    figures = await watched.figures()
    missed = {
        labels["destination"]: value
        for labels, value in figures.all("hearth_federation_backlog_rooms")
    }
    edus = {
        labels["destination"]: value
        for labels, value in figures.all("hearth_federation_backlog_edus")
    }
    assert missed == {"two.test": 9, "one.test": 5, "others": 3}
    assert edus == {"two.test": 0, "one.test": 0, "others": 2}
    assert figures.one("hearth_federation_backlog_destinations") == 4


async def test_the_server_tells_what_it_is_and_what_it_takes(watched: Watched) -> None:
    alice = await watched.homes.user("alice")
    await alice.create_room()
    uploaded = await alice.request("POST", "/_matrix/media/v3/upload", raw=b"x" * 1000)
    assert uploaded.status == 200
    figures = await watched.figures()
    (info, one), *rest = figures.all("hearth_info")
    assert one == 1
    assert not rest
    assert info["version"] == watched.homes.services.version
    assert int(info["migration"]) >= 20
    assert figures.one("hearth_healthy") == 1
    assert figures.one("hearth_memory_bytes", part="server", kind="rss") > 10_000_000
    assert figures.one("hearth_memory_bytes", part="server", kind="pss") > 0
    assert 0 < figures.one("hearth_cache_bytes") <= figures.one("hearth_cache_budget_bytes")
    assert figures.one("hearth_database_connections", state="idle") >= 1
    assert figures.one("hearth_media_received_bytes_total") == 1000
    assert figures.one("hearth_media_stored_bytes") == 1000
    assert figures.one("hearth_committer_batches_total") > 0
    assert figures.one("process_cpu_seconds_total") > 0


async def test_a_server_whose_database_is_away_still_tells_the_rest(watched: Watched) -> None:
    committer = watched.homes.services.committer
    committer.close()
    while committer.is_running:
        await watched.homes.services.db.fetchval("SELECT 1")
    figures = await watched.figures()
    assert figures.one("hearth_healthy") == 0
    assert not figures.all("hearth_federation_backlog_rooms")


async def test_nothing_but_figures_is_at_their_port(watched: Watched) -> None:
    async with watched.session.get(f"{watched.url}/_matrix/client/versions") as answer:
        assert answer.status == 404
    async with watched.session.post(f"{watched.url}/metrics") as answer:
        assert answer.status == 405
    assert (await watched.homes.nobody().get("/metrics")).status == 404


async def test_there_are_none_unless_they_are_asked_for(homes: Homes) -> None:
    assert homes.server.metrics_port is None
    code = "import sys, homeserver.app; print('prometheus_client' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "False\n"


async def test_dashboard_and_alerts_use_names_and_labels_that_there_are(watched: Watched) -> None:
    alice = await watched.homes.user("alice")
    await alice.sync()
    figures = await watched.figures()
    known = figures.names() | OF_PROMETHEUS_ITSELF
    labels = {
        sample.name: set(sample.labels)
        for family in figures.families.values()
        for sample in family.samples
    }
    for query in [*dashboard_queries(), *alert_queries()]:
        used = re.findall(r"\b(?:hearth|process)_\w+|\bup\b", query)
        assert used, query
        assert set(used) <= known, query
        for name, chosen in re.findall(r"(\w+)\{([^}]*)\}", query):
            if name in labels:
                assert set(re.findall(r"(\w+)=", chosen)) <= labels[name], query


def test_there_are_alerts_for_what_somebody_must_look_at() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [
        "HearthDown",
        "HearthFails",
        "HearthFallsBehind",
    ]
    assert all(rule["for"] and rule["annotations"]["summary"] for rule in group["rules"])


async def test_the_document_has_every_figure_and_no_other(watched: Watched) -> None:
    families = (await watched.figures()).families.values()
    told = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("hearth_")
    }
    assert set(re.findall(r"`(hearth_\w+)`", DOCUMENT.read_text())) == told


def dashboard_queries() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def alert_queries() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
