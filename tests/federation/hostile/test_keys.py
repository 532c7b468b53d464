"""Keys that are expired, swapped, unsigned, absurd or not to be had."""

import asyncio
import time
from typing import Any

import pytest

from federation.outbound.keyring import Keyring
from federation.protocol.server_keys import VerifyKey, build_server_keys
from federation.protocol.signatures import SigningKey, sign_event, signing_key_from_seed
from tests.federation.hostile.far_peer import FOR_EVER, KEYS, never
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.room_copy import Fields

HOUR_MS = 3_600_000
SECOND = signing_key_from_seed("second", b"second".ljust(32, b"."))
THIRD = signing_key_from_seed("third", b"third".ljust(32, b"."))


def now_ts() -> int:
    return int(time.time() * 1000)


def may_be_asked(scene: Scene) -> None:
    """Let the hostile server be asked for its keys again, as after ten seconds."""
    keyring = scene.homes.services.key_server._objects
    assert isinstance(keyring, Keyring)
    keyring._asked.discard(scene.hostile.name)


def published(scene: Scene, *keys: SigningKey, **more: Any) -> dict[str, Any]:
    """What the hostile server shows of its keys."""
    until_ts = more.pop("valid_until_ts", FOR_EVER)
    return build_server_keys(scene.hostile.name, keys, valid_until_ts=until_ts, **more)


def signed_by(scene: Scene, fields: Fields, key: SigningKey) -> Fields:
    bare = {**fields, "signatures": {}}
    return sign_event(bare, scene.room.version, scene.hostile.name, key)


WRONG: dict[str, Any] = {
    "expired": lambda s: published(s, SECOND, valid_until_ts=now_ts() - 30 * 24 * HOUR_MS),
    "before time began": lambda s: published(s, SECOND, valid_until_ts=-(2**62)),
    "not signed": lambda s: {**published(s, SECOND), "signatures": {}},
    "signed by another": lambda s: {
        **published(s, SECOND),
        "signatures": published(s, THIRD)["signatures"],
    },
    "of another server": lambda s: {**published(s, SECOND), "server_name": "other.example"},
    "too short": lambda s: {**published(s, SECOND), "verify_keys": {"ed25519:second": "AA"}},
    "garbage": lambda _: {"verify_keys": 7},
    "a list": lambda _: [],
    "a refusal": lambda _: (404, {}),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_events_by_keys_that_do_not_count_are_refused(scene: Scene, kind: str) -> None:
    scene.hostile.answers[KEYS] = WRONG[kind](scene)
    scene.hostile.asked.clear()
    may_be_asked(scene)
    forged = signed_by(scene, scene.room.event(), SECOND)
    assert await scene.refusal_of(forged)
    assert await scene.standing(scene.room.id_of(forged)) is None
    assert KEYS in scene.hostile.asked
    await scene.assert_healthy()


async def test_a_key_of_old_counts_for_events_of_its_time_only(scene: Scene) -> None:
    expired_ts = now_ts() - HOUR_MS
    old = VerifyKey(scene.hostile.name, SECOND.key_id, SECOND.verify_key, 0, expired_ts)
    scene.hostile.answers[KEYS] = published(scene, scene.hostile.key, old_keys=[old])
    may_be_asked(scene)
    late = signed_by(scene, scene.room.event(), SECOND)
    assert await scene.refusal_of(late)
    timely = scene.room.event(origin_server_ts=expired_ts - 1)
    timely = signed_by(scene, timely, SECOND)
    assert await scene.sent(timely) == {scene.room.id_of(timely): {}}
    await scene.assert_healthy()


async def test_before_version_5_nobody_asks_whether_a_key_was_valid(setting: Setting) -> None:
    async with setting.scene("4") as scene:
        until_ts = now_ts() - 30 * 24 * HOUR_MS
        scene.hostile.answers[KEYS] = published(scene, SECOND, valid_until_ts=until_ts)
        may_be_asked(scene)
        fields = signed_by(scene, scene.room.event(), SECOND)
        assert await scene.sent(fields) == {scene.room.id_of(fields): {}}
        await scene.assert_healthy()


async def test_events_of_the_far_future_are_refused(scene: Scene) -> None:
    """No key is valid for longer than a week."""
    future = scene.room.event(origin_server_ts=now_ts() + 30 * 24 * HOUR_MS)
    assert await scene.refusal_of(future)
    await scene.assert_healthy()


async def test_thousands_of_key_names_make_us_ask_once(scene: Scene) -> None:
    fields = scene.room.event()
    names = {f"ed25519:k{n}": "A" * 86 for n in range(400)}
    signatures = {scene.hostile.name: {**fields["signatures"][scene.hostile.name], **names}}
    may_be_asked(scene)
    before = len(scene.hostile.asked)
    answer = await scene.sent({**fields, "signatures": signatures})
    assert answer == {scene.room.id_of(fields): {}}
    assert len(scene.hostile.asked) - before <= 2
    await scene.assert_healthy()


async def test_requests_by_wrong_keys_are_refused(scene: Scene) -> None:
    scene.hostile.answers[KEYS] = published(scene, SECOND)
    may_be_asked(scene)
    body = scene.hostile.transaction()
    target = "/_matrix/federation/v1/send/t"
    for key in (THIRD, signing_key_from_seed("far", b"not the key".ljust(32, b"."))):
        answer = await scene.hostile.raw("PUT", target, body, key=key)
        answer.refused(401, "M_UNAUTHORIZED")
    await scene.assert_healthy()


async def test_a_server_that_keeps_its_keys_to_itself_delays_nobody_else(scene: Scene) -> None:
    scene.hostile.answers[KEYS] = never
    may_be_asked(scene)
    forged = signed_by(scene, scene.room.event(), SECOND)
    waiting = asyncio.create_task(scene.hostile.send(forged))
    await scene.until_asked(KEYS)
    await scene.honest_events_are_taken()
    await scene.hostile.hang_up()
    await waiting
    await scene.assert_healthy()
