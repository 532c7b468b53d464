"""Every setting: its name, type, range, default and explanation, defined once, in `sections`.

The server process carries these plain records and nothing else; `model.py` has pydantic check
them in the process that reads the file, and the text under each field becomes the commented
configuration and docs/configuration.md. Relative paths are relative to the configuration file,
or to `server.data_dir` where the text says so; `load.py` makes them absolute.
"""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from homeserver.config.sections.accounts import Auth, Registration, UserDirectory
from homeserver.config.sections.appservices import AppServices
from homeserver.config.sections.calls import Calls, DelayedEvents, Turn
from homeserver.config.sections.federation import Federation, Outgoing
from homeserver.config.sections.limits import Limits
from homeserver.config.sections.mail import Mail, ThirdPartyIds
from homeserver.config.sections.media import Media, UrlPreviews
from homeserver.config.sections.metrics import Metrics
from homeserver.config.sections.profile import Profile
from homeserver.config.sections.push import Push
from homeserver.config.sections.rooms import Presence, Rooms
from homeserver.config.sections.server import Listener, Log, Server
from homeserver.config.sections.server_notices import ServerNotices
from homeserver.config.sections.storage import Cache, Database
from homeserver.config.sections.sync import Sync
from homeserver.config.sections.well_known import WellKnown


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings."""

    server: Server
    listen: tuple[Listener, ...] = (Listener(),)
    database: Database = field(default_factory=Database)
    registration: Registration = field(default_factory=Registration)
    auth: Auth = field(default_factory=Auth)
    rooms: Rooms = field(default_factory=Rooms)
    limits: Limits = field(default_factory=Limits)
    cache: Cache = field(default_factory=Cache)
    presence: Presence = field(default_factory=Presence)
    turn: Turn = field(default_factory=Turn)
    calls: Calls = field(default_factory=Calls)
    delayed_events: DelayedEvents = field(default_factory=DelayedEvents)
    federation: Federation = field(default_factory=Federation)
    outgoing: Outgoing = field(default_factory=Outgoing)
    media: Media = field(default_factory=Media)
    url_previews: UrlPreviews = field(default_factory=UrlPreviews)
    push: Push = field(default_factory=Push)
    mail: Mail = field(default_factory=Mail)
    third_party_ids: ThirdPartyIds = field(default_factory=ThirdPartyIds)
    server_notices: ServerNotices = field(default_factory=ServerNotices)
    appservices: AppServices = field(default_factory=AppServices)
    user_directory: UserDirectory = field(default_factory=UserDirectory)
    well_known: WellKnown = field(default_factory=WellKnown)
    metrics: Metrics = field(default_factory=Metrics)
    sync: Sync = field(default_factory=Sync)
    profile: Profile = field(default_factory=Profile)
    log: Log = field(default_factory=Log)


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
