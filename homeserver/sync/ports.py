"""What /sync needs of services that it does not know."""

from collections.abc import Iterable
from typing import Protocol

from storage.changes import AccountDataSet


class IgnoredUsers(Protocol):
    """Whom users ignore."""

    async def ignored_by(self, user_nid: int) -> frozenset[str]:
        """The user IDs that a user ignores."""


class InvitesTaken(Protocol):
    """Whose invites users take."""

    async def shows_invite(self, inviter: str, invitee_nid: int) -> bool:
        """Whether a user of ours wants to see invites from somebody."""


class ShownAccountData(Protocol):
    """Turns stored account data into what clients see."""

    def show_account_data(
        self, user_nid: int, user_id: str, rows: Iterable[AccountDataSet], *, complete: bool
    ) -> list[AccountDataSet]:
        """The rows as clients see them; `complete` says that these are all there are."""


class TypingUsers(Protocol):
    """Who is typing."""

    serial: int

    def users_typing(self, room_nid: int) -> list[str]:
        """Who types in a room."""

    def changed_after(self, serial: int, room_nids: Iterable[int]) -> list[int]:
        """Those of the rooms where somebody began or stopped after `serial`."""
