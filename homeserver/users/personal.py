"""What users keep on the server, say of themselves and wish for, put together."""

from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.push.pushers import Pushers
from homeserver.sync.filters import Filters
from homeserver.users.account_data import AccountData
from homeserver.users.ports import MemberEvents, RemoteProfiles
from homeserver.users.presence import Presence
from homeserver.users.profiles import Profiles
from homeserver.users.reports import Reports
from homeserver.users.user_directory import UserDirectory
from storage.committer import Committer
from storage.database import Pool
from storage.names import Names


@dataclass(frozen=True, slots=True)
class Personal:
    """Services that each serve a user's own things."""

    account_data: AccountData
    profiles: Profiles
    presence: Presence
    filters: Filters
    pushers: Pushers
    user_directory: UserDirectory
    reports: Reports


def build_personal(
    *,
    db: Pool,
    names: Names,
    committer: Committer,
    clock: Clock,
    settings: Settings,
    member_events: MemberEvents,
    remote_profiles: RemoteProfiles,
    cache_bytes: int,
) -> Personal:
    """Put the services together; `Presence.run` is for the caller to run."""
    return Personal(
        account_data=AccountData(db, committer),
        profiles=Profiles(db, member_events, remote_profiles, ServerName(settings.server.name)),
        presence=Presence(db, names, committer, clock, enabled=settings.presence.enabled),
        filters=Filters(db, cache_bytes),
        pushers=Pushers(db, clock),
        user_directory=UserDirectory(db, settings.user_directory),
        reports=Reports(db, names, clock),
    )
