"""Registration files: what application services there are, and what they look after.

The files have the format of Synapse's, which bridges write themselves.
Source: application service API, "Registration".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.protocol.errors import InvalidUsername
from federation.protocol.identifiers import ServerName, UserId, check_service_localpart
from homeserver.appservices.patterns import Pattern, PatternRefused
from homeserver.users.bearer import digest

SCHEMES = ("http://", "https://", "unix://")
KINDS = ("users", "aliases", "rooms")
STABLE_EPHEMERAL = "receive_ephemeral"
UNSTABLE_EPHEMERAL = "de.sorunome.msc2409.push_ephemeral"
UNSTABLE_EPHEMERAL_OF_OLD = "push_ephemeral"
DEVICE_NEWS = "org.matrix.msc3202"
MANAGES_DEVICES = "io.element.msc4190"

FLAGS = ("rate_limited", STABLE_EPHEMERAL, UNSTABLE_EPHEMERAL, DEVICE_NEWS, MANAGES_DEVICES)


@dataclass(frozen=True, slots=True)
class Namespace:
    """Users, aliases or rooms that an application service looks after, by their IDs."""

    pattern: Pattern
    exclusive: bool


@dataclass(frozen=True, slots=True)
class Registration:
    """An application service, as its file describes it.

    `url` is None for one that is told nothing. `receives_ephemeral` and
    `receives_unstable_ephemeral` say under which names it is told of typing, receipts and
    presence; `receives_device_news` adds device lists and numbers of keys (MSC3202). One that
    `manages_devices` makes devices instead of logging in (MSC4190).
    """

    service_id: str
    url: str | None
    as_token_hash: bytes
    hs_token: str
    sender: UserId
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()
    protocols: tuple[str, ...] = ()
    is_rate_limited: bool = True
    receives_ephemeral: bool = False
    receives_unstable_ephemeral: bool = False
    receives_device_news: bool = False
    manages_devices: bool = False

    @property
    def is_told_ephemeral(self) -> bool:
        """Whether it is told of typing, receipts, presence and messages to devices."""
        return self.receives_ephemeral or self.receives_unstable_ephemeral


class RegistrationError(Exception):
    """Registration files cannot be used; `problems` are sentences for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def load_registrations(files: Sequence[Path], server_name: ServerName) -> tuple[Registration, ...]:
    """The application services of the files, in order.

    Raises `RegistrationError` that tells everything that is wrong at once.
    """
    found: list[Registration] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(read_registration(read_yaml(file), server_name))
        except RegistrationError as error:
            problems += [f"{file}: {problem}" for problem in error.problems]
        else:
            problems += [f"{file}: {text}" for text in find_clashes(found)]
    if problems:
        raise RegistrationError(*problems)
    return tuple(found)


def read_yaml(file: Path) -> Mapping[str, Any]:
    """The object in a YAML file. Raises `RegistrationError`."""
    # Only servers with application services pay for it.
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise RegistrationError(f"it cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegistrationError(f"it is not valid YAML: {error}.") from error
    if not isinstance(content, Mapping):
        raise RegistrationError("it must be an object with id, url, as_token and so on.")
    return content


def read_registration(fields: Mapping[str, Any], server_name: ServerName) -> Registration:
    """The application service that the fields of a file describe. Raises `RegistrationError`."""
    problems = list(find_problems(fields))
    namespaces: dict[str, tuple[Namespace, ...]] = {}
    listed = fields.get("namespaces")
    for kind in KINDS:
        entries = listed.get(kind) if isinstance(listed, Mapping) else None
        read = [read_namespace(kind, entry) for entry in as_list(entries)]
        problems += [one for one in read if isinstance(one, str)]
        namespaces[kind] = tuple(one for one in read if isinstance(one, Namespace))
    if problems:
        raise RegistrationError(*problems)
    try:
        sender = check_service_localpart(fields["sender_localpart"], server_name)
    except InvalidUsername as error:
        raise RegistrationError(f"sender_localpart: {error.message}.") from error
    url = fields.get("url")
    return Registration(
        service_id=fields["id"],
        url=url.rstrip("/") if url else None,
        as_token_hash=digest(fields["as_token"]),
        hs_token=fields["hs_token"],
        sender=sender,
        protocols=tuple(dict.fromkeys(as_list(fields.get("protocols")))),
        is_rate_limited=fields.get("rate_limited") is not False,
        receives_ephemeral=fields.get(STABLE_EPHEMERAL) is True,
        receives_unstable_ephemeral=(
            fields.get(UNSTABLE_EPHEMERAL) is True or fields.get(UNSTABLE_EPHEMERAL_OF_OLD) is True
        ),
        receives_device_news=fields.get(DEVICE_NEWS) is True,
        manages_devices=fields.get(MANAGES_DEVICES) is True,
        **namespaces,
    )


def find_problems(fields: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a file besides its namespaces."""
    for name in ("id", "as_token", "hs_token", "sender_localpart"):
        value = fields.get(name)
        if not isinstance(value, str) or not value:
            yield f"{name} must be a text; put it in quotes if it looks like a number."
    if "|" in str(fields.get("id", "")):
        yield "id may not have a |."
    url = fields.get("url", "missing")
    if url is not None and url != "" and not (isinstance(url, str) and url.startswith(SCHEMES)):
        yield "url must begin with http://, https:// or unix://, or be null to be told nothing."
    for name in ("as_token", "hs_token"):
        token = fields.get(name)
        if isinstance(token, str) and not (token.isascii() and token.isprintable()):
            yield f"{name} may only have ASCII characters; make one with `openssl rand -hex 32`."
    if fields.get("as_token") is not None and fields.get("as_token") == fields.get("hs_token"):
        yield "as_token and hs_token must differ; make another with `openssl rand -hex 32`."
    if not isinstance(fields.get("namespaces"), Mapping):
        yield "namespaces must be an object with users, aliases and rooms."
    for name in FLAGS:
        if not isinstance(fields.get(name), bool | None):
            yield f"{name} must be true or false."
    protocols = fields.get("protocols")
    if protocols is not None and not (
        isinstance(protocols, list) and all(isinstance(one, str) for one in protocols)
    ):
        yield "protocols must be a list of texts."


def read_namespace(kind: str, entry: object) -> Namespace | str:
    """An entry of a list of namespaces, or what is wrong with it."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("regex"), str):
        return f"namespaces.{kind}: each entry must have a regex and exclusive."
    if not isinstance(entry.get("exclusive"), bool):
        return f"namespaces.{kind}: exclusive of {entry['regex']!r} must be true or false."
    try:
        return Namespace(Pattern(entry["regex"]), entry["exclusive"])
    except PatternRefused as error:
        return f"namespaces.{kind}: the regex {entry['regex']!r} cannot be used: {error}."


def as_list(value: object) -> Sequence[Any]:
    """A list, an empty one for null; anything else as its only entry, for somebody to refuse."""
    if value is None:
        return ()
    return value if isinstance(value, list) else [value]


def find_clashes(services: Sequence[Registration]) -> Iterator[str]:
    """What the last of the services has that a former one has, and no two may have."""
    last = services[-1]
    for other in services[:-1]:
        if other.service_id == last.service_id:
            yield f"the id {last.service_id!r} is that of another file too; each needs its own."
        elif other.as_token_hash == last.as_token_hash:
            yield (
                f"its as_token is that of {other.service_id!r} too; "
                "make another with `openssl rand -hex 32`, here and in the bridge."
            )


def find_risks(services: Iterable[Registration], server_name: ServerName) -> Iterator[str]:
    """What is allowed and probably not meant."""
    stranger = f"@somebody.else:{server_name}"
    for service in services:
        for namespace in service.users:
            if namespace.exclusive and namespace.pattern.matches(stranger):
                yield (
                    f"{service.service_id} reserves all users by {namespace.pattern.source!r}: "
                    "nobody else can register."
                )
