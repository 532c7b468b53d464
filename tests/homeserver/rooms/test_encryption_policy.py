"""Rooms that are encrypted by the server's policy, and that encrypted rooms stay encrypted."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.rooms.asking import state_content, whole_state
from tests.homeserver.rooms.test_room_settings import homes_with, make_admin
from tests.homeserver.rooms.test_upgrade import upgrade

MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
ROTATING = {**MEGOLM, "rotation_period_msgs": 7}
SPACE = {"creation_content": {"type": "m.space"}}


def initially(event_type: str, content: Any) -> dict[str, Any]:
    return {"initial_state": [{"type": event_type, "state_key": "", "content": content}]}


async def encryption_of(client: Client, room_id: str) -> Any:
    """The content of the room's encryption event; None if there is none."""
    answer = await client.get(f"v3/rooms/{quote(room_id)}/state/m.room.encryption/")
    return answer.ok() if answer.status == 200 else None


PRIVATE: list[dict[str, Any]] = [
    {},
    {"preset": "private_chat"},
    {"preset": "trusted_private_chat"},
    {"preset": "public_chat", "is_direct": True},
    {"preset": "public_chat", **initially("m.room.join_rules", {"join_rule": "invite"})},
    initially("m.room.join_rules", {"join_rule": "public"}),
]
PUBLIC: list[dict[str, Any]] = [{"preset": "public_chat"}, {"visibility": "public"}]


async def test_without_a_policy_a_room_is_what_its_creator_wants(homes: Homes) -> None:
    alice = await homes.user()
    for asked in (*PRIVATE, *PUBLIC):
        assert await encryption_of(alice, await alice.create_room(**asked)) is None
    room_id = await alice.create_room(**initially("m.room.encryption", ROTATING))
    assert await encryption_of(alice, room_id) == ROTATING


@pytest.mark.parametrize(("policy", "public"), [("private", None), ("all", MEGOLM)])
async def test_the_policy_encrypts_new_rooms(
    database_url: str, tmp_path: Path, policy: str, public: Any
) -> None:
    async with homes_with(database_url, tmp_path, encryption=policy) as homes:
        alice = await homes.user()
        for asked in PRIVATE:
            assert await encryption_of(alice, await alice.create_room(**asked)) == MEGOLM
        for asked in PUBLIC:
            assert await encryption_of(alice, await alice.create_room(**asked)) == public
        assert await encryption_of(alice, await alice.create_room(**SPACE)) is None
        features = (await alice.get("versions")).ok()["unstable_features"]
        forced = [features[f"io.element.e2ee_forced.{name}"] for name in ("public", "private")]
        assert forced == [policy == "all", True]
        assert features["io.element.e2ee_forced.trusted_private"] is True


async def test_what_a_creator_asks_for_cannot_weaken_the_policy(
    database_url: str, tmp_path: Path
) -> None:
    async with homes_with(database_url, tmp_path, encryption="private") as homes:
        alice = await homes.user()
        for content, expected in (
            ({}, MEGOLM),
            ({"algorithm": ""}, MEGOLM),
            ({"algorithm": "none"}, MEGOLM),
            (ROTATING, ROTATING),
        ):
            room_id = await alice.create_room(**initially("m.room.encryption", content))
            assert await encryption_of(alice, room_id) == expected


async def test_encryption_is_not_turned_off_again(homes: Homes) -> None:
    alice, root = await homes.user(), await homes.user()
    await make_admin(homes, root)
    room_id = await alice.create_room(preset="public_chat")
    await root.join(room_id)
    await alice.set_state(room_id, "m.room.power_levels", {"users": {root.user_id: 100}})
    await alice.set_state(room_id, "m.room.encryption", MEGOLM)
    path = f"v3/rooms/{quote(room_id)}/state/m.room.encryption"
    for client in (alice, root):
        for content in ({}, {"algorithm": ""}, {"algorithm": "m.other"}, {"rotation_period_ms": 1}):
            (await client.put(path, content)).refused(403, "M_FORBIDDEN")
    await alice.set_state(room_id, "m.room.encryption", ROTATING)
    assert await encryption_of(alice, room_id) == ROTATING


async def test_the_encryption_of_state_is_not_turned_off_again(homes: Homes) -> None:
    alice = await homes.user()
    with_state = {**MEGOLM, "io.element.msc4362.encrypt_state_events": True}
    room_id = await alice.create_room(**initially("m.room.encryption", with_state))
    path = f"v3/rooms/{quote(room_id)}/state/m.room.encryption"
    (await alice.put(path, MEGOLM)).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_the_event_that_encrypts_a_room_is_not_redacted(homes: Homes, version: str) -> None:
    alice = await homes.user()
    asked = initially("m.room.encryption", MEGOLM)
    room_id = await alice.create_room(room_version=version, **asked)
    former = await encryption_event(alice, room_id)
    at = f"v3/rooms/{quote(room_id)}"
    (await alice.put(f"{at}/redact/{former}/1")).refused(403, "M_FORBIDDEN")
    body = {"redacts": former}
    (await alice.put(f"{at}/send/m.room.redaction/2", body)).refused(403, "M_FORBIDDEN")
    (await alice.put(f"{at}/state/m.room.redaction/", body)).refused(400, "M_INVALID_PARAM")
    assert await encryption_of(alice, room_id) == MEGOLM
    await alice.set_state(room_id, "m.room.encryption", ROTATING)
    (await alice.put(f"{at}/redact/{former}/3")).ok()
    assert await encryption_of(alice, room_id) == ROTATING


async def encryption_event(client: Client, room_id: str) -> str:
    events = await whole_state(client, room_id)
    (found,) = [event["event_id"] for event in events if event["type"] == "m.room.encryption"]
    return str(found)


async def test_an_upgraded_room_is_encrypted_as_before(database_url: str, tmp_path: Path) -> None:
    async with homes_with(database_url, tmp_path, encryption="private") as homes:
        alice = await homes.user()
        for version in ("11", "12"):
            room_id = await alice.create_room(room_version="10")
            await alice.set_state(room_id, "m.room.encryption", ROTATING)
            replacement = await upgrade(alice, room_id, version)
            assert await encryption_of(alice, replacement) == ROTATING
            path = f"v3/rooms/{quote(replacement)}/state/m.room.encryption"
            (await alice.put(path, {})).refused(403, "M_FORBIDDEN")
            assert (await state_content(alice, replacement, "m.room.create"))["predecessor"]
