"""The accounts of a server whose process is somewhere else, or does not run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from federation.protocol.identifiers import ServerName, UserId, build_user_id
from homeserver.cli.database import pool_of
from homeserver.cli.errors import CommandError
from homeserver.clock import system_clock
from homeserver.config.settings import Settings
from homeserver.users.accounts import Accounts
from homeserver.users.passwords import Passwords
from homeserver.users.sessions import SESSIONS, Sessions
from storage.accounts import erase_personal_data, mark_deactivated
from storage.bus import Bus
from storage.database import Pool
from storage.names import Names
from storage.pushers import delete_pushers_of_other_devices
from storage.short_lived_tokens import delete_short_lived_tokens_of_user
from storage.tokens import delete_access_tokens_of_user

CACHE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AccountDesk:
    """What the user commands work with; its process is a neighbour of the server's."""

    accounts: Accounts
    db: Pool
    server_name: ServerName

    def user_id(self, name: str) -> UserId:
        """The user that an administrator means: a user ID or the part before the colon.

        Raises `CommandError` for a user of another server.
        """
        user_id = UserId(name) if name.startswith("@") else build_user_id(name, self.server_name)
        if not self.accounts.is_ours(user_id):
            raise CommandError(f"{user_id} is not a user of {self.server_name}.")
        return user_id

    async def close_account(self, user_id: UserId, *, erase: bool) -> None:
        """Close an account at once; the server lets its user leave all rooms.

        A running server hears of it, others see at their next start what is left to do.
        Raises `NotFound`.
        """
        account = await self.accounts.get(user_id)
        async with self.db.transaction() as db:
            await mark_deactivated(db, account.user_nid, erase=erase)
            await delete_access_tokens_of_user(db, account.user_nid)
            await delete_short_lived_tokens_of_user(db, account.user_nid)
            await delete_pushers_of_other_devices(db, account.user_nid, 0)
            if erase:
                await erase_personal_data(db, account.user_nid)
            await Bus(db).publish(SESSIONS, str(account.user_nid))


@asynccontextmanager
async def account_desk(settings: Settings) -> AsyncIterator[AccountDesk]:
    """The accounts of the server that the settings describe; its database gets its shape first."""
    async with pool_of(settings) as pool:
        yield _desk(settings, pool)


def _desk(settings: Settings, pool: Pool) -> AccountDesk:
    async def announce(user_nid: str) -> None:
        await Bus(pool).publish(SESSIONS, user_nid)

    server_name = ServerName(settings.server.name)
    accounts = Accounts(
        db=pool,
        names=Names(pool, CACHE_BYTES),
        clock=system_clock,
        passwords=Passwords(settings.auth, settings.registration.password_min_length),
        sessions=Sessions(pool, system_clock, announce, CACHE_BYTES),
        server_name=server_name,
    )
    return AccountDesk(accounts, pool, server_name)
