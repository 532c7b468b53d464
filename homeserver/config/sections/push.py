"""Notifications."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Push:
    """Notifications."""

    legacy_mentions: bool = False
    """Notify of a user's name or "@room" in the text of messages too, for the sake of old clients
    that do not say whom they mention (version 1.17 of the specification removed these rules)."""
