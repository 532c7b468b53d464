from typing import Any

import pytest
from hypothesis import given

from federation.protocol import canonical_json
from federation.protocol.errors import BadJson, InvalidEvent, TooLarge
from federation.protocol.event_format import MAX_EVENT_BYTES, parse_pdu, parse_stored_pdu
from federation.protocol.event_id import event_id_of
from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import V1, V2, V5, V6, V10, V11, V12, RoomVersion
from tests.strategies import versions_and_events

HASH_ROOM_ID = "!" + "r" * 43


def event(version: RoomVersion = V11, **changes: Any) -> dict[str, Any]:
    """A well-formed event; a change to `...` takes the field away."""
    fields: dict[str, Any] = {
        "auth_events": ["$a"],
        "content": {"body": "hello"},
        "depth": 5,
        "hashes": {"sha256": "x"},
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": ["$p", "$q"],
        "room_id": HASH_ROOM_ID if version is V12 else "!room:example.org",
        "sender": "@alice:example.org",
        "signatures": {"example.org": {"ed25519:1": "s"}},
        "type": "m.room.message",
    }
    if version in (V1, V2):
        fields |= {
            "event_id": "$e:example.org",
            "auth_events": [["$a", {"sha256": "x"}]],
            "prev_events": [["$p", {"sha256": "x"}], ["$q", {"sha256": "x"}]],
        }
    return {key: value for key, value in (fields | changes).items() if value is not ...}


def views(pdu: Pdu) -> list[Any]:
    return [getattr(pdu, name) for name in Pdu.__slots__]


@given(versions_and_events)
def test_parsing_keeps_everything_but_unsigned(case: tuple[RoomVersion, dict[str, Any]]) -> None:
    version, fields = case
    pdu = parse_pdu(fields, version)
    assert pdu.event_id == event_id_of(fields, version)
    assert canonical_json.decode(pdu.encoded) == {k: fields[k] for k in fields if k != "unsigned"}


@given(versions_and_events)
def test_a_stored_event_is_the_one_that_was_parsed(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    version, fields = case
    pdu = parse_pdu(fields, version)
    stored = parse_stored_pdu(pdu.encoded, version, pdu.event_id, pdu.room_id)
    assert views(stored) == views(pdu)


@pytest.mark.parametrize("version", [V1, V2, V5, V6, V11, V12], ids=lambda version: version.id)
def test_references_are_event_ids_in_all_versions(version: RoomVersion) -> None:
    pdu = parse_pdu(event(version), version)
    assert pdu.prev_events == ("$p", "$q")
    assert pdu.auth_events == ("$a",)


def test_a_known_event_id_is_not_computed_again() -> None:
    assert parse_pdu(event(), V11, event_id=EventId("$known")).event_id == "$known"


@pytest.mark.parametrize("version", [V1, V10, V11, V12], ids=lambda version: version.id)
def test_a_redaction_names_its_target_where_the_room_version_says(version: RoomVersion) -> None:
    in_content = version in (V11, V12)
    fields = event(version, redacts="$top", content={"redacts": "$content"})
    assert parse_pdu(fields, version).redacts is None
    pdu = parse_pdu(fields | {"type": "m.room.redaction"}, version)
    assert pdu.redacts == ("$content" if in_content else "$top")
    untyped = fields | {"type": "m.room.redaction", "redacts": 1, "content": {"redacts": 1}}
    assert parse_pdu(untyped, version).redacts is None


@pytest.mark.parametrize(
    "changes",
    [
        {"type": ...},
        {"type": 1},
        {"sender": ...},
        {"sender": "alice"},
        {"sender": "@alice"},
        {"sender": "@alice:bad_server"},
        {"state_key": None},
        {"state_key": 1},
        {"content": ...},
        {"content": []},
        {"hashes": ...},
        {"hashes": {}},
        {"hashes": {"sha256": 1}},
        {"signatures": ...},
        {"signatures": []},
        {"signatures": {"example.org": "x"}},
        {"depth": ...},
        {"depth": "1"},
        {"depth": True},
        {"depth": -1},
        {"origin_server_ts": ...},
        {"origin_server_ts": None},
        {"prev_events": ...},
        {"prev_events": {}},
        {"prev_events": [1]},
        {"prev_events": ["p"]},
        {"prev_events": [["$p", {}]]},
        {"prev_events": ["$p"] * 21},
        {"auth_events": ...},
        {"auth_events": ["$a"] * 11},
        {"room_id": ...},
        {"room_id": 1},
        {"room_id": "room"},
        {"room_id": HASH_ROOM_ID},
    ],
    ids=str,
)
def test_malformed_events_are_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        parse_pdu(event(**changes), V11)


def test_as_many_references_as_the_limits_say_are_allowed() -> None:
    parse_pdu(event(prev_events=["$p"] * 20, auth_events=["$a"] * 10), V11)


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": ...},
        {"event_id": 1},
        {"prev_events": ["$p"]},
        {"prev_events": [["$p"]]},
        {"prev_events": [[1, {}]]},
        {"prev_events": [["$p", "x"]]},
    ],
    ids=str,
)
def test_versions_1_and_2_name_events_and_refer_in_pairs(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        parse_pdu(event(V1, **changes), V1)


@pytest.mark.parametrize("name", ["type", "state_key", "sender"])
def test_fields_end_at_255_bytes(name: str) -> None:
    longest = "@" + "a" * 242 + ":example.org"
    assert len(longest) == 255
    parse_pdu(event() | {name: longest}, V11)
    for too_long in ("@a" + longest[1:], "@" + "é" * 130 + ":example.org"):
        with pytest.raises(TooLarge):
            parse_pdu(event() | {name: too_long}, V11)


def test_until_version_10_received_fields_are_measured_in_code_points() -> None:
    state_key = "💥" * 70
    assert parse_pdu(event(V10, state_key=state_key), V10).state_key == state_key
    with pytest.raises(TooLarge):
        parse_pdu(event(V10, state_key="💥" * 256), V10)


def test_an_event_ends_at_65536_bytes_without_its_unsigned() -> None:
    base = len(parse_pdu(event(content={"body": ""}), V11).encoded)
    fields = event(content={"body": "a" * (MAX_EVENT_BYTES - base)}, unsigned={"age": "x" * 1000})
    assert len(parse_pdu(fields, V11).encoded) == MAX_EVENT_BYTES
    fields["content"]["body"] += "a"
    with pytest.raises(TooLarge):
        parse_pdu(fields, V11)


@pytest.mark.parametrize("number", [1.5, 1.0, 2**53, -(2**53)])
def test_strange_numbers_are_allowed_until_version_5(number: float) -> None:
    pdu = parse_pdu(event(V5, content={"a": [number]}), V5)
    stored = parse_stored_pdu(pdu.encoded, V5, pdu.event_id, pdu.room_id)
    assert repr(stored.content) == repr({"a": [number]})
    with pytest.raises(BadJson):
        parse_pdu(event(V6, content={"a": [number]}), V6)


def test_depth_may_be_larger_until_version_5() -> None:
    assert parse_pdu(event(V5, depth=2**63 - 1), V5).depth == 2**63 - 1
    with pytest.raises(InvalidEvent):
        parse_pdu(event(V5, depth=2**63), V5)
    with pytest.raises(BadJson):
        parse_pdu(event(V6, depth=2**53), V6)


def test_the_create_event_of_version_12_makes_the_room_id() -> None:
    create = event(V12, type="m.room.create", state_key="", prev_events=[], auth_events=[])
    with pytest.raises(InvalidEvent):
        parse_pdu(create, V12)
    pdu = parse_pdu({k: v for k, v in create.items() if k != "room_id"}, V12)
    assert pdu.room_id == "!" + pdu.event_id[1:]
    assert b"room_id" not in pdu.encoded


@pytest.mark.parametrize("room_id", ["!room:example.org", "!short", ..., HASH_ROOM_ID + ":a"])
def test_other_events_of_version_12_are_in_a_room_named_by_hash(room_id: Any) -> None:
    with pytest.raises(InvalidEvent):
        parse_pdu(event(V12, room_id=room_id), V12)
    assert parse_pdu(event(V12), V12).room_id == HASH_ROOM_ID
