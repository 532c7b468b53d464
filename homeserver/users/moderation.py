"""What server administrators do about accounts, through the client-server API.

Source: client-server API, "Server Administration" and "Account moderation".
"""

from federation.protocol.errors import Forbidden, InvalidParam, NotFound
from federation.protocol.identifiers import UserId, check_user_id
from homeserver.users.accounts import Accounts
from homeserver.users.requester import Requester
from storage.accounts import Account


class Moderation:
    """Locks and suspends accounts on behalf of an administrator."""

    __slots__ = ("_accounts",)

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def get_target(self, admin: Requester, user_id: str) -> Account:
        """The account that an administrator looks at.

        Raises `InvalidParam` for a user of another server, `NotFound`, and `Forbidden` for another
        administrator.
        """
        if not self._accounts.is_ours(check_user_id(user_id)):
            raise InvalidParam("The user does not belong to this server")
        account = await self._accounts.get(UserId(user_id))
        if account.is_admin and account.user_id != admin.user_id:
            raise Forbidden("The user is an administrator too")
        return account

    async def set_locked(self, admin: Requester, user_id: str, *, locked: bool) -> None:
        """Lock an account, or unlock it. Raises as `get_target`; nobody locks themselves."""
        account = await self._get_other(admin, user_id)
        await self._accounts.set_locked(account.user_id, locked=locked)

    async def set_suspended(self, admin: Requester, user_id: str, *, suspended: bool) -> None:
        """Suspend an account, or end that. Raises as `get_target`; nobody suspends themselves."""
        account = await self._get_other(admin, user_id)
        await self._accounts.set_suspended(account.user_id, suspended=suspended)

    async def find_for_whois(self, requester: Requester, user_id: str) -> Account:
        """The account whose connections somebody wants to know: their own, or any for an admin.

        Raises `Forbidden`, `NotFound`.
        """
        if user_id != requester.user_id and not requester.is_admin:
            raise Forbidden("Only administrators may look at others")
        account = await self._accounts.find(UserId(user_id))
        if account is None:
            raise NotFound("There is no such user")
        return account

    async def _get_other(self, admin: Requester, user_id: str) -> Account:
        account = await self.get_target(admin, user_id)
        if account.user_id == admin.user_id:
            raise Forbidden("You may not do this to your own account")
        return account
