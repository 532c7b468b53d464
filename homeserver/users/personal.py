"""What users keep on the server, say of themselves and wish for."""

from dataclasses import dataclass

from homeserver.push.pushers import Pushers
from homeserver.sync.filters import Filters
from homeserver.users.account_data import AccountData
from homeserver.users.presence import Presence
from homeserver.users.profiles import Profiles
from homeserver.users.reports import Reports
from homeserver.users.user_directory import UserDirectory


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
