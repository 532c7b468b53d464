"""All services around accounts, put together."""

import time
from dataclasses import dataclass

from federation.protocol.identifiers import ServerName
from homeserver.clock import Clock
from homeserver.config.settings import Settings
from homeserver.mail.mailer import Mailer
from homeserver.users.accounts import Accounts
from homeserver.users.contact_validation import ContactValidation
from homeserver.users.deactivation import Deactivation
from homeserver.users.devices import Devices
from homeserver.users.failed_attempts import FailedAttempts
from homeserver.users.interactive_auth import InteractiveAuth
from homeserver.users.last_seen import LastSeen
from homeserver.users.login import Login
from homeserver.users.moderation import Moderation
from homeserver.users.passwords import Passwords
from homeserver.users.ports import (
    Announce,
    DeviceLists,
    IdentityServers,
    ReservedNames,
    UserRooms,
)
from homeserver.users.registration import Registration
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.sessions import Sessions
from homeserver.users.shared_secret import SharedSecretRegistration
from homeserver.users.short_lived_tokens import ShortLivedTokens
from homeserver.users.third_party_ids import ThirdPartyIds
from homeserver.users.token_issuer import TokenIssuer
from storage.committer import Committer
from storage.database import Pool
from storage.names import Names


@dataclass(frozen=True, slots=True)
class UserPorts:
    """What accounts need of other services."""

    announce: Announce
    device_lists: DeviceLists
    rooms: UserRooms
    reserved_names: ReservedNames
    mailer: Mailer
    identity_servers: IdentityServers


@dataclass(frozen=True, slots=True)
class Users:
    """Accounts, their devices and how one proves to own them."""

    sessions: Sessions
    last_seen: LastSeen
    accounts: Accounts
    devices: Devices
    token_issuer: TokenIssuer
    short_lived_tokens: ShortLivedTokens
    login: Login
    interactive_auth: InteractiveAuth
    registration: Registration
    registration_tokens: RegistrationTokens
    shared_secret: SharedSecretRegistration
    deactivation: Deactivation
    moderation: Moderation
    contacts: ContactValidation
    third_party_ids: ThirdPartyIds


def build_users(
    *,
    db: Pool,
    names: Names,
    committer: Committer,
    clock: Clock,
    settings: Settings,
    session_cache_bytes: int,
    ports: UserPorts,
) -> Users:
    """Put the services together; `LastSeen.run` is for the caller to run."""
    server_name = ServerName(settings.server.name)
    sessions = Sessions(db, clock, ports.announce, session_cache_bytes)
    passwords = Passwords(settings.auth, settings.registration.password_min_length)
    accounts = Accounts(
        db=db,
        names=names,
        clock=clock,
        passwords=passwords,
        sessions=sessions,
        server_name=server_name,
    )
    devices = Devices(
        db=db, committer=committer, sessions=sessions, device_lists=ports.device_lists
    )
    issuer = TokenIssuer(
        db=db,
        clock=clock,
        auth=settings.auth,
        sessions=sessions,
        device_lists=ports.device_lists,
    )
    short_lived_tokens = ShortLivedTokens(db, clock, settings.auth)
    login = Login(
        accounts=accounts,
        passwords=passwords,
        attempts=FailedAttempts(
            settings.limits.login, time.monotonic, enabled=settings.limits.enabled
        ),
        tokens=short_lived_tokens,
        issuer=issuer,
    )
    registration_tokens = RegistrationTokens(db, clock)
    contacts = build_contact_validation(db, clock, settings, ports.mailer)
    registration = Registration(
        db=db,
        clock=clock,
        settings=settings.registration,
        server_name=server_name,
        accounts=accounts,
        passwords=passwords,
        sessions=sessions,
        tokens=registration_tokens,
        reserved=ports.reserved_names,
        rooms=ports.rooms,
        contacts=contacts,
    )
    return Users(
        sessions=sessions,
        last_seen=LastSeen(db, clock),
        accounts=accounts,
        devices=devices,
        token_issuer=issuer,
        short_lived_tokens=short_lived_tokens,
        login=login,
        interactive_auth=InteractiveAuth(
            db=db,
            clock=clock,
            login=login,
            contacts=contacts,
            lifetime_s=settings.auth.interactive_auth_lifetime_s,
        ),
        registration=registration,
        registration_tokens=registration_tokens,
        shared_secret=SharedSecretRegistration(
            clock=clock,
            accounts=accounts,
            registration=registration,
            secret=settings.registration.shared_secret,
        ),
        deactivation=Deactivation(
            db=db, clock=clock, accounts=accounts, devices=devices, rooms=ports.rooms
        ),
        moderation=Moderation(accounts),
        contacts=contacts,
        third_party_ids=ThirdPartyIds(
            db=db,
            clock=clock,
            settings=settings.third_party_ids,
            validation=contacts,
            identity=ports.identity_servers,
        ),
    )


def build_contact_validation(
    db: Pool, clock: Clock, settings: Settings, mailer: Mailer
) -> ContactValidation:
    """What proves addresses."""
    return ContactValidation(
        db=db,
        clock=clock,
        mailer=mailer,
        settings=settings.third_party_ids,
        base_url=settings.server.public_baseurl,
        attempts=FailedAttempts(
            settings.limits.mail, time.monotonic, enabled=settings.limits.enabled
        ),
    )
