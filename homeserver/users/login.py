"""Proving that one is the owner of an account.

Source: client-server API, "Login".
"""

from federation.protocol.errors import Forbidden, UserLocked
from homeserver.users.accounts import Accounts
from homeserver.users.failed_attempts import FailedAttempts
from homeserver.users.passwords import Passwords
from homeserver.users.short_lived_tokens import ShortLivedTokens
from homeserver.users.token_issuer import DeviceWish, OpenedSession, TokenIssuer
from homeserver.users.user_identifier import Address
from storage.accounts import Account


class Login:
    """Logs users in by password or login token."""

    __slots__ = ("_accounts", "_attempts", "_issuer", "_passwords", "_tokens")

    def __init__(
        self,
        *,
        accounts: Accounts,
        passwords: Passwords,
        attempts: FailedAttempts,
        tokens: ShortLivedTokens,
        issuer: TokenIssuer,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._attempts = attempts
        self._tokens = tokens
        self._issuer = issuer

    async def check_password(self, name: str | Address, password: str) -> Account:
        """The account of a user who knows its password; `name` may be a localpart or a user ID.

        Raises `Forbidden`, also where there is no such account, and `LimitExceeded` after too many
        wrong passwords.
        """
        account = await self._find(name)
        # Names without an account are counted too: a limit must not tell which ones exist.
        named = name.address if isinstance(name, Address) else name
        counted = account.user_id if account else named.lower()
        self._attempts.begin(counted)
        password_hash = account.password_hash if account else None
        fits = await self._passwords.verify(password, password_hash)
        if account is None or account.is_deactivated or not fits:
            raise Forbidden("Invalid user name or password")
        self._attempts.give_back(counted)
        return account

    async def log_in_by_password(
        self, name: str | Address, password: str, wish: DeviceWish
    ) -> OpenedSession:
        """Log a device in. Raises as `check_password` and `TokenIssuer.open_session` do."""
        return await self._open(await self.check_password(name, password), wish)

    async def log_in_by_token(self, token: str, wish: DeviceWish) -> OpenedSession:
        """Log a device in by a login token, which is used up.

        Raises `Forbidden`, and as `TokenIssuer.open_session` does.
        """
        user_nid = await self._tokens.take_login_token(token)
        account = await self._accounts.find_by_nid(user_nid) if user_nid is not None else None
        if account is None or account.is_deactivated:
            raise Forbidden("Invalid login token")
        return await self._open(account, wish)

    async def _find(self, name: str | Address) -> Account | None:
        if isinstance(name, Address):
            return await self._accounts.find_by_address(name.medium, name.address)
        return await self._accounts.find_by_name(name)

    async def _open(self, account: Account, wish: DeviceWish) -> OpenedSession:
        if account.is_locked:
            raise UserLocked("This account has been locked")
        return await self._issuer.open_session(account.user_nid, account.user_id, wish)
