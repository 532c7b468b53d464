"""Rooms and who is in them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rooms:
    """Rooms, aliases and the room directory."""

    default_version: str = "12"
    """The version of rooms whose creator asks for none."""
    creation: Literal["everyone", "admins"] = "everyone"
    """Who may create rooms."""
    encryption: Literal["off", "private", "all"] = "off"
    """Which new rooms are encrypted from the start, whatever their creator's client asks for:
    private is direct chats and rooms for invited users, all is every room but spaces. Nobody on
    this server can turn it off in such a room again."""
    alias_creation: Literal["everyone", "admins"] = "everyone"
    """Who may create room aliases."""
    directory_publication: Literal["everyone", "admins", "nobody"] = "everyone"
    """Who may publish a room in the directory."""
    forget_on_leave: bool = False
    """Have users forget a room as soon as they leave it or are removed from it: they can no longer
    read its history, and no client of theirs shows it."""
    typing: bool = True
    """Tell who is typing."""
    directory_search: bool = True
    """Answer searches of the room directory; without it every search finds nothing."""
    directory_public: bool = False
    """Show the room directory to people who are not logged in."""
    directory_over_federation: bool = False
    """Show the room directory to other servers."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is online."""

    enabled: bool = True
    """Keep and tell presence."""
