"""The settings as pydantic-settings reads and checks them, derived from `settings.py`.

Only the process that reads the configuration imports this module: pydantic costs a server 9 MB.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from federation.protocol.identifiers import is_valid_server_name
from federation.protocol.room_versions import ROOM_VERSIONS
from homeserver.config.sections.calls import Calls
from homeserver.config.sections.server import Listener
from homeserver.config.settings import Settings

ENV_PREFIX = "HEARTH_"
ENV_DELIMITER = "__"

SHORTEST_API_SECRET = 32
"""What LiveKit asks of the secret too: as long as the hash that it signs with."""


def settings_model(path: Path | None) -> type[BaseSettings]:
    """The model that reads the environment, and below it the TOML file where there is one."""

    class Sources(BaseSettings):
        model_config = SettingsConfigDict(
            extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del init_settings, dotenv_settings, file_secret_settings
            if path is None:
                return (env_settings,)
            return env_settings, TomlConfigSettingsSource(settings_cls, path)

    return create_model("SettingsModel", __base__=Sources, **_definitions(Settings, None))


def _definitions(record: type, defaults: object) -> dict[str, Any]:
    """The fields of a record class as `create_model` wants them.

    `defaults` is an instance that knows better than the class: the allowance for messages has
    other defaults than an allowance as such, also where only one of its keys is given.
    """
    hints = get_type_hints(record, include_extras=True)
    return {f.name: _definition(hints[f.name], _default(f, defaults)) for f in fields(record)}


def _definition(hint: Any, default: object) -> tuple[Any, Any]:
    """Type and default of a field, with models in place of records."""
    if isinstance(hint, type) and is_dataclass(hint):
        # An absent section is an empty one: its own fields say what they default to.
        return _section_model(hint, None if default is ... else default), {}
    if get_origin(hint) is tuple:
        (item, _) = _definition(get_args(hint)[0], ...)
        return tuple[item, ...], _plain(default)  # type: ignore[valid-type]
    return hint, default


def _plain(default: Any) -> Any:
    """A tuple with its records flattened."""
    if default is ...:
        return default
    return tuple(item if isinstance(item, str | int) else asdict(item) for item in default)


def _section_model(record: type, defaults: object) -> type[BaseModel]:
    """A record class as a model whose unknown keys are errors."""
    config = ConfigDict(extra="forbid", validate_default=True)
    return create_model(record.__name__, __config__=config, **_definitions(record, defaults))


def _default(record_field: "Field[Any]", defaults: object) -> Any:
    if defaults is not None:
        return getattr(defaults, record_field.name)
    if record_field.default_factory is not MISSING:
        return record_field.default_factory()
    return ... if record_field.default is MISSING else record_field.default


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """What types and ranges cannot say: pairs of a key and what is wrong with it."""
    server = settings.server
    if not is_valid_server_name(server.name):
        yield "server.name", f"{server.name!r} is not a server name, such as example.org"
    if not server.public_baseurl.startswith(("http://", "https://")):
        yield "server.public_baseurl", "must begin with https:// or http://"
    if settings.rooms.default_version not in ROOM_VERSIONS:
        known = ", ".join(ROOM_VERSIONS)
        yield "rooms.default_version", f"must be one of {known}"
    if settings.database.url and not settings.database.url.startswith(
        ("postgres://", "postgresql://")
    ):
        yield "database.url", "must begin with postgresql://"
    for number, listener in enumerate(settings.listen):
        yield from _listener_contradictions(f"listen.{number}", listener)
    for name in ("allow_ip_ranges", "deny_ip_ranges"):
        yield from _network_problems(f"outgoing.{name}", getattr(settings.outgoing, name))
    yield from _address_problems("metrics.address", settings.metrics.address)
    if settings.third_party_ids.registration_requires_email and not settings.mail.host:
        yield "third_party_ids.registration_requires_email", "needs a mail server, mail.host"
    for number, uri in enumerate(settings.turn.uris):
        if not uri.startswith(("turn:", "turns:")):
            yield f"turn.uris.{number}", "must begin with turn: or turns:"
    if settings.calls.livekit_url:
        yield from _calls_contradictions(settings.calls)
    for number, contact in enumerate(settings.well_known.support_contacts):
        if not (contact.matrix_id or contact.email_address):
            yield f"well_known.support_contacts.{number}", "needs matrix_id or email_address"


def _calls_contradictions(calls: Calls) -> Iterator[tuple[str, str]]:
    if not calls.livekit_url.startswith(("wss://", "ws://")):
        yield "calls.livekit_url", "must begin with wss:// or ws://"
    for name in ("livekit_api_url", "service_url"):
        if not getattr(calls, name).startswith(("https://", "http://")):
            yield f"calls.{name}", "must begin with https:// or http://"
    if not calls.api_key:
        yield "calls.api_key", "is needed for calls.livekit_url"
    if len(calls.api_secret) < SHORTEST_API_SECRET:
        yield "calls.api_secret", f"must have at least {SHORTEST_API_SECRET} characters"
    for number, server in enumerate(calls.full_access_servers):
        if server != "*" and not is_valid_server_name(server):
            yield f"calls.full_access_servers.{number}", f"{server!r} is not a server name, or *"


def _listener_contradictions(key: str, listener: Listener) -> Iterator[tuple[str, str]]:
    yield from _address_problems(f"{key}.address", listener.address)
    if (listener.tls_certificate is None) != (listener.tls_key is None):
        yield key, "tls_certificate and tls_key must be given together"
    yield from _network_problems(f"{key}.trusted_proxies", listener.trusted_proxies)


def _address_problems(key: str, address: str) -> Iterator[tuple[str, str]]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        yield key, f"{address!r} is not an IP address"


def _network_problems(key: str, networks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            yield key, f"{network!r} is not a network, such as 192.168.0.0/16"
