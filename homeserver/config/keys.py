"""The signing key file, in the format that signedjson and Synapse use."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.protocol.errors import InvalidParam
from federation.protocol.signatures import (
    SigningKey,
    parse_signing_keys,
    signing_key_from_seed,
    signing_key_text,
)
from storage.durable import make_directory, sync_directory


class KeyFileError(Exception):
    """The signing key cannot be used; the message is a sentence for the operator."""


def load_signing_keys(path: Path) -> tuple[SigningKey, ...]:
    """The keys of a file; the first is the one to sign with. Raises `KeyFileError`."""
    try:
        keys = parse_signing_keys(path.read_text("ascii"))
    except FileNotFoundError:
        raise KeyFileError(f"There is no signing key {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"The signing key {path} cannot be read: {error}.") from error
    except InvalidParam as error:
        raise KeyFileError(f"The signing key {path} is malformed: {error}.") from error
    if not keys:
        raise KeyFileError(f"The signing key file {path} is empty.")
    return keys


def create_signing_key(path: Path) -> bool:
    """Make a key file that only its owner can read; False if there is one already.

    Raises `KeyFileError`.
    """
    if path.exists():
        return False
    try:
        with _written_aside(path, new_signing_key()) as partial:
            os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"The signing key {path} cannot be written: {error}.") from error
    return True


def replace_signing_key(path: Path) -> SigningKey:
    """Put a new key in the place of all that the file holds, and return it.

    The file keeps its owner. Raises `KeyFileError`.
    """
    key = new_signing_key()
    try:
        before = path.stat()
        with _written_aside(path, key) as partial:
            if os.geteuid() == 0:
                os.chown(partial, before.st_uid, before.st_gid)
            partial.replace(path)
    except OSError as error:
        raise KeyFileError(f"The signing key {path} cannot be replaced: {error}.") from error
    return key


def new_signing_key() -> SigningKey:
    """A key that nobody else has, with a name that this server has never used."""
    return signing_key_from_seed("a_" + secrets.token_hex(3), secrets.token_bytes(32))


@contextmanager
def _written_aside(path: Path, key: SigningKey) -> Iterator[Path]:
    """A file beside `path` with the key, complete on disk, and removed if it is still there.

    So the key file appears whole or not at all: a half-written key would be an identity lost.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        make_directory(path.parent)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as written:
            written.write(signing_key_text(key))
            written.flush()
            os.fsync(written.fileno())
        yield partial
        sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)
