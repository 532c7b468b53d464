"""Notifications."""

from dataclasses import dataclass
from typing import Literal

from homeserver.config.sections.ranges import Positive


@dataclass(frozen=True, slots=True)
class Push:
    """Notifications."""

    legacy_mentions: bool = False
    """Notify of a user's name or "@room" in the text of messages too, for the sake of old clients
    that do not say whom they mention (version 1.17 of the specification removed these rules)."""
    thread_subscriptions: bool = False
    """Have messages in threads notify those who are subscribed to the thread, and nobody else but
    whom they mention, as Element X can have it (MSC4306). Users of clients that do not know
    subscriptions, such as Element Web, then hear nothing of threads but mentions."""
    include_content: bool = True
    """Send the content of messages to push gateways whose pushers do not ask for event IDs only.
    Content that is encrypted stays so."""
    badge_counts: Literal["messages", "rooms"] = "messages"
    """What the number on an app's icon counts: unread messages, or rooms with some."""
    gateway_timeout_s: Positive = 20
    """How long a push gateway may take to answer."""
