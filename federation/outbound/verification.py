"""Checking many signatures without holding up the event loop.

libsodium works without the interpreter's lock, so threads check side by side.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from federation.outbound.keyring import Keyring
from federation.outbound.ports import Wanted
from federation.protocol.errors import MatrixError, SignatureInvalid
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.policy_server import KEY_ID
from federation.protocol.room_versions import RoomVersion
from federation.protocol.server_keys import VerifyKey, is_key_valid_at
from federation.protocol.signatures import (
    signature_servers_needed,
    signatures_of,
    verify_bytes,
    verify_event,
)

T = TypeVar("T")
R = TypeVar("R")
Fields = Mapping[str, Any]

AT_ONCE = 4
"""So few are checked where they are: handing them to a thread would take longer."""
MIN_FOR_A_THREAD = 32


@dataclass(frozen=True, slots=True)
class Signed:
    """A message with a signature in Base64, as JSON carries it, and the key to check it with."""

    message: bytes
    signature: object
    key: bytes


async def verify_many(items: Sequence[Signed]) -> list[SignatureInvalid | None]:
    """What is wrong with each signature, None for those that match."""
    return await map_in_threads(_problem_of, items)


async def verify_events(
    keyring: Keyring, events: Sequence[Fields], room_version: RoomVersion
) -> list[MatrixError | None]:
    """What is wrong with the signatures of each event of a room, None for what passes.

    Checks that all servers that must have signed did so, with keys that were valid at the event's
    time. The keys of all events are looked up together.
    """
    keys = await keyring.verify_keys(keys_wanted(events, room_version))
    return await map_in_threads(lambda event: _check_event(event, room_version, keys), events)


def keys_wanted(events: Sequence[Fields], room_version: RoomVersion) -> Wanted:
    """The keys that signed the events, each with the time up to which it has to be valid."""
    wanted: dict[ServerName, dict[KeyId, int]] = {}
    for fields in events:
        needed_ts = _time_of(fields) if room_version.enforce_key_validity else 0
        for server_name in _signers(fields, room_version):
            of_server = wanted.setdefault(server_name, {})
            for key_id in signatures_of(fields, server_name):
                # Rooms have the keys of their policy servers; nobody publishes them.
                if key_id == KEY_ID:
                    continue
                of_server[key_id] = max(of_server.get(key_id, 0), needed_ts)
    return wanted


async def map_in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of some work in order, done in threads if there is much of it."""
    if len(items) <= AT_ONCE:
        return [work(item) for item in items]
    parts = max(min(len(items) // MIN_FOR_A_THREAD, os.cpu_count() or 1), 1)
    size = -(-len(items) // parts)
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    done = await asyncio.gather(
        *(asyncio.to_thread(lambda part: [work(item) for item in part], chunk) for chunk in chunks)
    )
    return [result for part in done for result in part]


def _check_event(
    fields: Fields,
    room_version: RoomVersion,
    keys: Mapping[ServerName, Mapping[KeyId, VerifyKey]],
) -> MatrixError | None:
    time_ts = _time_of(fields)
    try:
        counting = {
            server_name: {
                key_id: key.key
                for key_id, key in keys.get(server_name, {}).items()
                if is_key_valid_at(key, time_ts, room_version)
            }
            for server_name in signature_servers_needed(fields, room_version)
        }
        verify_event(fields, room_version, counting)
    except MatrixError as error:
        return error
    return None


def _signers(fields: Fields, room_version: RoomVersion) -> Sequence[ServerName]:
    """The servers that must have signed; none where the event does not even name them."""
    try:
        return signature_servers_needed(fields, room_version)
    except MatrixError:
        return ()


def _time_of(fields: Fields) -> int:
    time_ts = fields.get("origin_server_ts")
    return time_ts if type(time_ts) is int else 0


def _problem_of(item: Signed) -> SignatureInvalid | None:
    try:
        verify_bytes(item.message, item.signature, item.key)
    except SignatureInvalid as error:
        return error
    return None
