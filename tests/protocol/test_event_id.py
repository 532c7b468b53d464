from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given

from federation.protocol.errors import InvalidEvent
from federation.protocol.event_id import (
    event_id_of,
    reference_hash,
    reference_hashes,
    room_id_of_create_event,
)
from federation.protocol.identifiers import EventId, is_hash_room_id
from federation.protocol.redaction import redact
from federation.protocol.room_versions import V1, V3, V4, V12, EventFormat, RoomVersion
from tests.strategies import versions_and_events

CREATE = {
    "auth_events": [],
    "content": {"creator": "@a:domain", "room_version": "5"},
    "depth": 1,
    "hashes": {"sha256": "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},
    "origin_server_ts": 1000000,
    "prev_events": [],
    "room_id": "!x:domain",
    "sender": "@a:domain",
    "state_key": "",
    "type": "m.room.create",
}


@given(versions_and_events)
def test_the_reference_hash_covers_the_redacted_event_without_signatures(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    version, event = case
    covered = {k: v for k, v in redact(event, version).items() if k != "signatures"}
    assert reference_hash(event, version) == sha256(encode_canonical_json(covered)).digest()


@given(versions_and_events)
def test_signatures_and_unsigned_do_not_change_the_event_id(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    version, event = case
    other = event | {"signatures": {"a": {"ed25519:1": "x"}}, "unsigned": {"age": 1}}
    assert event_id_of(event, version) == event_id_of(other, version)


@given(versions_and_events)
def test_the_event_id_is_given_in_versions_1_and_2_and_computed_from_3_on(
    case: tuple[RoomVersion, dict[str, Any]],
) -> None:
    version, event = case
    event_id = event_id_of(event, version)
    if version.event_format is EventFormat.V1:
        assert event_id == event["event_id"]
        return
    text = urlsafe_b64encode(reference_hash(event, version)).decode().rstrip("=")
    assert event_id.replace("+", "-").replace("/", "_") == "$" + text
    assert version.event_format is EventFormat.V3 or event_id == "$" + text


def test_the_same_hash_is_spelled_differently_in_versions_3_and_4() -> None:
    standard, urlsafe = event_id_of(CREATE, V3), event_id_of(CREATE, V4)
    assert standard.translate({ord("+"): "-", ord("/"): "_"}) == urlsafe
    assert len(urlsafe) == 44


def test_an_event_of_version_1_names_itself() -> None:
    with pytest.raises(InvalidEvent):
        event_id_of(CREATE, V1)
    assert event_id_of(CREATE | {"event_id": "$0:domain"}, V1) == "$0:domain"


def test_references_in_version_1_carry_the_reference_hash() -> None:
    event = CREATE | {"event_id": "$0:domain"}
    assert reference_hashes(event, V1)["sha256"] == event_id_of(event, V3)[1:]


def test_a_create_event_of_version_12_gives_the_room_its_id() -> None:
    event = {key: value for key, value in CREATE.items() if key != "room_id"}
    room_id = room_id_of_create_event(event_id_of(event, V12))
    assert is_hash_room_id(room_id)
    assert EventId("$" + room_id[1:]) == event_id_of(event, V12)
