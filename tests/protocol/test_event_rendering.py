"""What clients see of an event."""

from typing import Any

import orjson
import pytest

from federation.protocol import canonical_json
from federation.protocol.event_rendering import (
    build_stripped_event,
    dump_event,
    render_client_event,
    render_federation_event,
    render_stripped_event,
)
from federation.protocol.room_versions import ROOM_VERSIONS, V1, V5, V10, V11, V12, RoomVersion

EVENT: dict[str, Any] = {
    "auth_events": ["$auth"],
    "content": {"body": "Hello", "msgtype": "m.text"},
    "depth": 4,
    "hashes": {"sha256": "hash"},
    "origin": "example.org",
    "origin_server_ts": 1700000000000,
    "prev_events": ["$prev"],
    "room_id": "!room:example.org",
    "sender": "@alice:example.org",
    "signatures": {"example.org": {"ed25519:a": "signature"}},
    "type": "m.room.message",
}
STATE = EVENT | {"type": "m.room.name", "state_key": "", "content": {"name": "A room"}}


def rendered(
    event: dict[str, Any],
    version: RoomVersion = V12,
    room_id: str | None = None,
    unsigned: bytes | None = None,
) -> Any:
    encoded = canonical_json.encode_lax(event)
    return orjson.loads(render_client_event(encoded, "$event", room_id, unsigned, version))


def test_a_message_keeps_only_what_clients_know() -> None:
    assert rendered(EVENT) == {
        "content": {"body": "Hello", "msgtype": "m.text"},
        "event_id": "$event",
        "origin_server_ts": 1700000000000,
        "sender": "@alice:example.org",
        "type": "m.room.message",
    }


def test_the_room_id_is_there_when_asked_for() -> None:
    assert "room_id" not in rendered(EVENT)
    assert rendered(EVENT, room_id="!other")["room_id"] == "!other"


@pytest.mark.parametrize("state_key", ["", "@bob:example.org"])
def test_a_state_event_keeps_its_state_key(state_key: str) -> None:
    assert rendered(EVENT | {"state_key": state_key})["state_key"] == state_key


def test_unsigned_is_put_in_place_as_it_is() -> None:
    unsigned = b'{"age":12,"transaction_id":"t"}'
    assert rendered(EVENT, unsigned=unsigned)["unsigned"] == {"age": 12, "transaction_id": "t"}
    assert "unsigned" not in rendered(EVENT)


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.id)
def test_a_redaction_names_its_target_in_both_places(version: RoomVersion) -> None:
    redaction = EVENT | {"type": "m.room.redaction", "content": {"reason": "spam"}}
    if version.redacts_in_content:
        redaction["content"] = {"reason": "spam", "redacts": "$target"}
    else:
        redaction["redacts"] = "$target"
    shown = rendered(redaction, version)
    assert shown["redacts"] == "$target"
    assert shown["content"] == {"reason": "spam", "redacts": "$target"}


@pytest.mark.parametrize(("version", "true_target"), [(V10, "$top"), (V11, "$content")])
def test_the_target_is_taken_from_where_the_room_version_keeps_it(
    version: RoomVersion, true_target: str
) -> None:
    redaction = EVENT | {
        "type": "m.room.redaction",
        "redacts": "$top",
        "content": {"redacts": "$content"},
    }
    shown = rendered(redaction, version)
    assert (shown["redacts"], shown["content"]["redacts"]) == (true_target, true_target)


def test_a_redacted_redaction_names_nothing() -> None:
    shown = rendered(EVENT | {"type": "m.room.redaction", "content": {}})
    assert "redacts" not in shown
    assert shown["content"] == {}


def test_redacts_of_other_events_is_left_alone() -> None:
    assert "redacts" not in rendered(EVENT | {"redacts": "$x"}, V5)


@pytest.mark.parametrize("version", [V1, V5])
@pytest.mark.parametrize("number", [1.5, 2**53, 2**64, -(2**70), 10**40])
def test_numbers_of_old_room_versions_survive(version: RoomVersion, number: float) -> None:
    encoded = canonical_json.encode_lax(EVENT | {"content": {"n": number}})
    answer = render_client_event(encoded, "$event", None, b'{"age":1}', version)
    shown = canonical_json.decode(answer)
    assert shown["content"] == {"n": number}
    assert type(shown["content"]["n"]) is type(number)
    assert shown["unsigned"] == {"age": 1}


def test_stripped_state_has_four_fields() -> None:
    expected = {
        "content": {"name": "A room"},
        "sender": "@alice:example.org",
        "state_key": "",
        "type": "m.room.name",
    }
    assert build_stripped_event(STATE) == expected
    assert orjson.loads(render_stripped_event(canonical_json.encode(STATE), V12)) == expected


def test_the_federation_format_is_what_was_signed() -> None:
    encoded = canonical_json.encode(EVENT)
    assert render_federation_event(encoded) == encoded
    with_unsigned = orjson.loads(render_federation_event(encoded, b'{"age":1}'))
    assert with_unsigned == EVENT | {"unsigned": {"age": 1}}


def test_integers_of_any_size_are_told_also_of_the_content_before() -> None:
    before = {"prev_content": {"n": -(10**30), "text": "ü"}}
    event = {"content": {"n": 10**30}, "type": "m.room.topic", "unsigned": before}
    assert canonical_json.decode(dump_event(event)) == event
    event["content"] = {}
    assert canonical_json.decode(dump_event(event)) == event
