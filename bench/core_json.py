"""Operations per second of the signing core, next to the limits that orjson and libsodium set.

Run with `python -m bench.core_json`.
"""

import hashlib
import timeit
from collections.abc import Callable
from typing import Any

import orjson
from canonicaljson import encode_canonical_json
from nacl.bindings import crypto_sign, crypto_sign_open

from federation.protocol import canonical_json
from federation.protocol.build_event import build_event
from federation.protocol.content_hash import check_content_hash, content_hash
from federation.protocol.event_format import parse_pdu, parse_stored_pdu
from federation.protocol.event_id import event_id_of, reference_bytes
from federation.protocol.identifiers import (
    EventId,
    RoomId,
    ServerName,
    UserId,
    is_valid_historical_user_id,
    is_valid_room_id,
    is_valid_server_name,
)
from federation.protocol.redaction import redact
from federation.protocol.room_versions import V12
from federation.protocol.signatures import sign_bytes, signing_key_from_seed, verify_event

SERVER = ServerName("example.org")
KEY = signing_key_from_seed("a_1234", b"k" * 32)
KEYS = {SERVER: {KEY.key_id: KEY.verify_key}}
ROOM_ID = RoomId("!" + "r" * 43)

MESSAGE = {"body": "Good morning, everybody. Who is coming along tonight?", "msgtype": "m.text"}
POWER_LEVELS = {
    "ban": 50,
    "events": {f"m.room.type_{i}": 50 for i in range(12)},
    "events_default": 0,
    "invite": 0,
    "kick": 50,
    "redact": 50,
    "state_default": 50,
    "users": {f"@user{i}:example.org": 50 for i in range(50)},
    "users_default": 0,
}

Operation = Callable[[], object]


def message() -> dict[str, Any]:
    """The arguments of `build_event` for a message in a room of version 12."""
    return {
        "room_version": V12,
        "room_id": ROOM_ID,
        "sender": UserId("@alice:example.org"),
        "event_type": "m.room.message",
        "content": MESSAGE,
        "depth": 1234,
        "origin_server_ts": 1_760_000_000_000,
        "prev_events": [EventId("$" + "p" * 43)],
        "auth_events": [EventId("$" + c * 43) for c in "abc"],
        "server_name": SERVER,
        "key": KEY,
    }


def operations() -> list[tuple[str, Operation]]:
    """What is measured; a name in brackets is a limit, not ours."""
    arguments = message()
    pdu = build_event(**arguments)
    event = canonical_json.decode(pdu.encoded)
    event_bytes = pdu.encoded
    power_levels = arguments | {
        "event_type": "m.room.power_levels",
        "state_key": "",
        "content": POWER_LEVELS,
    }
    covered = reference_bytes(event, V12)
    signed = crypto_sign(covered, KEY.secret)
    return [
        ("[orjson.dumps, sorted]", lambda: orjson.dumps(event, option=orjson.OPT_SORT_KEYS)),
        ("canonical_json.encode", lambda: canonical_json.encode(event)),
        ("canonical_json.check_strict", lambda: canonical_json.check_strict(event)),
        ("[canonicaljson package]", lambda: encode_canonical_json(event)),
        ("[orjson.loads]", lambda: orjson.loads(event_bytes)),
        ("canonical_json.decode", lambda: canonical_json.decode(event_bytes)),
        ("[sha256]", lambda: hashlib.sha256(event_bytes).digest()),
        ("content_hash", lambda: content_hash(event)),
        ("check_content_hash", lambda: check_content_hash(event)),
        ("redact", lambda: redact(event, V12)),
        ("event_id_of", lambda: event_id_of(event, V12)),
        ("[libsodium sign]", lambda: crypto_sign(covered, KEY.secret)),
        ("sign_bytes", lambda: sign_bytes(covered, KEY)),
        ("[libsodium verify]", lambda: crypto_sign_open(signed, KEY.verify_key)),
        ("verify_event", lambda: verify_event(event, V12, KEYS)),
        ("build_event, a message", lambda: build_event(**arguments)),
        ("build_event, power levels of 50 users", lambda: build_event(**power_levels)),
        ("parse_pdu", lambda: parse_pdu(event, V12)),
        ("parse_stored_pdu", lambda: parse_stored_pdu(event_bytes, V12, pdu.event_id, ROOM_ID)),
        ("is_valid_server_name", lambda: is_valid_server_name(SERVER)),
        ("is_valid_historical_user_id", lambda: is_valid_historical_user_id(pdu.sender)),
        ("is_valid_room_id", lambda: is_valid_room_id(ROOM_ID)),
    ]


def seconds_of(operation: Operation) -> float:
    """The time of one call: the best of three runs of a tenth of a second."""
    timer = timeit.Timer(operation)
    count = max(1, int(0.1 / max(timer.timeit(50) / 50, 1e-7)))
    return min(timer.repeat(repeat=3, number=count)) / count


def main() -> None:
    """Print one line for each operation."""
    size = len(build_event(**message()).encoded)
    print(f"A message event of room version 12, {size} bytes\n")
    print(f"{'operation':40}{'µs':>10}{'per second':>14}")
    for name, operation in operations():
        seconds = seconds_of(operation)
        print(f"{name:40}{seconds * 1e6:10.2f}{1 / seconds:14,.0f}")


if __name__ == "__main__":
    main()
