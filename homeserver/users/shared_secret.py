"""Making accounts from scripts that know a secret, compatible with Synapse's.

A nonce carries its expiry and is signed, so no process needs to remember those it gave out. It can
be used twice within its time, which gains nobody anything: the same request again names a user
that exists by then.

Source: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from federation.protocol.errors import Forbidden, Unknown
from homeserver.clock import Clock
from homeserver.users.accounts import Accounts, NewUser
from homeserver.users.registration import Registration

NONCE_LIFETIME_MS = 60_000
RANDOM_BYTES = 16


@dataclass(frozen=True, slots=True)
class SharedSecretRequest:
    """An account that a script asks for; `mac` is HMAC-SHA1 over the others, in hexadecimal."""

    nonce: str
    username: str
    password: str
    admin: bool
    user_type: str | None
    mac: str


class SharedSecretRegistration:
    """Gives out nonces and makes accounts."""

    __slots__ = ("_accounts", "_clock", "_registration", "_secret")

    def __init__(
        self, *, clock: Clock, accounts: Accounts, registration: Registration, secret: str
    ) -> None:
        self._clock = clock
        self._accounts = accounts
        self._registration = registration
        self._secret = secret.encode()

    def new_nonce(self) -> str:
        """A nonce that is good for a minute. Raises `Unknown` where no secret is configured."""
        self._check_enabled()
        payload = f"{self._clock() + NONCE_LIFETIME_MS}.{secrets.token_hex(RANDOM_BYTES)}"
        return f"{payload}.{self._sign_nonce(payload)}"

    async def register(self, request: SharedSecretRequest) -> NewUser:
        """Make the account.

        Raises `Unknown`, `Forbidden` for a wrong MAC, `InvalidUsername`, `UserInUse`,
        `WeakPassword`, `InvalidParam`.
        """
        self._check_enabled()
        self._check_nonce(request.nonce)
        if not hmac.compare_digest(self._sign(request).encode(), request.mac.lower().encode()):
            raise Forbidden("The HMAC is wrong")
        user = await self._accounts.create_user(
            request.username, request.password, admin=request.admin
        )
        await self._registration.welcome(user.user_id)
        return user

    def _check_enabled(self) -> None:
        if not self._secret:
            raise Unknown("Registration by shared secret is not enabled")

    def _check_nonce(self, nonce: str) -> None:
        payload, _, signature = nonce.rpartition(".")
        expires_ts = payload.partition(".")[0]
        if not hmac.compare_digest(self._sign_nonce(payload).encode(), signature.encode()):
            raise Unknown("Unknown nonce")
        if int(expires_ts) <= self._clock():
            raise Unknown("The nonce has expired")

    def _sign_nonce(self, payload: str) -> str:
        return hmac.digest(self._secret, payload.encode(), hashlib.sha256).hex()

    def _sign(self, request: SharedSecretRequest) -> str:
        parts = [
            request.nonce,
            request.username,
            request.password,
            "admin" if request.admin else "notadmin",
        ]
        if request.user_type:
            parts.append(request.user_type)
        return hmac.digest(self._secret, "\0".join(parts).encode(), hashlib.sha1).hex()
