"""What clients are told by name is what the documentation says."""

import re
from pathlib import Path

from homeserver.client_api.versions import (
    CALLS,
    DELAYED_EVENTS,
    FEATURES,
    THREAD_SUBSCRIPTIONS,
    forced,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"


def documented() -> set[str]:
    """The names in the first column of the table of announced features."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("## Announced in /versions")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_feature_is_announced_and_documented() -> None:
    announced = {*FEATURES, *forced("off"), *DELAYED_EVENTS, THREAD_SUBSCRIPTIONS, CALLS}
    assert documented() == announced


def test_only_what_is_served_is_announced() -> None:
    assert all(FEATURES.values())
