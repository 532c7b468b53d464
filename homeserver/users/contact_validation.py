"""Proving that one reads the mail of an address: a mail with a link, and a page behind it.

A proof is for one purpose: a link that somebody has opened to add an address to an account sets
no new password. The link leads to a page with a button, because programs that look through mail
open links too. A proof is used up by what it was made for.

Source: client-server API, `…/email/requestToken`; identity service API, "Email associations".
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import urlencode, urlsplit

from federation.protocol.errors import (
    BadJson,
    InvalidParam,
    MissingParam,
    SessionExpired,
    ThreepidAuthFailed,
    ThreepidDenied,
    ThreepidInUse,
    ThreepidNotFound,
    TokenIncorrect,
)
from homeserver.clock import Clock
from homeserver.config.sections.mail import ThirdPartyIds
from homeserver.mail.addresses import canonical_email, is_allowed
from homeserver.mail.mailer import Mailer
from homeserver.users.bearer import digest
from homeserver.users.body_texts import require_text
from homeserver.users.failed_attempts import FailedAttempts
from storage.database import Pool
from storage.third_party_ids import EMAIL, find_owner
from storage.validation_sessions import (
    ValidationSession,
    delete_old_sessions,
    find_same_session,
    find_session,
    keep_session,
    mark_validated,
    take_session,
)

SECRET = re.compile(r"[0-9a-zA-Z.=_-]{1,255}")
SUBMIT_PATH = "/_matrix/client/unstable/email/submit_token"
OLD_AT_ONCE = 100
MAX_LINK_LENGTH = 2_000


class Purpose(Enum):
    """What an address is to be used for; the name of the mail's template."""

    REGISTER = "register"
    ADD = "add"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A client's wish for a mail with a link.

    `next_link` is where it would like the browser to go on. Web clients send one without knowing
    what is allowed here; one that is not is not followed.
    """

    email: str
    client_secret: str
    send_attempt: int
    next_link: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """By what a client names a proof."""

    session_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class ProvedAddress:
    """An address whose mail somebody reads, and since when that is known."""

    medium: str
    address: str
    validated_ts: int


class ContactValidation:
    """Sends the mails and keeps the proofs."""

    __slots__ = ("_attempts", "_base_url", "_clock", "_db", "_mailer", "_settings")

    def __init__(
        self,
        *,
        db: Pool,
        clock: Clock,
        mailer: Mailer,
        settings: ThirdPartyIds,
        base_url: str,
        attempts: FailedAttempts,
    ) -> None:
        self._db = db
        self._clock = clock
        self._mailer = mailer
        self._settings = settings
        self._base_url = base_url.rstrip("/")
        self._attempts = attempts

    @property
    def is_available(self) -> bool:
        """Whether mail can be sent at all."""
        return self._mailer.is_configured

    @property
    def is_required(self) -> bool:
        """Whether nobody may register without an address."""
        return self._settings.registration_requires_email and self.is_available

    async def request_mail(self, purpose: Purpose, request: MailRequest) -> str:
        """Send a mail, unless that attempt was made before; the ID of the session.

        Raises `InvalidParam`, `ThreepidDenied`, `ThreepidInUse`, `ThreepidNotFound`,
        `LimitExceeded`, `MailNotSent`.
        """
        request = self._checked(request)
        former = await find_same_session(
            self._db,
            purpose.value,
            EMAIL,
            request.email,
            request.client_secret,
            self._oldest_ts(),
        )
        if former is not None and former.send_attempt >= request.send_attempt:
            return former.session_id
        template = await self._choose_template(purpose, request.email)
        self._attempts.begin(request.email)
        return await self._send(purpose, request, template, former)

    async def submit(self, credentials: Credentials, token: str) -> str | None:
        """Take the token of a mail as the proof; where the browser is to go on, if anywhere.

        Raises `SessionExpired`, `TokenIncorrect`.
        """
        session = await self._find(credentials)
        if session is None:
            raise SessionExpired("The link is too old, or it was used already")
        known = session.token_hash
        if known is None or not secrets.compare_digest(known, digest(token)):
            raise TokenIncorrect("The link is not complete, or there is a newer mail")
        await mark_validated(self._db, session.session_id, self._clock())
        return session.next_link if self._is_allowed_link(session.next_link) else None

    async def find(self, purpose: Purpose, credentials: Credentials) -> ProvedAddress:
        """The address that a proof is of. Raises `ThreepidAuthFailed`."""
        session = await self._find(credentials)
        if session is None or session.purpose != purpose.value or session.validated_ts is None:
            raise ThreepidAuthFailed("The address is not verified")
        return ProvedAddress(session.medium, session.address, session.validated_ts)

    async def take(self, purpose: Purpose, credentials: Credentials) -> ProvedAddress:
        """The same, once: the proof is used up. Raises `ThreepidAuthFailed`."""
        proved = await self.find(purpose, credentials)
        if not await take_session(self._db, credentials.session_id):
            raise ThreepidAuthFailed("The address is not verified")
        return proved

    async def _find(self, credentials: Credentials) -> ValidationSession | None:
        return await find_session(
            self._db, credentials.session_id, credentials.client_secret, self._oldest_ts()
        )

    def _checked(self, request: MailRequest) -> MailRequest:
        if not SECRET.fullmatch(request.client_secret):
            raise InvalidParam("'client_secret' must have 1 to 255 of the characters 0-9a-zA-Z.=_-")
        email = canonical_email(request.email)
        if not is_allowed(email, self._settings.allowed_emails):
            raise ThreepidDenied("Addresses like this one are not allowed here")
        return replace(request, email=email)

    async def _choose_template(self, purpose: Purpose, email: str) -> str:
        """What the mail says. Raises `ThreepidInUse`, `ThreepidNotFound`."""
        is_in_use = await find_owner(self._db, EMAIL, email) is not None
        if is_in_use == (purpose is Purpose.RESET):
            return purpose.value
        if self._settings.hide_existence:
            return "in_use" if is_in_use else "unknown"
        if is_in_use:
            raise ThreepidInUse("This address is in use here")
        raise ThreepidNotFound("Nobody here has this address")

    async def _send(
        self,
        purpose: Purpose,
        request: MailRequest,
        template: str,
        former: ValidationSession | None,
    ) -> str:
        now, token = self._clock(), secrets.token_urlsafe(24)
        session_id = former.session_id if former else secrets.token_urlsafe(18)
        session = ValidationSession(
            session_id=session_id,
            purpose=purpose.value,
            medium=EMAIL,
            address=request.email,
            client_secret=request.client_secret,
            send_attempt=request.send_attempt,
            token_hash=digest(token) if template == purpose.value else None,
            next_link=request.next_link if self._is_allowed_link(request.next_link) else None,
            validated_ts=former.validated_ts if former else None,
            created_ts=now,
        )
        link = self._link(session, token)
        await self._mailer.send(request.email, template, {"link": link})
        await delete_old_sessions(self._db, self._oldest_ts(), OLD_AT_ONCE)
        await keep_session(self._db, session)
        return session_id

    def _link(self, session: ValidationSession, token: str) -> str:
        query = urlencode(
            {"sid": session.session_id, "client_secret": session.client_secret, "token": token}
        )
        return f"{self._base_url}{SUBMIT_PATH}?{query}"

    def _is_allowed_link(self, link: str | None) -> bool:
        if link is None or len(link) > MAX_LINK_LENGTH:
            return False
        try:
            parts = urlsplit(link)
            host = parts.hostname
        except ValueError:
            return False
        return parts.scheme in {"https", "http"} and host in self._settings.next_link_hosts

    def _oldest_ts(self) -> int:
        return self._clock() - self._settings.token_lifetime_s * 1000


def read_credentials(body: Mapping[str, Any]) -> Credentials:
    """The proof that a body names. Raises `MissingParam`, `BadJson`."""
    return Credentials(require_text(body, "sid"), require_text(body, "client_secret"))


def read_stage_credentials(auth: Mapping[str, Any]) -> Credentials:
    """The proof that the `auth` of the stage m.login.email.identity names.

    Raises `MissingParam`, `BadJson`.
    """
    credentials = auth.get("threepid_creds", auth.get("threepidCreds"))
    if credentials is None:
        raise MissingParam("Missing parameter 'threepid_creds'")
    if not isinstance(credentials, Mapping):
        raise BadJson("'threepid_creds' must be an object")
    return read_credentials(credentials)
