"""Accounts and what users keep on the server, put together."""

from collections.abc import Callable

from federation.outbound.directory import RemoteDirectory
from federation.outbound.identity_server import IdentityServers
from homeserver.building.core import Core
from homeserver.encryption.device_lists import DeviceLists
from homeserver.mail.mailer import Mailer
from homeserver.push.pushers import PUSHERS, Pushers
from homeserver.rooms.rooms import Rooms
from homeserver.sync.filters import Filters
from homeserver.users.account_data import AccountData
from homeserver.users.personal import Personal
from homeserver.users.ports import RemoteProfiles as RemoteProfilesPort
from homeserver.users.ports import ReservedNames, ServiceUsers
from homeserver.users.presence import Presence
from homeserver.users.profiles import Profiles
from homeserver.users.remote_profiles import NoRemoteProfiles, RemoteProfiles
from homeserver.users.reports import Reports
from homeserver.users.sessions import SESSIONS
from homeserver.users.user_directory import UserDirectory
from homeserver.users.users import UserPorts, Users, build_users


def build_accounts(
    core: Core,
    rooms: Rooms,
    device_lists: DeviceLists,
    reserved: ReservedNames,
    mailer: Mailer,
    identity_servers: IdentityServers,
) -> Users:
    """Accounts, their devices and how one proves to own them."""
    users = build_users(
        db=core.db,
        names=core.names,
        committer=core.committer,
        clock=core.clock,
        settings=core.settings,
        session_cache_bytes=core.cache_part,
        ports=UserPorts(
            core.announcer(SESSIONS),
            device_lists,
            rooms.of_users,
            reserved,
            mailer,
            identity_servers,
        ),
    )
    core.hear(SESSIONS, users.sessions.hear, users.sessions.forget_all)
    return users


def build_personal(
    core: Core, rooms: Rooms, pusher_set: Callable[[int], None], services: ServiceUsers
) -> Personal:
    """What users keep on the server, say of themselves and wish for.

    `pusher_set` is told who sets pushers.
    """
    db, names, settings = core.db, core.names, core.settings
    personal = Personal(
        account_data=AccountData(db, core.committer),
        profiles=Profiles(db, rooms.of_users, _remote_profiles(core), services, core.server_name),
        presence=Presence(db, names, core.committer, core.clock, enabled=settings.presence.enabled),
        filters=Filters(db, core.cache_part),
        pushers=Pushers(
            db,
            core.clock,
            core.announcer(PUSHERS),
            pusher_set,
            sends_mail=bool(settings.mail.host) and settings.mail.notifications,
        ),
        user_directory=UserDirectory(db, settings.user_directory),
        reports=Reports(db, names, core.clock),
    )
    core.stream.listen(personal.presence.heard)
    return personal


def _remote_profiles(core: Core) -> RemoteProfilesPort:
    if not core.settings.federation.enabled:
        return NoRemoteProfiles()
    return RemoteProfiles(RemoteDirectory(core.links.client), core.clock, core.cache_part)
