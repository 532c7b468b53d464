"""What a backup says of itself: a head at the beginning, a manifest with all checksums at the end.

Both are JSON. What a later version adds, an earlier one does not understand: then the number of the
format rises.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

from homeserver.config.model import ENV_DELIMITER, ENV_PREFIX

FORMAT = 1
HEAD = "hearth-backup.json"
MANIFEST = "manifest.json"
MANIFEST_SUM = "manifest.sha256"
DATABASE = "database/"
FILES = "files/"
MEDIA = "media/"

ALL, INDEX = "all", "index"
"""What a backup has of media: the files, or only what the database knows of them."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of the configuration: its name in the backup, and where it was.

    `base` is what `path` is relative to: "config" for the directory of the configuration, "data"
    for the data directory, "" for an absolute path.
    """

    part: str
    base: str
    path: str


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A table and its columns."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What is known when a backup begins."""

    server_name: str
    hearth: str
    made_ts: int
    position: int
    postgres: str
    media: str
    migrations: Mapping[int, str]
    """The checksums of the migrations that made the database's shape, by number."""
    tables: tuple[KeptTable, ...]
    sequences: Mapping[str, int | None]
    files: tuple[KeptFile, ...]
    """The first one is the configuration."""
    environment: Mapping[str, str]
    """Settings that came from the environment."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Part:
    """The checksum and size of a part as it is in the archive, and its rows if it is a table."""

    sha256: str
    size: int
    rows: int | None = None


@dataclass(slots=True)
class Manifest:
    """What is known when a backup ends."""

    finished_ts: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    media_files: int = 0
    media_bytes: int = 0
    media_missing: list[str] = field(default_factory=list)
    """Keys of files that were not in the store."""


def is_setting(name: str) -> bool:
    """Whether a variable of the environment is one of our settings."""
    return name.startswith(ENV_PREFIX) and ENV_DELIMITER in name


def encode(value: Head | Manifest) -> bytes:
    """As JSON that people can read."""
    return json.dumps(asdict(value), indent=1, sort_keys=True).encode()


def decode_head(text: bytes) -> Head:
    """What `encode` was given. Raises `ValueError`, `KeyError` or `TypeError`."""
    values = json.loads(text)
    _check_places(values["files"])
    if not all(map(is_setting, values["environment"])):
        raise ValueError("A variable is no setting")
    return Head(
        **{
            **values,
            "migrations": {int(number): value for number, value in values["migrations"].items()},
            "tables": tuple(
                KeptTable(one["name"], tuple(one["columns"])) for one in values["tables"]
            ),
            "files": tuple(KeptFile(**one) for one in values["files"]),
        }
    )


def _check_places(files: Any) -> None:
    """Raise `ValueError` for a file that is said to be in one place and leads to another."""
    for one in files:
        is_anywhere = {"config": False, "data": False, "": True}[one["base"]]
        if PurePath(one["path"]).is_absolute() != is_anywhere:
            raise ValueError("A file has no place")


def format_of(text: bytes) -> Any:
    """The number of the format of a head. Raises `ValueError`, `KeyError` or `TypeError`."""
    return json.loads(text)["format"]


def decode_manifest(text: bytes) -> Manifest:
    """What `encode` was given. Raises `ValueError`, `KeyError` or `TypeError`."""
    values = json.loads(text)
    parts = {name: Part(**part) for name, part in values["parts"].items()}
    return Manifest(**{**values, "parts": parts})
