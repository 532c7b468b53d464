"""Who may have an account, how they prove who they are, and who finds them."""

from dataclasses import dataclass
from typing import Annotated

from homeserver.config.sections.ranges import Count, Positive, Range


@dataclass(frozen=True, slots=True)
class TermsDocument:
    """A document that new users must accept."""

    name: str
    """The identifier of the document, for instance "privacy_policy"."""
    version: str
    """Its version."""
    title: str
    """Its title, as users see it."""
    url: str
    """Where it can be read."""
    language: str = "en"
    """The language of title and document."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Who may make an account."""

    enabled: bool = False
    """Let people register through a client."""
    token_required: bool = True
    """Ask for a registration token, which an administrator gives out. Without it anybody on the
    internet can register."""
    shared_secret: str = ""
    """The secret of the registration endpoint for scripts, /_synapse/admin/v1/register. Empty:
    the endpoint is closed."""
    guests: bool = False
    """Let guests in, who have no password and few rights."""
    password_min_length: Positive = 8
    """The least length of a password that is accepted."""
    auto_join_rooms: tuple[str, ...] = ()
    """Aliases of rooms that a new user joins at once."""
    terms: tuple[TermsDocument, ...] = ()
    """Documents that must be accepted."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Passwords, sessions and tokens."""

    password_login: bool = True
    """Let users log in with a password."""
    bcrypt_rounds: Annotated[int, Range(4, 20)] = 12
    """The cost of hashing a password: each round more doubles it."""
    pepper: str = ""
    """A secret that is added to each password before hashing. Changing it invalidates all
    passwords."""
    access_token_lifetime_s: Count = 300
    """How long an access token lives in a session with a refresh token."""
    unused_device_lifetime_s: Count = 0
    """Log a device out that was not used for so long, with its keys and the messages that wait
    for it. 0: never."""
    refresh_token_lifetime_s: Count = 0
    """How long a refresh token lives when it is not used; 0 is for ever."""
    session_lifetime_s: Count = 0
    """How long a session without refresh token lasts; 0 is for ever."""
    login_token_lifetime_s: Positive = 120
    """How long a token that logs in another device of the same user can be used."""
    openid_token_lifetime_s: Positive = 3_600
    """How long an OpenID token can be used."""
    interactive_auth_lifetime_s: Positive = 900
    """How long a user-interactive authentication may take."""


@dataclass(frozen=True, slots=True)
class UserDirectory:
    """Searching for users."""

    enabled: bool = True
    """Answer searches; without it every search finds nobody."""
    search_all_users: bool = False
    """Find every user of this server. Otherwise those who share a room with the searcher or are
    in a public room."""
