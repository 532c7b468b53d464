"""What the server itself tells its users."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName, UserId, build_user_id


@dataclass(frozen=True, slots=True)
class ServerNotices:
    """Notices that an administrator sends to users, each in a room of its own with the server."""

    localpart: str = ""
    """The name of the user who sends them, without sigil and server name. Empty: no notices.
    Choose a name that nobody has; nobody can log in as this user."""
    display_name: str = "Server notices"
    """What the user is shown as."""
    avatar_url: str = ""
    """The user's picture, and the rooms' (mxc://…)."""
    room_name: str = "Server notices"
    """The name of the rooms."""
    room_topic: str = ""
    """The topic of the rooms."""
    auto_join: bool = False
    """Have users in their room at once instead of inviting them, so that they do not have to
    accept to read it."""


def notices_sender(settings: ServerNotices, server_name: ServerName) -> UserId | None:
    """Who sends notices; None where none are sent."""
    return build_user_id(settings.localpart, server_name) if settings.localpart else None
