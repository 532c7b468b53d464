"""Rules for `m.room.create`."""

import json
from dataclasses import replace
from typing import Any

import pytest

from federation.protocol.auth_rules.create import check_create
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.identifiers import UserId
from federation.protocol.pdu import Pdu
from federation.protocol.room_versions import ROOM_VERSIONS
from tests.room_factory import BOB, CAROL, Room

ALL = tuple(ROOM_VERSIONS)
BEFORE_12 = ALL[:11]
LONG_USER = "@" + "x" * 250 + ":hub.example"


def verdict(event: Pdu) -> str | None:
    try:
        check_create(event)
    except AuthRuleFailed as failure:
        return failure.rule
    return None


def create(version: str, **content: Any) -> Pdu:
    return Room(version, content=content).create


@pytest.mark.parametrize("version", ALL)
def test_an_ordinary_create_event_is_allowed(version: str) -> None:
    assert verdict(create(version)) is None


@pytest.mark.parametrize("version", ALL)
def test_a_create_event_has_no_predecessor(version: str) -> None:
    event = replace(create(version), prev_events=(create(version).event_id,))
    assert verdict(event) == "create.prev_events"


@pytest.mark.parametrize("version", BEFORE_12)
def test_the_room_id_is_of_the_senders_server(version: str) -> None:
    assert verdict(replace(create(version), sender=UserId(CAROL))) == "create.room_id"


def test_a_create_event_of_version_12_names_no_room_id() -> None:
    event = create("12")
    named = json.dumps(json.loads(event.encoded) | {"room_id": "!create"}).encode()
    assert verdict(replace(event, encoded=named)) == "create.room_id"
    assert verdict(replace(event, sender=UserId(CAROL))) is None


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("declared", ["unheard-of", 11, None, []])
def test_the_declared_version_is_a_known_one(version: str, declared: object) -> None:
    assert verdict(create(version, room_version=declared)) == "create.room_version"


@pytest.mark.parametrize("version", ALL)
def test_the_content_names_the_creator_until_version_10(version: str) -> None:
    event = create(version)
    content = {k: v for k, v in event.content.items() if k != "creator"}
    expected = "create.creator" if int(version) <= 10 else None
    assert verdict(replace(event, content=content)) == expected


@pytest.mark.parametrize("creators", [BOB, {}, None, [BOB, 1], ["bob"], [BOB, ""], [LONG_USER]])
def test_additional_creators_are_user_ids(creators: object) -> None:
    assert verdict(create("12", additional_creators=creators)) == "create.additional_creators"
    assert verdict(create("11", additional_creators=creators)) is None


@pytest.mark.parametrize("creators", [[], [BOB, CAROL], ["@Old Name!:hub.example"]])
def test_additional_creators_may_be_none_many_or_historical(creators: list[str]) -> None:
    assert verdict(create("12", additional_creators=creators)) is None
