"""Tokens for whoever proves by OpenID who they are, as a stand-alone token service gives them out.

Source: the public protocol of that service; MSC4195, "Implementation differences in the reference
implementation". It asks for nothing but the OpenID token; that the user is in the Matrix room is
our addition.
"""

from collections.abc import Mapping
from typing import Any

from federation.protocol.errors import BadJson, Forbidden, Unauthorized
from federation.protocol.identifiers import ServerName, UserId
from homeserver.calls.grants import service_grant
from homeserver.calls.issuing import TokenIssuer
from homeserver.calls.leaves import Leaves
from homeserver.calls.openid import OpenIds
from homeserver.calls.ports import LiveKitRooms
from homeserver.calls.requests import Delay, Place, TokenRequest
from homeserver.config.sections.calls import Calls as CallSettings
from storage.database import Database
from storage.memberships import is_in_room

EVERYBODY = "*"


class TokenService:
    """What is served below the service URL."""

    def __init__(
        self,
        db: Database,
        settings: CallSettings,
        own_name: ServerName,
        openids: OpenIds,
        rooms: LiveKitRooms,
        leaves: Leaves,
        issuer: TokenIssuer,
    ) -> None:
        self._db = db
        self._settings = settings
        self._own_name = own_name
        self._openids = openids
        self._rooms = rooms
        self._leaves = leaves
        self._issuer = issuer

    async def get_token(self, request: TokenRequest) -> Mapping[str, Any]:
        """Where LiveKit is, and a token for a place there.

        Raises `Unauthorized`, `Forbidden`, `BadJson` (a delay of those who may hand over none),
        `LiveKitFailed`.
        """
        place, server = request.place, ServerName(request.openid.server)
        user_id = await self._admit(request)
        room, identity = place.livekit_room, place.member.identity_of(user_id)
        has_full_access = self._has_full_access(server)
        if request.delay is not None and not has_full_access:
            raise BadJson("Delayed events are taken of users with full access only")
        if has_full_access:
            await self._rooms.create_room(room)
        if request.delay is not None:
            await self._take(place, user_id, server, request.delay)
        grant = service_grant(room, identity)
        token = await self._issuer.issue((room, identity), user_id, place.room_id, grant)
        return {"url": self._settings.livekit_url, "jwt": token}

    async def delegate_delayed_leave(self, request: TokenRequest, delay: Delay) -> None:
        """Look after a delayed leave. Raises `Unauthorized`, `Forbidden`."""
        server = ServerName(request.openid.server)
        user_id = await self._admit(request)
        if not self._has_full_access(server):
            raise Forbidden("Delayed events are taken of users with full access only")
        await self._take(request.place, user_id, server, delay)

    async def _admit(self, request: TokenRequest) -> UserId:
        """Who asks. Raises `Unauthorized`, `Forbidden`."""
        place = request.place
        user_id = await self._openids.user_of(request.openid)
        if place.member.claimed_user_id not in (None, user_id):
            raise Unauthorized("The request could not be authorised.")
        if self._is_membership_asked(request.openid.server) and not await is_in_room(
            self._db, user_id, place.room_id
        ):
            raise Forbidden("You are not in that room")
        return user_id

    def _is_membership_asked(self, server: str) -> bool:
        whose = self._settings.membership_check
        return whose == "all" or (whose == "own" and server == self._own_name)

    def _has_full_access(self, server: ServerName) -> bool:
        listed = self._settings.full_access_servers
        return server == self._own_name or server in listed or EVERYBODY in listed

    async def _take(self, place: Place, user_id: UserId, server: ServerName, delay: Delay) -> None:
        key = (place.livekit_room, place.member.identity_of(user_id))
        await self._leaves.take(key, server, delay.delay_id, delay.delay_ms)
