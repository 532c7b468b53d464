"""Whom an application service acts as, and the users that it makes.

Source: application service API, "Identity assertion" and "Server admin style permissions".
"""

from collections.abc import Callable, Iterable

from federation.protocol.errors import Forbidden, UnknownDevice, UserInUse
from federation.protocol.identifiers import ServerName, UserId, check_service_localpart
from homeserver.appservices.namespaces import Namespaces
from homeserver.users.accounts import NewUser
from homeserver.users.bearer import digest
from homeserver.users.requester import CallingService, Requester
from homeserver.users.sessions import Sessions
from storage.accounts import Account, NewAccount, add_account, find_accounts
from storage.database import Pool
from storage.devices import find_device
from storage.names import Names


class ServiceIdentity:
    """Tells by their tokens which services call, and as whom."""

    def __init__(
        self,
        db: Pool,
        namespaces: Namespaces,
        sessions: Sessions,
        heard_from: Callable[[str], None],
    ) -> None:
        """`heard_from` is told of each call of a service."""
        self._db = db
        self._namespaces = namespaces
        self._sessions = sessions
        self._heard_from = heard_from
        self._by_token = {
            service.as_token_hash: CallingService(
                service.service_id, service.sender, service.is_rate_limited
            )
            for service in namespaces.services
        }

    def find(self, token: str) -> CallingService | None:
        """The service whose token it is, if it is one's.

        Tokens are compared by their hashes, which tell nothing of how near a guess has come.
        """
        service = self._by_token.get(digest(token))
        if service is not None:
            self._heard_from(service.service_id)
        return service

    async def act_as(
        self, service: CallingService, user_id: str | None, device_id: str | None
    ) -> Requester:
        """The user, and the device, that a service wants to be; its sender if it names none.

        Raises `Forbidden` for a user who is not its own or not there, `UnknownDevice`.
        """
        wanted = UserId(user_id) if user_id is not None else service.sender
        if not self._namespaces.of_user(wanted) & self._namespaces.bit_of(service.service_id):
            raise Forbidden(f"The application service may not act as {wanted}")
        key = digest("\0".join((service.service_id, wanted, device_id or "")))
        return await self._sessions.find_or_make(key, lambda: self._load(wanted, device_id))

    async def _load(self, user_id: UserId, device_id: str | None) -> Requester:
        account = (await find_accounts(self._db, [user_id])).get(user_id)
        if account is None:
            raise Forbidden(f"The application service has not registered {user_id}")
        if account.is_deactivated:
            raise Forbidden(f"{user_id} is deactivated")
        if device_id is None:
            return requester_of(account)
        device = await find_device(self._db, account.user_nid, device_id)
        if device is None:
            raise UnknownDevice(f"{user_id} has no device {device_id!r}")
        return Requester(
            account.user_id,
            account.user_nid,
            device.device_id,
            device.device_nid,
            token_id=0,
            is_admin=account.is_admin,
            is_locked=account.is_locked,
            is_suspended=account.is_suspended,
        )


def requester_of(account: Account) -> Requester:
    """A user without a device."""
    return Requester(
        account.user_id,
        account.user_nid,
        None,
        0,
        token_id=0,
        is_admin=account.is_admin,
        is_locked=account.is_locked,
        is_suspended=account.is_suspended,
    )


class ServiceAccounts:
    """Makes the users of services, who have no password."""

    def __init__(
        self,
        db: Pool,
        names: Names,
        namespaces: Namespaces,
        clock: Callable[[], int],
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._names = names
        self._namespaces = namespaces
        self._clock = clock
        self._server_name = server_name

    async def register(self, service_id: str, localpart: str) -> NewUser:
        """Make a user of a service. Raises `InvalidUsername`, `Exclusive`, `UserInUse`."""
        user_id = check_service_localpart(localpart, self._server_name)
        self._namespaces.check_user(user_id, service_id)
        user_nid = await self._names.users.get_nid(user_id)
        account = NewAccount(user_nid, self._clock(), appservice_id=service_id)
        if not await add_account(self._db, account):
            raise UserInUse(f"The user ID {user_id} is taken")
        return NewUser(user_id, user_nid)

    async def get_own(self, service_id: str, user_id: UserId) -> Account:
        """The account of one of a service's users. Raises `Exclusive`, `Forbidden`."""
        self._namespaces.check_user(user_id, service_id)
        account = (await find_accounts(self._db, [user_id])).get(user_id)
        if account is None or account.is_deactivated:
            raise Forbidden(f"There is no user {user_id}")
        return account

    async def make_senders(self) -> None:
        """Make the users by whose names services act, where they are missing."""
        if not self._namespaces.services:
            return
        senders = {service.sender: service.service_id for service in self._namespaces.services}
        known = await find_accounts(self._db, list(senders))
        for sender in missing(senders, known):
            user_nid = await self._names.users.get_nid(sender)
            account = NewAccount(user_nid, self._clock(), appservice_id=senders[sender])
            await add_account(self._db, account)


def missing(wanted: Iterable[UserId], known: Iterable[UserId]) -> list[UserId]:
    """Those who are not among the known."""
    return [one for one in wanted if one not in set(known)]
