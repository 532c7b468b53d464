from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol import canonical_json
from federation.protocol.build_event import build_event, complete_event, cosign_event
from federation.protocol.content_hash import check_content_hash
from federation.protocol.errors import BadJson, InvalidEvent, TooLarge
from federation.protocol.event_format import MAX_EVENT_BYTES, parse_pdu
from federation.protocol.identifiers import EventId, RoomId, ServerName, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import (
    ROOM_VERSIONS,
    V1,
    V5,
    V6,
    V10,
    V11,
    V12,
    EventFormat,
    RoomVersion,
)
from federation.protocol.signatures import signing_key_from_seed, verify_event
from tests import strategies as some

OURS, THEIRS = ServerName("ours.org"), ServerName("theirs.org")
KEY = signing_key_from_seed("1", b"1" * 32)
THEIR_KEY = signing_key_from_seed("2", b"2" * 32)
KEYS = {OURS: {KEY.key_id: KEY.verify_key}, THEIRS: {THEIR_KEY.key_id: THEIR_KEY.verify_key}}
HASH_ROOM_ID = RoomId("!" + "r" * 43)
HASHES = {EventId(f"${i}"): {"sha256": str(i)} for i in range(30)}


def build(version: RoomVersion, **changes: Any) -> Pdu:
    in_pairs = version.event_format is EventFormat.V1
    arguments: dict[str, Any] = {
        "room_version": version,
        "room_id": HASH_ROOM_ID if version is V12 else RoomId("!room:ours.org"),
        "sender": UserId("@alice:ours.org"),
        "event_type": "m.room.message",
        "content": {"body": "hello", "msgtype": "m.text"},
        "depth": 7,
        "origin_server_ts": 1_700_000_000_000,
        "prev_events": [EventId("$1"), EventId("$2")],
        "auth_events": [EventId("$3")],
        "server_name": OURS,
        "key": KEY,
        "opaque_id": "opaque" if in_pairs else None,
        "hashes_of": HASHES if in_pairs else None,
    }
    return build_event(**(arguments | changes))


def views(pdu: Pdu) -> list[Any]:
    return [getattr(pdu, name) for name in Pdu.__slots__]


def check_complete(pdu: Pdu) -> None:
    """Check what another server would: format, event ID, signature, content hash."""
    fields = canonical_json.decode(pdu.encoded)
    assert views(parse_pdu(fields, pdu.room_version)) == views(pdu)
    assert check_content_hash(fields)
    verify_event(fields, pdu.room_version, KEYS)


@given(some.room_versions, some.redactable_events, st.none() | some.json_text)
def test_a_built_event_passes_all_checks_of_other_servers(
    version: RoomVersion, type_and_content: tuple[str, dict[str, Any]], state_key: str | None
) -> None:
    event_type, content = type_and_content
    content.pop("join_authorised_via_users_server", None)
    makes_room = version is V12 and event_type == "m.room.create"
    changes = {"room_id": None} if makes_room else {}
    redacts = EventId("$target") if event_type == "m.room.redaction" else None
    pdu = build(
        version,
        event_type=event_type,
        content=content,
        state_key=state_key,
        redacts=redacts,
        **changes,
    )
    check_complete(pdu)
    assert pdu.redacts == redacts


@given(some.lax_json_objects)
def test_until_version_5_content_may_hold_any_number(content: dict[str, Any]) -> None:
    check_complete(build(V5, content=content))


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.id)
def test_the_same_arguments_give_the_same_event(version: RoomVersion) -> None:
    first, second = build(version), build(version)
    assert first.encoded == second.encoded
    assert first.event_id == second.event_id


def test_versions_1_and_2_name_the_event_and_refer_with_hashes() -> None:
    pdu = build(V1)
    fields = canonical_json.decode(pdu.encoded)
    assert pdu.event_id == fields["event_id"] == "$opaque:ours.org"
    assert fields["prev_events"] == [["$1", {"sha256": "1"}], ["$2", {"sha256": "2"}]]
    with pytest.raises(ValueError, match="opaque_id"):
        build(V1, opaque_id=None)


def test_the_create_event_of_version_12_has_no_room_id() -> None:
    create = {"event_type": "m.room.create", "state_key": "", "content": {"room_version": "12"}}
    pdu = build(V12, room_id=None, prev_events=[], auth_events=[], **create)
    check_complete(pdu)
    assert pdu.room_id == "!" + pdu.event_id[1:]
    with pytest.raises(InvalidEvent):
        build(V12, **create)
    with pytest.raises(InvalidEvent):
        build(V12, room_id=None)
    with pytest.raises(InvalidEvent):
        build(V11, room_id=None)


def test_redacts_moved_into_the_content_in_version_11() -> None:
    redaction = {"event_type": "m.room.redaction", "content": {"reason": "spam"}}
    before = build(V10, redacts=EventId("$target"), **redaction)
    after = build(V11, redacts=EventId("$target"), **redaction)
    assert before.content == {"reason": "spam"}
    assert canonical_json.decode(before.encoded)["redacts"] == "$target"
    assert after.content == {"reason": "spam", "redacts": "$target"}
    assert "redacts" not in canonical_json.decode(after.encoded)
    assert redaction["content"] == {"reason": "spam"}


def test_content_without_canonical_form_is_refused() -> None:
    for content in ({"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}, {1: 2}):
        with pytest.raises(BadJson):
            build(V6, content=content)


@pytest.mark.parametrize("version", [V1, V10, V11, V12], ids=lambda version: version.id)
def test_our_events_keep_the_limits_in_bytes(version: RoomVersion) -> None:
    for changes in ({"state_key": "é" * 128}, {"event_type": "t" * 256}):
        with pytest.raises(TooLarge):
            build(version, **changes)
    with pytest.raises(InvalidEvent):
        build(version, prev_events=list(HASHES)[:21])
    with pytest.raises(InvalidEvent):
        build(version, auth_events=list(HASHES)[:11])


def test_an_event_ends_at_65536_bytes_with_its_signature() -> None:
    base = len(build(V11, content={"body": ""}).encoded)
    at_limit = build(V11, content={"body": "a" * (MAX_EVENT_BYTES - base)})
    assert len(at_limit.encoded) == MAX_EVENT_BYTES
    with pytest.raises(TooLarge):
        build(V11, content={"body": "a" * (MAX_EVENT_BYTES - base + 1)})


def test_a_room_at_the_highest_depth_stays_there() -> None:
    assert build(V11, depth=2**53).depth == 2**53 - 1
    assert build(V5, depth=2**63).depth == 2**63 - 1


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.id)
def test_a_template_of_another_server_becomes_our_event(version: RoomVersion) -> None:
    template = canonical_json.decode(build(version).encoded) | {"unsigned": {"a": 1}, "extra": 1.5}
    template["signatures"] = {"evil.org": {"ed25519:1": "x"}}
    pdu = complete_event(template, version, OURS, KEY, opaque_id="opaque")
    check_complete(pdu)
    assert views(pdu) == views(build(version))


@pytest.mark.parametrize(
    "missing", ["sender", "type", "room_id", "prev_events", "depth", "content"]
)
def test_an_incomplete_template_is_refused(missing: str) -> None:
    template = canonical_json.decode(build(V11).encoded)
    del template[missing]
    with pytest.raises(InvalidEvent):
        complete_event(template, V11, OURS, KEY)


def test_a_second_server_signs_the_same_event() -> None:
    content = {"membership": "join", "join_authorised_via_users_server": "@bob:theirs.org"}
    pdu = build(V11, event_type="m.room.member", state_key="@alice:ours.org", content=content)
    signed = cosign_event(pdu, THEIRS, THEIR_KEY)
    assert signed.event_id == pdu.event_id
    check_complete(signed)
