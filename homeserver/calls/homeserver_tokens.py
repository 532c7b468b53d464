"""Tokens that users ask their homeserver for, and it the homeserver whose LiveKit is wanted.

Source: MSC4195, "Acquiring LiveKit access tokens" and "Optional delegated delayed leave events".
"""

import logging

from federation.inbound.reading_ports import CallPlace
from federation.outbound.call_tokens import RemoteCallTokens
from federation.outbound.errors import FederationError
from federation.protocol.errors import Forbidden, InvalidParam, MatrixError
from federation.protocol.identifiers import ServerName, UserId, server_of
from homeserver.calls.grants import homeserver_grant
from homeserver.calls.issuing import TokenIssuer
from homeserver.calls.leaves import Leaves
from homeserver.calls.ports import LiveKitRooms
from homeserver.calls.requests import Member, Place
from homeserver.config.sections.calls import Calls as CallSettings
from storage.database import Database
from storage.delayed_events import find_delayed_event
from storage.memberships import is_in_room

log = logging.getLogger("hearth.calls")


class TokenNotGiven(MatrixError):
    """The other homeserver gives out no token."""

    status = 502


class HomeserverTokens:
    """Gives them out, for LiveKit here and elsewhere; `remote` is None without federation."""

    def __init__(
        self,
        db: Database,
        settings: CallSettings,
        own_name: ServerName,
        rooms: LiveKitRooms,
        leaves: Leaves,
        issuer: TokenIssuer,
        remote: RemoteCallTokens | None,
    ) -> None:
        self._db = db
        self._settings = settings
        self._own_name = own_name
        self._rooms = rooms
        self._leaves = leaves
        self._issuer = issuer
        self._remote = remote

    async def get_token(
        self, user_id: UserId, server: ServerName, url: str | None, place: Place
    ) -> str:
        """A token for one of our users, for the LiveKit server at `url` of a homeserver.

        Raises `Forbidden`, `InvalidParam`, `LiveKitFailed`, `TokenNotGiven`.
        """
        await self._check_joined(user_id, place.room_id)
        if server == self._own_name:
            self._check_url(url)
            return await self._give(user_id, place, is_local=True)
        return await self._ask(server, user_id, url, place)

    async def get_token_for_server(
        self, origin: ServerName, user_id: UserId, url: str, place: CallPlace
    ) -> str:
        """A token for a user of another homeserver, who may listen here and no more.

        Raises `Forbidden`, `InvalidParam`, `LiveKitFailed`.
        """
        if server_of(user_id) != origin:
            raise Forbidden("The user is not one of the server's")
        await self._check_joined(user_id, place.room_id)
        self._check_url(url)
        member = Member(place.member_id, None)
        return await self._give(
            user_id, Place(place.room_id, place.slot_id, member), is_local=False
        )

    async def delegate_delayed_leave(
        self, user_id: UserId, url: str | None, place: Place, delay_id: str
    ) -> None:
        """Look after one of the user's delayed events. Raises `InvalidParam`."""
        self._check_url(url)
        event = await find_delayed_event(self._db, delay_id)
        if (
            event is None
            or not event.is_scheduled
            or event.user_id != user_id
            or event.room_id != place.room_id
        ):
            raise InvalidParam("You have no such delayed event in that room")
        key = (place.livekit_room, place.member.identity_of(user_id))
        await self._leaves.take(key, self._own_name, delay_id, event.delay_ms)

    async def _ask(self, server: ServerName, user_id: UserId, url: str | None, place: Place) -> str:
        """A token of another homeserver. Raises `InvalidParam`, `Forbidden`, `TokenNotGiven`."""
        member_id, remote = place.member.id, self._remote
        if url is None or member_id is None:
            raise InvalidParam("Other homeservers need to know the url and the member_id")
        if remote is None:
            raise TokenNotGiven("This homeserver talks to no others")
        request = {
            "user_id": user_id,
            "url": url,
            "room_id": place.room_id,
            "slot_id": place.slot_id,
            "member_id": member_id,
        }
        try:
            return await remote.get_token(server, request)
        except FederationError as error:
            log.info("%s gives out no token for a call: %s", server, error)
            answer = (error.answer_status, error.answer_errcode)
            if answer == (Forbidden.status, Forbidden.errcode):
                raise Forbidden("The other homeserver refuses it") from error
            if answer == (InvalidParam.status, InvalidParam.errcode):
                raise InvalidParam("The other homeserver has no such LiveKit server") from error
            raise TokenNotGiven("The other homeserver gives out no token") from error

    async def _check_joined(self, user_id: UserId, room_id: str) -> None:
        if not await is_in_room(self._db, user_id, room_id):
            raise Forbidden("You are not in that room")

    def _check_url(self, url: str | None) -> None:
        """Raise `InvalidParam` for another LiveKit server than ours.

        Before there were several in a call, clients named none.
        """
        if url is not None and url.rstrip("/") != self._settings.livekit_url.rstrip("/"):
            raise InvalidParam("That is no LiveKit server of this homeserver")

    async def _give(self, user_id: UserId, place: Place, *, is_local: bool) -> str:
        room, identity = place.livekit_room, place.member.identity_of(user_id)
        await self._rooms.create_room(room)
        grant = homeserver_grant(room, identity, is_local=is_local)
        return await self._issuer.issue((room, identity), user_id, place.room_id, grant)
