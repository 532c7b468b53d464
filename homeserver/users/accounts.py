"""Accounts: making them, and what administrators do to them."""

from dataclasses import dataclass

from federation.protocol.errors import NotFound, UserInUse
from federation.protocol.identifiers import (
    ServerName,
    UserId,
    build_user_id,
    check_new_localpart,
    server_of,
)
from homeserver.clock import Clock
from homeserver.users.passwords import Passwords
from homeserver.users.sessions import Sessions
from storage.accounts import (
    Account,
    NewAccount,
    accounts_after,
    add_account,
    find_account,
    find_accounts,
    set_admin,
    set_locked,
    set_password_hash,
    set_suspended,
)
from storage.database import Pool
from storage.names import Names
from storage.third_party_ids import find_owner


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user that was just made."""

    user_id: UserId
    user_nid: int


class Accounts:
    """Makes, finds and changes accounts."""

    __slots__ = ("_clock", "_db", "_names", "_passwords", "_server_name", "_sessions")

    def __init__(
        self,
        *,
        db: Pool,
        names: Names,
        clock: Clock,
        passwords: Passwords,
        sessions: Sessions,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._passwords = passwords
        self._sessions = sessions
        self._server_name = server_name

    def is_ours(self, user_id: str) -> bool:
        """Whether the user ID is one of this server's."""
        return server_of(user_id) == self._server_name

    async def create_user(
        self, localpart: str, password: str | None, *, admin: bool = False
    ) -> NewUser:
        """Make an account; without a password nobody can log in to it.

        Raises `InvalidUsername`, `UserInUse`, `WeakPassword`, `InvalidParam`.
        """
        user_id = check_new_localpart(localpart.lower(), self._server_name)
        account = await self.build_account(user_id, password, is_admin=admin)
        if not await add_account(self._db, account):
            raise UserInUse(f"The user ID {user_id} is taken")
        return NewUser(user_id, account.user_nid)

    async def build_account(
        self,
        user_id: UserId,
        password: str | None,
        *,
        is_admin: bool = False,
        is_guest: bool = False,
    ) -> NewAccount:
        """An account to be stored, its password checked and hashed.

        Raises `WeakPassword`, `InvalidParam`.
        """
        password_hash = None
        if password is not None:
            self._passwords.check_acceptable(password)
            password_hash = await self._passwords.hash(password)
        user_nid = await self._names.users.get_nid(user_id)
        return NewAccount(
            user_nid, self._clock(), password_hash, is_guest=is_guest, is_admin=is_admin
        )

    async def find(self, user_id: UserId) -> Account | None:
        """The account of a user, or None."""
        return (await find_accounts(self._db, [user_id])).get(user_id)

    async def find_by_nid(self, user_nid: int) -> Account | None:
        """The account of a user's number, or None."""
        return await find_account(self._db, user_nid)

    async def get(self, user_id: UserId) -> Account:
        """The account of a user. Raises `NotFound` if there is none in use."""
        account = await self.find(user_id)
        if account is None or account.is_deactivated:
            raise NotFound("There is no such user")
        return account

    async def find_by_name(self, name: str) -> Account | None:
        """The account that somebody means who logs in as `name`: a localpart or a user ID.

        Capitals are forgiven, unless there is an account of exactly that ID.
        """
        user_id = UserId(name) if name.startswith("@") else build_user_id(name, self._server_name)
        lowered = UserId(user_id.lower())
        found = await find_accounts(self._db, [user_id, lowered])
        return found.get(user_id) or found.get(lowered)

    async def find_by_address(self, medium: str, address: str) -> Account | None:
        """The account that has an e-mail address or telephone number, or None."""
        user_id = await find_owner(self._db, medium, address.casefold())
        return None if user_id is None else await self.find(user_id)

    async def list_users(self, after: str = "", limit: int = 100) -> list[Account]:
        """The next accounts after a user ID (exclusive), deactivated ones too, in order."""
        return await accounts_after(self._db, after, limit)

    def check_new_password(self, password: str) -> None:
        """Refuse what may not be a password. Raises `WeakPassword`, `InvalidParam`."""
        self._passwords.check_acceptable(password)

    async def set_password(self, user_id: UserId, password: str) -> Account:
        """Give an account a new password and return the account; its sessions stay.

        Raises `NotFound`, `WeakPassword`, `InvalidParam`.
        """
        account = await self.get(user_id)
        self._passwords.check_acceptable(password)
        password_hash = await self._passwords.hash(password)
        if not await set_password_hash(self._db, account.user_nid, password_hash):
            raise NotFound("There is no such user")
        return account

    async def set_locked(self, user_id: UserId, *, locked: bool) -> None:
        """Lock an account, or unlock it. Raises `NotFound`."""
        account = await self.get(user_id)
        await set_locked(self._db, account.user_nid, locked=locked)
        await self._sessions.end(account.user_nid)

    async def set_suspended(self, user_id: UserId, *, suspended: bool) -> None:
        """Suspend an account, or end that. Raises `NotFound`."""
        account = await self.get(user_id)
        await set_suspended(self._db, account.user_nid, suspended=suspended)
        await self._sessions.end(account.user_nid)

    async def set_admin(self, user_id: UserId, *, admin: bool) -> None:
        """Make somebody a server administrator, or a plain user. Raises `NotFound`."""
        account = await self.get(user_id)
        await set_admin(self._db, account.user_nid, admin=admin)
        await self._sessions.end(account.user_nid)
