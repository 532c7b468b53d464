"""User-interactive authentication: an endpoint's question whether it is really the user.

A session is bound to one request: method, path and caller, and the body without `auth`, of which
only a digest is kept (it may hold a password). Registration is not bound to its body: clients ask
for the flows first and send the user's choice of a name with a later stage. A session whose last
stage is done is used up before the endpoint acts, so it never counts twice.

Source: client-server API, "User-Interactive Authentication API".
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from federation.protocol.errors import (
    BadJson,
    Forbidden,
    MatrixError,
    MissingParam,
    NotFound,
    ThreepidAuthFailed,
)
from federation.protocol.identifiers import UserId
from homeserver.clock import Clock
from homeserver.users.contact_validation import (
    ContactValidation,
    ProvedAddress,
    Purpose,
    read_stage_credentials,
)
from homeserver.users.login import Login
from homeserver.users.user_identifier import read_user_name
from storage.database import Pool
from storage.interactive_auth import (
    AuthSession,
    add_auth_session,
    delete_old_auth_sessions,
    find_auth_session,
    set_completed_stages,
    take_auth_session,
)
from storage.third_party_ids import find_owner

PASSWORD = "m.login.password"  # noqa: S105
DUMMY = "m.login.dummy"
EMAIL_IDENTITY = "m.login.email.identity"
SESSION_ID_BYTES = 18
OLD_AT_ONCE = 100
"""Old sessions that are forgotten at most when one begins; a job forgets the rest."""

StageCheck = Callable[[Mapping[str, Any]], Awaitable[str]]
"""Checks the `auth` object of a stage and returns what it proves; raises `StageFailed`, or another
error that ends the request."""


@dataclass(frozen=True, slots=True)
class ProtectedRequest:
    """A request that needs authentication.

    `caller` is the user behind its access token, if any; `body` is its JSON, with `auth`.
    """

    method: str
    path: str
    caller: UserId | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """What an endpoint asks for: flows of stages, and how each stage is checked."""

    flows: Sequence[Sequence[str]]
    checks: Mapping[str, StageCheck]
    params: Mapping[str, Any] = field(default_factory=dict)
    binds_body: bool = True

    def next_stages(self, completed: Sequence[str]) -> set[str]:
        """The stages that may follow."""
        done = len(completed)
        return {
            flow[done]
            for flow in self.flows
            if len(flow) > done and list(flow[:done]) == list(completed)
        }

    def is_complete(self, completed: Sequence[str]) -> bool:
        """Whether a flow is through."""
        return list(completed) in [list(flow) for flow in self.flows]


class StageFailed(MatrixError):
    """An attempt at a stage did not succeed; the client may try again."""

    status: ClassVar[int] = 401
    errcode: ClassVar[str] = "M_FORBIDDEN"


class AddressNotVerified(StageFailed):
    """The link in the mail is yet to be opened; clients wait for that."""

    errcode: ClassVar[str] = "M_UNAUTHORIZED"


class AuthenticationNeeded(MatrixError):
    """The next stage is to be done; `failure` is what went wrong with the last attempt."""

    status: ClassVar[int] = 401
    errcode: ClassVar[str] = "M_FORBIDDEN"

    def __init__(
        self,
        offer: Offer,
        session_id: str,
        completed: Sequence[str],
        failure: MatrixError | None = None,
    ) -> None:
        super().__init__(failure.message if failure else "Authentication is needed")
        self.offer = offer
        self.session_id = session_id
        self.completed = completed
        self.failure = failure
        self.is_attempt = failure is not None

    def body(self) -> dict[str, Any]:
        """The flows and the session; an error only where something went wrong."""
        body: dict[str, Any] = {
            "flows": [{"stages": list(flow)} for flow in self.offer.flows],
            "params": dict(self.offer.params),
            "session": self.session_id,
        }
        if self.completed:
            body["completed"] = list(self.completed)
        return body | (self.failure.body() if self.failure else {})


class InteractiveAuth:
    """Leads clients through the stages."""

    __slots__ = ("_clock", "_contacts", "_db", "_lifetime_ms", "_login")

    def __init__(
        self,
        *,
        db: Pool,
        clock: Clock,
        login: Login,
        contacts: ContactValidation,
        lifetime_s: int,
    ) -> None:
        self._db = db
        self._clock = clock
        self._login = login
        self._contacts = contacts
        self._lifetime_ms = lifetime_s * 1000

    async def confirm_user(
        self, request: ProtectedRequest, *, forgotten_password: bool = False
    ) -> UserId:
        """The user who makes the request, by password.

        With an access token it must be the token's user. Without one, somebody with a
        `forgotten_password` may prove to read the mail of an account's address instead. Raises
        `AuthenticationNeeded`, `Forbidden`, `LimitExceeded`.
        """

        async def check(auth: Mapping[str, Any]) -> str:
            return await self._check_password(auth, request.caller)

        flows, checks = [[PASSWORD]], {PASSWORD: check}
        if forgotten_password and request.caller is None and self._contacts.is_available:
            flows.append([EMAIL_IDENTITY])
            checks[EMAIL_IDENTITY] = self._check_forgotten
        proofs = await self.authenticate(request, Offer(flows, checks))
        return UserId(next(iter(proofs.values())))

    async def authenticate(self, request: ProtectedRequest, offer: Offer) -> Mapping[str, str]:
        """What each stage proved, once a flow is complete.

        Raises `AuthenticationNeeded`, `Forbidden` for a session of another request, and whatever
        the checks of the stages raise.
        """
        auth = request.body.get("auth")
        if auth is None:
            raise await self._ask(request, offer, {})
        if not isinstance(auth, dict):
            raise BadJson("'auth' must be an object")
        session = await self._find_session(request, offer, auth)
        completed = dict(session.completed) if session else {}
        stage = auth.get("type")
        if stage is not None and not isinstance(stage, str):
            raise BadJson("'type' must be a string")
        if stage is not None and stage not in completed:
            failure = await self._attempt(offer, auth, completed)
            if failure is not None:
                raise await self._ask(request, offer, completed, session, failure)
        if not offer.is_complete(list(completed)):
            raise await self._ask(request, offer, completed, session)
        if session is not None and not await take_auth_session(self._db, session.session_id):
            raise await self._ask(request, offer, {}, failure=unknown_session())
        return completed

    async def complete_outside(
        self, session_id: str, offer: Offer, auth: Mapping[str, Any]
    ) -> None:
        """Do a stage of a session on a web page instead of in the client.

        Raises `NotFound` for an unknown session, `StageFailed`, and whatever the check raises.
        """
        session = await find_auth_session(self._db, session_id, self._clock() - self._lifetime_ms)
        if session is None:
            raise NotFound("The authentication session is unknown or has expired")
        completed = dict(session.completed)
        if auth["type"] in completed:
            return
        failure = await self._attempt(offer, auth, completed)
        if failure is not None:
            raise failure
        await set_completed_stages(self._db, session_id, completed)

    async def _attempt(
        self, offer: Offer, auth: Mapping[str, Any], completed: dict[str, str]
    ) -> StageFailed | None:
        """Try a stage: note in `completed` what it proves, or return why it failed."""
        stage = auth["type"]
        if stage not in offer.next_stages(list(completed)):
            return StageFailed(f"{stage!r} is not a stage that can be done now")
        try:
            completed[stage] = await offer.checks[stage](auth)
        except StageFailed as failure:
            return failure
        return None

    async def _find_session(
        self, request: ProtectedRequest, offer: Offer, auth: Mapping[str, Any]
    ) -> AuthSession | None:
        """The session that the client names, or None if it names none."""
        session_id = auth.get("session")
        if session_id is None:
            return None
        if not isinstance(session_id, str) or "\0" in session_id:
            raise BadJson("'session' must be a string")
        oldest = self._clock() - self._lifetime_ms
        session = await find_auth_session(self._db, session_id, oldest)
        if session is None:
            raise await self._ask(request, offer, {}, failure=unknown_session())
        if session.request_digest != digest_request(request, binds_body=offer.binds_body):
            raise Forbidden("The authentication session was begun for another request")
        return session

    async def _ask(
        self,
        request: ProtectedRequest,
        offer: Offer,
        completed: Mapping[str, str],
        session: AuthSession | None = None,
        failure: MatrixError | None = None,
    ) -> AuthenticationNeeded:
        """The answer that asks for the next stage, with what is done kept in the session."""
        if session is None:
            session_id = await self._begin(request, offer, completed)
        else:
            session_id = session.session_id
            if completed != session.completed:
                await set_completed_stages(self._db, session_id, completed)
        return AuthenticationNeeded(offer, session_id, list(completed), failure)

    async def _begin(
        self, request: ProtectedRequest, offer: Offer, completed: Mapping[str, str]
    ) -> str:
        now = self._clock()
        session = AuthSession(
            session_id=secrets.token_urlsafe(SESSION_ID_BYTES),
            request_digest=digest_request(request, binds_body=offer.binds_body),
            completed=completed,
            created_ts=now,
        )
        async with self._db.transaction() as db:
            await delete_old_auth_sessions(db, now - self._lifetime_ms, OLD_AT_ONCE)
            await add_auth_session(db, session)
        return session.session_id

    async def _check_forgotten(self, auth: Mapping[str, Any]) -> str:
        """The account with an address whose mail somebody has proved to read."""
        proved = await take_proof(self._contacts, Purpose.RESET, auth)
        owner = await find_owner(self._db, proved.medium, proved.address)
        if owner is None:
            raise StageFailed("Nobody here has this address")
        return owner

    async def _check_password(self, auth: Mapping[str, Any], caller: UserId | None) -> str:
        name = read_user_name(auth)
        password = auth.get("password")
        if password is None:
            raise MissingParam("Missing parameter 'password'")
        if not isinstance(password, str):
            raise BadJson("'password' must be a string")
        try:
            account = await self._login.check_password(name, password)
        except Forbidden as error:
            raise StageFailed(error.message) from error
        if caller is not None and account.user_id != caller:
            raise Forbidden("You have authenticated as another user")
        return account.user_id


async def take_proof(
    contacts: ContactValidation, purpose: Purpose, auth: Mapping[str, Any]
) -> ProvedAddress:
    """The address that the stage m.login.email.identity proves. Raises `AddressNotVerified`."""
    try:
        return await contacts.take(purpose, read_stage_credentials(auth))
    except ThreepidAuthFailed as error:
        raise AddressNotVerified(error.message) from error


def unknown_session() -> StageFailed:
    """The failure of a client whose session does not exist (any more)."""
    return StageFailed("The authentication session is unknown or has expired")


def digest_request(request: ProtectedRequest, *, binds_body: bool) -> bytes:
    """What a session remembers of its request."""
    body = {key: value for key, value in request.body.items() if key != "auth"}
    parts = (
        request.method.encode(),
        request.path.encode("utf-8", "surrogatepass"),
        (request.caller or "").encode("utf-8", "surrogatepass"),
        orjson.dumps(body, option=orjson.OPT_SORT_KEYS) if binds_body else b"",
    )
    # Each part has its length before it, so that no two requests join up to the same bytes.
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest()
