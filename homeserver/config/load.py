"""Reading the configuration: one TOML file, each key overridable by the environment."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from homeserver.config.model import ENV_DELIMITER, ENV_PREFIX, contradictions, settings_model
from homeserver.config.profile import apply_profiles
from homeserver.config.sections.calls import Calls
from homeserver.config.settings import Settings, from_values

FILE_NAME = "hearth.toml"
SYSTEM_FILE = Path("/etc/hearth") / FILE_NAME
SECRETS = ("secret", "password", "pepper", "url")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are sentences for the operator."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def find_config_file(given: Path | None) -> Path:
    """The file to read: the given one, or hearth.toml here, or the machine's.

    Raises `ConfigError` if there is none.
    """
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"There is no configuration file {given}.")
        return given
    for path in (Path(FILE_NAME), SYSTEM_FILE):
        if path.is_file():
            return path
    raise ConfigError(
        f"There is no configuration: neither {FILE_NAME} here nor {SYSTEM_FILE}. "
        "Make one with `hearth config init`, or name one with --config."
    )


def load_settings(path: Path | None) -> Settings:
    """The checked settings, with all paths absolute; `None` reads the environment only.

    Raises `ConfigError` that tells everything that is wrong at once.
    """
    unknown = list(_unknown_environment(os.environ))
    try:
        model = settings_model(path)()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", *unknown) from error
    except SettingsError as error:
        problem = "A list or table in the environment is not valid JSON"
        raise ConfigError(f"{problem}: {error}.", *unknown) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", *unknown) from error
    except ValidationError as error:
        problems = [_sentence(details) for details in error.errors(include_url=False)]
        raise ConfigError(*problems, *unknown) from error
    base = Path.cwd() if path is None else path.absolute().parent
    values = apply_profiles(model.model_dump(), model.model_dump(exclude_unset=True))
    settings = _complete(from_values(values), base)
    problems = [f"{key}: {problem}." for key, problem in contradictions(settings)]
    if problems or unknown:
        raise ConfigError(*problems, *unknown)
    return settings


def _complete(settings: Settings, base: Path) -> Settings:
    """Relative paths made absolute, and what is derived from other settings filled in."""
    server = settings.server
    data_dir = base / server.data_dir
    listeners = [
        replace(
            listener,
            tls_certificate=listener.tls_certificate and base / listener.tls_certificate,
            tls_key=listener.tls_key and base / listener.tls_key,
        )
        for listener in settings.listen
    ]
    extra_ca_files = tuple(base / file for file in settings.outgoing.extra_ca_files)
    registrations = tuple(base / file for file in settings.appservices.files)
    public_baseurl = (server.public_baseurl or f"https://{server.name}").rstrip("/")
    return replace(
        settings,
        server=replace(
            server,
            data_dir=data_dir,
            signing_key_path=data_dir / server.signing_key_path,
            public_baseurl=public_baseurl,
        ),
        listen=tuple(listeners),
        media=replace(settings.media, directory=data_dir / settings.media.directory),
        mail=replace(settings.mail, templates=data_dir / settings.mail.templates),
        outgoing=replace(settings.outgoing, extra_ca_files=extra_ca_files),
        appservices=replace(settings.appservices, files=registrations),
        calls=_complete_calls(settings.calls, base, public_baseurl),
    )


def _complete_calls(calls: Calls, base: Path, public_baseurl: str) -> Calls:
    """Where LiveKit and its tokens are to be had; the secret as its file has it."""
    if not calls.livekit_url:
        return calls
    secret, file = calls.api_secret, calls.api_secret_file
    if file:
        secret, file = _read_secret("calls.api_secret", secret, base / file), str(base / file)
    by_http = "http" + calls.livekit_url.removeprefix("ws")
    return replace(
        calls,
        livekit_api_url=(calls.livekit_api_url or by_http).rstrip("/"),
        api_secret=secret,
        api_secret_file=file,
        service_url=(calls.service_url or f"{public_baseurl}/livekit/jwt").rstrip("/"),
    )


def _read_secret(key: str, given: str, file: Path) -> str:
    """The content of a file that holds a secret. Raises `ConfigError`."""
    if given:
        raise ConfigError(f"{key} and {key}_file are both given; remove one.")
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}_file: {file} cannot be read: {error}.") from error
    if not secret:
        raise ConfigError(f"{key}_file: {file} is empty.")
    return secret


# -- sentences about what is wrong ------------------------------------------------------------


def _sentence(details: ErrorDetails) -> str:
    location = details["loc"]
    key = ".".join(str(part) for part in location)
    if details["type"] == "extra_forbidden":
        return f"{key} is not a setting{_suggestion(location)}"
    if details["type"] == "missing":
        return f"{key} is missing: {_how_to_set(location)}."
    message = details["msg"][:1].lower() + details["msg"][1:]
    if any(secret in str(location[-1]) for secret in SECRETS):
        return f"{key}: {message}."
    return f"{key}: {message}, not {details['input']!r}."


def _how_to_set(location: tuple[int | str, ...]) -> str:
    variable = ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in location).upper()
    return f"give it in the configuration file or as {variable}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    """The end of a sentence: `; did you mean …?` where a known key looks like this one."""
    *section, wrong = (str(part) for part in location)
    everywhere = known_keys(Settings)
    wanted = ".".join([*section, wrong])
    close = difflib.get_close_matches(wrong, _keys_at(section), 1)
    close = [".".join([*section, name]) for name in close]
    close = close or [key for key in everywhere if key.rpartition(".")[2] == wrong]
    close = close or difflib.get_close_matches(wanted, everywhere, 1, 0.75)
    return f"; did you mean {close[0]}?" if close else "."


def _keys_at(section: list[str]) -> list[str]:
    """The names that a section has; the numbers of list entries are passed over."""
    record: Any = Settings
    for part in section:
        if not part.isdigit():
            record = _record_of(get_type_hints(record).get(part))
    return list(get_type_hints(record)) if record is not None else []


def _record_of(hint: Any) -> Any:
    """The record class that a field holds one or several of."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and is_dataclass(candidate):
            return candidate
    return None


def known_keys(record: type, prefix: str = "") -> list[str]:
    """All dotted keys below a record class, sections and leaves."""
    found = []
    for name, hint in get_type_hints(record).items():
        found.append(prefix + name)
        if (inner := _record_of(hint)) is not None:
            found += known_keys(inner, f"{prefix}{name}.")
    return found


def _unknown_environment(environment: Mapping[str, str]) -> list[str]:
    """Sentences about variables that look like ours and name no section.

    Below a section pydantic finds what is unknown itself.
    """
    sections = list(get_type_hints(Settings))
    problems = []
    for variable in environment:
        section, delimiter, _ = variable.removeprefix(ENV_PREFIX).lower().partition(ENV_DELIMITER)
        if not variable.startswith(ENV_PREFIX) or not delimiter or section in sections:
            continue
        close = difflib.get_close_matches(section, sections, 1)
        hint = f"; did you mean {ENV_PREFIX}{close[0].upper()}{ENV_DELIMITER}…?" if close else "."
        problems.append(f"The environment variable {variable} is not a setting{hint}")
    return problems
