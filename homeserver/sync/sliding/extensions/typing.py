"""The extension for who is typing. Source: MSC3961."""

from collections.abc import Sequence

from homeserver.sync.ports import TypingUsers
from homeserver.sync.sliding.extensions.scope import Round
from homeserver.sync.sliding.request import RoomScope


class Typing:
    """Tells who is typing."""

    def __init__(self, typing: TypingUsers) -> None:
        self._typing = typing

    @property
    def serial(self) -> int:
        """The present number of typing changes."""
        return self._typing.serial

    def tell(self, answer: Round, scope: RoomScope) -> dict[int, Sequence[str]]:
        """Who types in those of the rooms where that changed, or that are new to the client."""
        situation = answer.situation
        follower, interest = situation.follower, situation.interest
        told: dict[int, Sequence[str]] = {}
        fresh = [nid for nid in answer.tellings if nid not in situation.sent.rooms]
        for room_nid in interest.in_scope(scope, fresh):
            users = self._typing.users_typing(room_nid)
            if users and follower.is_joined(room_nid):
                told[room_nid] = users
        if situation.pos is None or follower.typing_changed <= situation.pos.typing:
            return told
        known = [nid for nid in interest.rooms() if follower.is_joined(nid)]
        changed = self._typing.changed_after(situation.pos.typing, known)
        for room_nid in interest.in_scope(scope, changed):
            told[room_nid] = self._typing.users_typing(room_nid)
        return told
