"""Events as users ask for them: what the rules of a room allow, but a homeserver checks besides."""

from collections.abc import Awaitable, Mapping
from typing import Any

from federation.protocol.auth_events import POWER_LEVELS
from federation.protocol.errors import (
    AuthRuleFailed,
    BadJson,
    DuplicateAnnotation,
    Forbidden,
    InvalidParam,
    MatrixError,
    NotFound,
    Unknown,
    UserSuspended,
)
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_of
from homeserver.rooms.aliases import CANONICAL_ALIAS, Aliases
from homeserver.rooms.append import find_relation
from homeserver.rooms.live import LiveRoom, LiveRooms
from homeserver.rooms.membership import GUEST_ACCESS, Joiner, Memberships
from homeserver.rooms.send import NewEvent, Send
from storage.add_events import Cause
from storage.annotations import has_annotated
from storage.changes import StoredEvent
from storage.database import Database
from storage.events import find_event
from storage.names import Names
from storage.rooms import servers_in_room

CREATE = "m.room.create"
MEMBER = "m.room.member"
REDACTION = "m.room.redaction"
MALFORMED_LEVELS = ("power_levels.creators", "power_levels.format")
"""Rules that say what power levels must look like, not who may set them."""


class UserEvents:
    """Sends what users of this server want to send."""

    def __init__(
        self,
        db: Database,
        names: Names,
        live: LiveRooms,
        send: Send,
        memberships: Memberships,
        aliases: Aliases,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._live = live
        self._send = send
        self._memberships = memberships
        self._aliases = aliases
        self._server_name = server_name

    async def send_message(
        self,
        sender: UserId,
        room_id: RoomId,
        event_type: str,
        content: Mapping[str, Any],
        cause: Cause,
        *,
        is_admin: bool = False,
        origin_server_ts: int | None = None,
        sticky_ms: int | None = None,
    ) -> EventId:
        """Send a message event; the same transaction again answers the first event.

        `origin_server_ts` is set only where somebody may choose it, `sticky_ms` for a sticky event.
        Raises `Forbidden`, `NotFound`, `DuplicateAnnotation`, `Unknown` (a thread inside of
        another), `InvalidParam`, `TooLarge`, `BadJson`.
        """
        if event_type == REDACTION:
            rest = {key: value for key, value in content.items() if key != "redacts"}
            target = content.get("redacts")
            if not isinstance(target, str):
                raise BadJson("'redacts' must be a string")
            return await self.redact(
                sender,
                room_id,
                EventId(target),
                rest,
                cause,
                is_admin=is_admin,
                origin_server_ts=origin_server_ts,
            )
        refuse_create(event_type)
        new = NewEvent(
            sender, event_type, content, origin_server_ts=origin_server_ts, sticky_ms=sticky_ms
        )
        return await self._send_checked(room_id, new, cause, self._check_relation(new))

    async def send_state(
        self,
        sender: Joiner,
        room_id: RoomId,
        event_type: str,
        state_key: str,
        content: Mapping[str, Any],
        *,
        cause: Cause | None = None,
        origin_server_ts: int | None = None,
        sticky_ms: int | None = None,
    ) -> EventId:
        """Set a part of the room's state; what says the same as before is not sent again.

        A membership is set without regard to `cause` and `sticky_ms`. Raises `Forbidden`,
        `NotFound`, `InvalidParam`, `BadAlias`, `InviteBlocked`, `TooLarge`, `BadJson`.
        """
        refuse_create(event_type)
        if event_type == REDACTION:
            raise InvalidParam("A redaction is not state")
        if event_type == MEMBER:
            target = UserId(state_key)
            return await self._memberships.set_member(
                sender, room_id, target, content, origin_server_ts
            )
        place = (event_type, state_key)
        if place == CANONICAL_ALIAS:
            await self._aliases.check_canonical(room_id, content)
        try:
            new = NewEvent(
                sender.user_id,
                event_type,
                content,
                state_key,
                origin_server_ts=origin_server_ts,
                sticky_ms=sticky_ms,
            )
            event_id = await self._send.send(room_id, new, cause=cause)
        except AuthRuleFailed as error:
            if error.rule in MALFORMED_LEVELS and place == POWER_LEVELS:
                raise InvalidParam(error.message) from error
            raise
        if place == GUEST_ACCESS:
            await self._memberships.remove_guests(room_id)
        return event_id

    async def redact(
        self,
        sender: UserId,
        room_id: RoomId,
        target: EventId,
        content: Mapping[str, Any],
        cause: Cause,
        *,
        is_admin: bool = False,
        is_suspended: bool = False,
        origin_server_ts: int | None = None,
    ) -> EventId:
        """Redact an event of one's own, or of somebody else with the power to do so.

        Server administrators may redact what users of this server sent; suspended users only what
        they sent themselves. Raises `NotFound`, `Forbidden`, `UserSuspended`.
        """
        new = NewEvent(
            sender, REDACTION, content, redacts=target, origin_server_ts=origin_server_ts
        )
        check = self.check_redaction(room_id, new, is_admin=is_admin, is_suspended=is_suspended)
        return await self._send_checked(room_id, new, cause, check)

    async def check_redaction(
        self, room_id: RoomId, new: NewEvent, *, is_admin: bool, is_suspended: bool
    ) -> None:
        """Raise `NotFound`, `Forbidden` or `UserSuspended` where the sender may not redact so."""
        event = await find_event(self._db, new.redacts or "")
        room = await self._live.get(room_id)
        if event is None and await self._is_shared(room):
            # Another server may have it; each decides for itself whether to apply the redaction.
            return
        if event is None or event.room_nid != room.room_nid:
            raise NotFound(f"There is no event {new.redacts} in this room")
        if event.sender == new.sender:
            return
        if is_suspended:
            raise UserSuspended("While suspended you may redact your own events only")
        if is_admin and server_of(event.sender) == self._server_name:
            return
        power = room.power
        if power is None or power.of(new.sender) < power.redact:
            raise Forbidden("You may not redact events of others")

    async def _send_checked(
        self, room_id: RoomId, new: NewEvent, cause: Cause, check: Awaitable[None]
    ) -> EventId:
        """Send an event that passes a check; a transaction that was sent is not checked again."""
        try:
            await check
            return await self._send.send(room_id, new, cause=cause)
        except MatrixError:
            sent = await self._send.find_sent(cause)
            if sent is None:
                raise
            return sent

    async def _check_relation(self, new: NewEvent) -> None:
        relation = find_relation(new.content)
        if relation is None:
            return
        if relation.rel_type == "m.thread":
            root = await find_event(self._db, relation.parent_event_id)
            if root is not None and has_relation(root):
                raise Unknown("A thread cannot start at an event that relates to another")
        elif relation.rel_type == "m.annotation" and relation.annotation_key is not None:
            sender_nid = await self._names.users.get_nid(new.sender)
            type_nid = await self._names.types.get_nid(new.type)
            if await has_annotated(
                self._db, relation.parent_event_id, sender_nid, type_nid, relation.annotation_key
            ):
                raise DuplicateAnnotation("You have annotated the event so already")

    async def _is_shared(self, room: LiveRoom) -> bool:
        return len(await servers_in_room(self._db, room.room_nid, 2)) > 1


def refuse_create(event_type: str) -> None:
    """Raise `InvalidParam` for a second create event."""
    if event_type == CREATE:
        raise InvalidParam("A room is created only once")


def has_relation(event: StoredEvent) -> bool:
    """Whether an event relates to another one by a type of relation."""
    relates_to = event.content.get("m.relates_to")
    return isinstance(relates_to, Mapping) and "rel_type" in relates_to
