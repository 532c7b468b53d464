"""Making an account through a client.

Source: client-server API, "Account registration".
"""

import logging
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from federation.protocol.errors import (
    BadJson,
    Exclusive,
    Forbidden,
    InvalidUsername,
    MatrixError,
    MissingParam,
    ThreepidInUse,
    UnknownToken,
    UserInUse,
)
from federation.protocol.identifiers import (
    ServerName,
    UserId,
    check_new_localpart,
    localpart_of,
)
from homeserver.clock import Clock
from homeserver.config.sections.accounts import Registration as RegistrationSettings
from homeserver.users.accounts import Accounts, NewUser
from homeserver.users.contact_validation import ContactValidation, Purpose
from homeserver.users.interactive_auth import (
    DUMMY,
    EMAIL_IDENTITY,
    Offer,
    StageFailed,
    take_proof,
)
from homeserver.users.passwords import Passwords
from homeserver.users.ports import ReservedNames, UserRooms
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.requester import Requester
from homeserver.users.sessions import Sessions
from storage.accounts import NewAccount, add_accepted_terms, add_account, make_guest_a_user
from storage.database import Database, Pool
from storage.registration_tokens import use_registration_token
from storage.third_party_ids import ThirdPartyId, add_third_party_id

log = logging.getLogger("hearth.users")

TOKEN = "m.login.registration_token"  # noqa: S105
TERMS = "m.login.terms"
RANDOM_LETTERS = 12


@dataclass(frozen=True, slots=True)
class Applicant:
    """Somebody who wants an account; `guest` is the guest whose account becomes a full one."""

    username: str | None
    password: str | None
    guest: Requester | None = None


class Registration:
    """Lets people in, as far as the settings allow."""

    __slots__ = (
        "_accounts",
        "_clock",
        "_contacts",
        "_db",
        "_passwords",
        "_reserved",
        "_rooms",
        "_server_name",
        "_sessions",
        "_settings",
        "_tokens",
    )

    def __init__(
        self,
        *,
        db: Pool,
        clock: Clock,
        settings: RegistrationSettings,
        server_name: ServerName,
        accounts: Accounts,
        passwords: Passwords,
        sessions: Sessions,
        tokens: RegistrationTokens,
        reserved: ReservedNames,
        rooms: UserRooms,
        contacts: ContactValidation,
    ) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._server_name = server_name
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._reserved = reserved
        self._rooms = rooms
        self._contacts = contacts

    def check_open(self) -> None:
        """Refuse when nobody may register here. Raises `Forbidden`."""
        if not self._settings.enabled:
            raise Forbidden("Registration is disabled on this server")

    async def check_username(self, username: str) -> UserId:
        """The user ID that registering under a name would give; capitals are lowered.

        Raises `InvalidUsername`, `Exclusive`, `UserInUse`.
        """
        user_id = self._read_username(username)
        if await self._accounts.find(user_id) is not None:
            raise UserInUse(f"The user ID {user_id} is taken")
        return user_id

    async def find_guest(self, access_token: str) -> Requester:
        """The guest who is to become a user. Raises `UnknownToken`, `Forbidden`."""
        guest = await self._sessions.find(access_token)
        if guest is None or guest.is_deactivated:
            raise UnknownToken("Unknown guest access token")
        if not guest.is_guest:
            raise Forbidden("This access token is not a guest's")
        return guest

    async def check_applicant(self, applicant: Applicant) -> None:
        """Refuse early what would be refused after all stages.

        Raises `InvalidUsername`, `Exclusive`, `UserInUse`, `WeakPassword`, `InvalidParam`.
        """
        if applicant.password is not None:
            self._passwords.check_acceptable(applicant.password)
        await self._choose_user_id(applicant)

    def build_offer(self) -> Offer:
        """The stages that an applicant goes through."""
        stages = []
        params: dict[str, Any] = {}
        if self._settings.token_required:
            stages.append(TOKEN)
        if self._settings.terms:
            stages.append(TERMS)
            params[TERMS] = {"policies": self._policies()}
        return Offer(
            flows=self._with_email(stages),
            checks={
                DUMMY: pass_stage,
                TERMS: pass_stage,
                TOKEN: self._check_token,
                EMAIL_IDENTITY: self._check_email,
            },
            params=params,
            binds_body=False,
        )

    def _with_email(self, stages: Sequence[str]) -> Sequence[Sequence[str]]:
        """The flows with and without an e-mail address, as far as there may be one."""
        without = stages or [DUMMY]
        if not self._contacts.is_available:
            return [without]
        # It comes first, so that no flow is the beginning of another one.
        with_email = [EMAIL_IDENTITY, *stages]
        return [with_email] if self._contacts.is_required else [with_email, without]

    async def register(self, applicant: Applicant, proofs: Mapping[str, str]) -> NewUser:
        """Make the account for which all stages are done; without a user name it gets one.

        Raises `MissingParam`, `InvalidUsername`, `Exclusive`, `UserInUse`, `WeakPassword`,
        `InvalidParam`, and `Forbidden` when the registration token was used up meanwhile.
        """
        if applicant.password is None:
            raise MissingParam("Missing parameter 'password'")
        user_id = await self._choose_user_id(applicant)
        account = await self._accounts.build_account(user_id, applicant.password)
        async with self._db.transaction() as db:
            await self._use_token(db, proofs.get(TOKEN))
            if applicant.guest is not None:
                await self._upgrade(db, account)
            elif not await add_account(db, account):
                raise UserInUse(f"The user ID {user_id} is taken")
            await self._add_email(db, account.user_nid, proofs.get(EMAIL_IDENTITY))
            if TERMS in proofs:
                versions = {document.name: document.version for document in self._settings.terms}
                await add_accepted_terms(db, account.user_nid, versions, account.created_ts)
        await self._sessions.end(account.user_nid)
        await self.welcome(user_id)
        return NewUser(user_id, account.user_nid)

    async def register_guest(self) -> NewUser:
        """Make a guest account under a random name. Raises `Forbidden` where guests may not in."""
        if not self._settings.guests:
            raise Forbidden("Guests are not let in on this server")
        user_id = self._random_user_id()
        account = await self._accounts.build_account(user_id, None, is_guest=True)
        if not await add_account(self._db, account):
            raise UserInUse(f"The user ID {user_id} is taken")
        return NewUser(user_id, account.user_nid)

    async def welcome(self, user_id: UserId) -> None:
        """Let a new user into the rooms that everybody joins; what fails there is only logged."""
        try:
            await self._rooms.join_first_rooms(user_id)
        except MatrixError as error:
            log.warning("%s could not join the first rooms: %s", user_id, error.message)

    async def _choose_user_id(self, applicant: Applicant) -> UserId:
        if applicant.guest is not None:
            if applicant.username != localpart_of(applicant.guest.user_id):
                raise InvalidUsername("'username' must be that of the guest")
            return applicant.guest.user_id
        if applicant.username is None:
            return self._random_user_id()
        return await self.check_username(applicant.username)

    def _read_username(self, username: str) -> UserId:
        user_id = check_new_localpart(username.lower(), self._server_name)
        if self._reserved.is_reserved(user_id):
            raise Exclusive("This user name is reserved by an application service")
        if username.startswith("_"):
            raise InvalidUsername("A user name may not begin with _")
        return user_id

    def _random_user_id(self) -> UserId:
        letters = string.ascii_lowercase + string.digits
        localpart = "".join(secrets.choice(letters) for _ in range(RANDOM_LETTERS))
        return check_new_localpart(localpart, self._server_name)

    def _policies(self) -> dict[str, Any]:
        """The documents as clients are shown them, translations of one document together."""
        policies: dict[str, Any] = {}
        for document in self._settings.terms:
            policy = policies.setdefault(document.name, {"version": document.version})
            policy[document.language] = {"name": document.title, "url": document.url}
        return policies

    async def _check_token(self, auth: Mapping[str, Any]) -> str:
        token = auth.get("token")
        if token is None:
            raise MissingParam("Missing parameter 'token'")
        if not isinstance(token, str):
            raise BadJson("'token' must be a string")
        if not await self._tokens.is_valid(token):
            raise StageFailed("The registration token is not valid")
        return token

    async def _check_email(self, auth: Mapping[str, Any]) -> str:
        """The address and when it was proved, as JSON."""
        proved = await take_proof(self._contacts, Purpose.REGISTER, auth)
        return orjson.dumps([proved.medium, proved.address, proved.validated_ts]).decode()

    async def _add_email(self, db: Database, user_nid: int, proof: str | None) -> None:
        if proof is None:
            return
        medium, address, validated_ts = orjson.loads(proof)
        added = ThirdPartyId(medium, address, validated_ts, self._clock())
        if not await add_third_party_id(db, user_nid, added):
            raise ThreepidInUse("This address is in use here")

    async def _use_token(self, db: Database, token: str | None) -> None:
        if token is not None and not await use_registration_token(db, token, self._clock()):
            raise Forbidden("The registration token has been used up")

    async def _upgrade(self, db: Database, account: NewAccount) -> None:
        if not await make_guest_a_user(db, account.user_nid, account.password_hash):
            raise Forbidden("This account is not a guest's any more")


async def pass_stage(auth: Mapping[str, Any]) -> str:
    """The check of stages that only need to be asked for."""
    del auth
    return ""
