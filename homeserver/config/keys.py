"""The signing key file, in the format that signedjson and Synapse use."""

import os
import secrets
from pathlib import Path

from federation.protocol.errors import InvalidParam
from federation.protocol.signatures import (
    SigningKey,
    parse_signing_keys,
    signing_key_from_seed,
    signing_key_text,
)


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

    The file appears whole or not at all: a half-written key would be an identity lost.
    Raises `KeyFileError`.
    """
    if path.exists():
        return False
    version = "a_" + secrets.token_hex(3)
    text = signing_key_text(signing_key_from_seed(version, secrets.token_bytes(32)))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"The signing key {path} cannot be written: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return True
