import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from federation.protocol.content_hash import check_content_hash, content_hash
from federation.protocol.event_id import reference_hash
from federation.protocol.redaction import redact, redact_content
from federation.protocol.room_versions import ROOM_VERSIONS, V10, V11, RoomVersion
from tests.strategies import versions_and_events

TABLE = json.loads((Path(__file__).parent.parent / "vectors/redaction.json").read_text())
VersionAndEvent = tuple[RoomVersion, dict[str, Any]]

by_version = pytest.mark.parametrize(
    "version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}"
)


@given(versions_and_events)
def test_redacting_twice_is_redacting_once(case: VersionAndEvent) -> None:
    version, event = case
    redacted = redact(event, version)
    assert redact(redacted, version) == redacted


@given(versions_and_events)
def test_redacting_only_takes_away(case: VersionAndEvent) -> None:
    version, event = case
    redacted = redact(event, version)
    assert redacted.keys() <= event.keys() - {"unsigned"}
    assert all(redacted[key] == event[key] for key in redacted if key != "content")
    assert redacted["content"].keys() <= event["content"].keys()


@given(versions_and_events)
def test_redacting_leaves_the_reference_hash_as_it_was(case: VersionAndEvent) -> None:
    version, event = case
    assert reference_hash(redact(event, version), version) == reference_hash(event, version)


@given(versions_and_events)
def test_redacting_does_not_touch_its_argument(case: VersionAndEvent) -> None:
    version, event = case
    before = json.dumps(event)
    redact(event, version)
    assert json.dumps(event) == before


@by_version
def test_the_event_keeps_the_keys_that_the_room_version_lists(version: RoomVersion) -> None:
    kept = set(TABLE["always_kept"])
    if int(version.id) <= 10:
        kept |= set(TABLE["kept_until_version_10"])
    event = dict.fromkeys([*kept, "unsigned", "redacts", "origin", "membership", "prev_state", "x"])
    assert redact(event, version).keys() == kept


@by_version
def test_the_content_keeps_the_keys_that_the_room_version_lists(version: RoomVersion) -> None:
    all_keys = {key for row in TABLE["content"] for key in row["keys"]} | {"body", "x"}
    content = dict.fromkeys(all_keys, 1)
    rows = [r for r in TABLE["content"] if r["versions"][0] <= int(version.id) <= r["versions"][1]]
    assert len({row["type"] for row in rows}) == len(rows) >= 8
    for row in rows:
        assert redact_content(row["type"], content, version).keys() == set(row["keys"])


@pytest.mark.parametrize("version", ["11", "12"])
def test_a_create_event_keeps_all_of_its_content_from_version_11_on(version: str) -> None:
    content = {"m.federate": False, "room_version": version, "anything": [1]}
    assert redact_content("m.room.create", content, ROOM_VERSIONS[version]) == content


def test_a_third_party_invite_keeps_only_what_is_signed_from_version_11_on() -> None:
    content = {
        "membership": "invite",
        "third_party_invite": {"display_name": "a", "signed": {"token": "t"}},
    }
    assert redact_content("m.room.member", content, V10) == {"membership": "invite"}
    assert redact_content("m.room.member", content, V11) == {
        "membership": "invite",
        "third_party_invite": {"signed": {"token": "t"}},
    }


@by_version
@pytest.mark.parametrize("content", [None, [], "text", 1])
def test_content_of_a_wrong_type_is_emptied(version: RoomVersion, content: Any) -> None:
    assert redact({"type": "m.room.create", "content": content}, version)["content"] == {}
    assert (
        redact({"type": ["m.room.member"], "content": {"membership": 1}}, version)["content"] == {}
    )


def test_a_redacted_message_fails_its_content_hash() -> None:
    event: dict[str, Any] = {"type": "m.room.message", "content": {"body": "secret"}}
    event["hashes"] = {"sha256": content_hash(event)}
    assert check_content_hash(event)
    assert not check_content_hash(redact(event, V11))
