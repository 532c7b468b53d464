"""The files of the configuration that a backup has: what the settings name, wherever that is.

That is the configuration itself, the signing key, registrations of bridges, certificates and
templates: every path in the settings that leads to a file. So a new setting needs nothing here.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from homeserver.backup.contents import FILES, KeptFile
from homeserver.config.settings import Settings

MOST_BYTES = 16 << 20
"""A larger file is no configuration."""


def named_files(settings: Settings, config_file: Path) -> list[Path]:
    """The configuration first, then what it names, each once."""
    found = [config_file.absolute()]
    left_out = {settings.server.data_dir, settings.media.directory}
    for path in _paths(settings):
        if path in left_out:
            continue
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [one for one in inside if one.is_file() and one.stat().st_size <= MOST_BYTES]
    return list(dict.fromkeys(found))


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _paths(item)
    elif is_dataclass(value):
        for one in fields(value):
            yield from _paths(getattr(value, one.name))


def describe(paths: list[Path], config_file: Path, data_dir: Path) -> list[KeptFile]:
    """How files are called in a backup."""
    kept = []
    for number, path in enumerate(paths):
        base, relative = _place(path, config_file.absolute().parent, data_dir)
        kept.append(KeptFile(f"{FILES}{number:03}-{path.name[-60:]}", base, relative))
    return kept


def _place(path: Path, config_dir: Path, data_dir: Path) -> tuple[str, str]:
    for base, directory in (("data", data_dir), ("config", config_dir)):
        if path.is_relative_to(directory):
            return base, str(path.relative_to(directory))
    return "", str(path)


def target_of(file: KeptFile, config_dir: Path, data_dir: Path) -> Path:
    """Where a file goes when it is restored."""
    base = {"data": data_dir, "config": config_dir, "": Path("/")}[file.base]
    return base / file.path
