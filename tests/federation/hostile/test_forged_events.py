"""Events that are not what they say: signatures, hashes, names, places, sizes, numbers."""

from collections.abc import Mapping
from typing import Any

import pytest

from federation.protocol.canonical_json import encode_lax
from federation.protocol.identifiers import KeyId
from federation.protocol.signatures import (
    SigningKey,
    add_signature,
    sign_event,
    signing_key_from_seed,
)
from tests.federation.hostile.far_peer import OURS
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.room_copy import Fields, lenient

WRONG_KEY = signing_key_from_seed("far", b"another key of the same name....")
UNKNOWN_KEY = signing_key_from_seed("unknown", b"another key of another name.....")


def signed_anew(scene: Scene, fields: Mapping[str, Any], key: SigningKey) -> Fields:
    """The event with no other signature than one by `key` in the name of the hostile server."""
    bare = {**fields, "signatures": {}}
    return sign_event(bare, lenient(scene.room.version), scene.hostile.name, key)


async def refuse_all(scene: Scene, forged: Mapping[str, Fields]) -> dict[str, str]:
    """Have events refused and not kept, in one transaction each; the reasons."""
    reasons = {}
    for name, fields in forged.items():
        event_id = scene.room.id_of(fields)
        answer = await scene.sent(fields)
        assert "error" in answer[event_id], name
        assert await scene.standing(event_id) is None, name
        reasons[name] = answer[event_id]["error"]
    return reasons


@pytest.mark.parametrize("version_id", ["1", "6", "12"])
async def test_signatures_that_do_not_hold(setting: Setting, version_id: str) -> None:
    async with setting.scene(version_id) as scene:
        honest, true = scene.honest_room, scene.room.event()
        mine, name = true["signatures"], scene.hostile.name
        by_key = mine[name]
        forged = {
            "none": {**true, "signatures": {}},
            "not of the server": {**true, "signatures": {"other.example": by_key}},
            "garbage": {**true, "signatures": {name: {"ed25519:far": "AAAA"}}},
            "not a text": {**true, "signatures": {name: {"ed25519:far": 7}}},
            "of another algorithm": {**true, "signatures": {name: {"rsa:far": "AAAA"}}},
            "by another key of that name": signed_anew(scene, true, WRONG_KEY),
            "by a key that nobody publishes": signed_anew(scene, true, UNKNOWN_KEY),
            "of another event": {**scene.room.event(), "signatures": mine},
            "in the name of another server": scene.room.event(sender=honest.user()),
            "changed afterwards": {**true, "origin_server_ts": 1},
        }
        if version_id == "1":
            forged["ID of another server"] = scene.room.event(event_id="$e:other.example")
        await refuse_all(scene, forged)
        await scene.assert_healthy(most_lines=2 * len(forged))


async def test_what_is_true_besides_a_wrong_signature_is_taken(scene: Scene) -> None:
    """Signatures by unknown keys, and those of other servers, are passed over."""
    fields = scene.room.event()
    fields = add_signature(fields, scene.hostile.name, KeyId("ed25519:gone"), "AAAA")
    fields = add_signature(fields, "nobody.example", KeyId("ed25519:1"), "AAAA")
    assert await scene.sent(fields) == {scene.room.id_of(fields): {}}
    await scene.assert_healthy()


async def test_a_restricted_join_needs_the_signature_of_the_server_that_vouches(
    scene: Scene,
) -> None:
    room, alice = scene.room, scene.alice
    target = await alice.create_room(preset="public_chat")
    rules = {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": target}],
    }
    await alice.set_state(scene.room_id, "m.room.join_rules", rules)
    await scene.begin()
    content = {
        "membership": "join",
        "join_authorised_via_users_server": alice.user_id,
    }
    place = ("m.room.member", alice.user_id)
    rules_id = scene.expected["m.room.join_rules", ""]
    auth = [room.state[p] for p in (("m.room.create", ""), ("m.room.power_levels", ""), place)]
    smuggled = room.event(
        "m.room.member",
        content,
        room.user("spy"),
        sender=room.user("spy"),
        auth=[*auth, rules_id],
        prev=[rules_id],
    )
    forged = {
        "unsigned by ours": smuggled,
        "signed by the wrong key": sign_event(smuggled, room.version, OURS, WRONG_KEY),
        "vouched for by nobody": room.event(
            "m.room.member",
            {**content, "join_authorised_via_users_server": "nobody"},
            room.user("spy"),
            sender=room.user("spy"),
            prev=[rules_id],
        ),
    }
    await refuse_all(scene, forged)
    await scene.assert_healthy()


@pytest.mark.parametrize("version_id", ["2", "11"])
async def test_of_an_event_with_a_wrong_hash_only_the_redacted_form_is_kept(
    setting: Setting, version_id: str
) -> None:
    async with setting.scene(version_id) as scene:
        true = scene.room.event(content={"body": "true"})
        changed = {**true, "content": {"body": "false"}}
        event_id = scene.room.id_of(true)
        assert await scene.sent(changed) == {event_id: {}}
        path = f"v3/rooms/{scene.room_id}/event/{event_id}"
        assert (await scene.alice.get(path)).ok()["content"] == {}
        assert await scene.sent(true) == {event_id: {}}
        assert (await scene.alice.get(path)).ok()["content"] == {}
        await scene.assert_healthy()


async def test_hashes_that_are_none(scene: Scene) -> None:
    true = scene.room.event()
    forged = {
        "absent": {k: v for k, v in true.items() if k != "hashes"},
        "a list": {**true, "hashes": []},
        "a number": {**true, "hashes": {"sha256": 7}},
        "another algorithm": {**true, "hashes": {"md5": "x"}},
    }
    for name, fields in forged.items():
        answer = await scene.sent(scene.room.seal(fields) if name == "x" else fields)
        assert all("error" in one for one in answer.values()), name
    await scene.assert_healthy(most_lines=2 * len(forged))


@pytest.mark.parametrize("version_id", ["1", "11"])
async def test_fields_that_lie_about_where_an_event_belongs(
    setting: Setting, version_id: str
) -> None:
    async with setting.scene(version_id) as scene:
        room = scene.room
        names: Any = {"event_id": f"$x:{room.server}"} if version_id == "1" else {}
        forged = {
            "no user": room.event(sender="nobody", auth=[]),
            "a user of nowhere": room.event(sender="@rem:", auth=[]),
            "no member": room.event(sender=room.user("stranger")),
            "another's membership": room.event(
                "m.room.member", {"membership": "leave"}, scene.alice.user_id
            ),
            "a state of somebody else": room.event("org.example", {}, scene.alice.user_id),
            "no right to it": room.event("m.room.power_levels", {"users": {}}, ""),
            "no room": room.event(room_id="no room", **names),
            "a second beginning": room.event(
                "m.room.create", {"creator": room.user(), "room_version": version_id}, "", prev=[]
            ),
        }
        for name, fields in forged.items():
            answer = await scene.sent(fields)
            assert all("error" in one for one in answer.values()), name
        await scene.assert_healthy(most_lines=2 * len(forged))


async def test_an_event_of_another_room_under_the_name_of_this_one(scene: Scene) -> None:
    other = scene.hostile.rooms[scene.other_room_id].event()
    answer = await scene.sent({**other, "room_id": scene.room_id})
    assert all("error" in one for one in answer.values())
    await scene.assert_healthy()


@pytest.mark.parametrize("version_id", ["1", "2"])
async def test_an_id_that_an_event_of_another_room_has(setting: Setting, version_id: str) -> None:
    """In these versions a server may give the same ID twice."""
    async with setting.scene(version_id) as scene:
        other = scene.hostile.rooms[scene.other_room_id]
        first = other.event()
        assert await scene.sent(first) == {first["event_id"]: {}}
        second = scene.room.event(event_id=first["event_id"])
        assert "another room" in await scene.refusal_of(second)
        follower = scene.room.event(prev=[first["event_id"]])
        scene.hostile.answers["event/"] = {"pdus": [second]}
        scene.hostile.answers["get_missing_events"] = {"events": [second]}
        assert await scene.refusal_of(follower)
        await scene.assert_healthy()


def longest(scene: Scene, total: int) -> Fields:
    """An event of so many bytes."""
    empty = len(encode_lax(scene.room.event(content={"body": ""})))
    return scene.room.event(content={"body": "x" * (total - empty)})


async def test_sizes_are_held_to_the_byte(scene: Scene) -> None:
    fits, too_long = longest(scene, 65_536), longest(scene, 65_537)
    assert len(encode_lax(fits)) == 65_536
    assert await scene.sent(fits) == {scene.room.id_of(fits): {}}
    assert "65536" in await scene.refusal_of(too_long)
    room = scene.room
    forged = {
        "type": room.event("t" * 256),
        "state_key": room.event("org.example", {}, "k" * 256),
        "state_key in bytes": room.event("org.example", {}, "é" * 128),
        "sender": room.event(sender=f"@{'u' * 255}:{room.server}", auth=[]),
        "too many prev_events": room.event(prev=[f"$p{n}" for n in range(21)]),
        "thousands of prev_events": room.event(prev=[f"$p{n}" for n in range(5_000)]),
        "too many auth_events": room.event(auth=[f"$a{n}" for n in range(11)]),
        "a reference too long": room.event(prev=["$" + "p" * 255]),
        "a reference with a NUL": room.event(prev=["$\0"]),
        "an auth reference with a NUL": room.event(auth=["$\0"]),
        "a type with a NUL": room.event("org\0example"),
        "a state_key with a NUL": room.event("org.example", {}, "\0"),
        "a sender with a NUL": room.event(sender=f"@\0:{room.server}", auth=[]),
    }
    await refuse_all(scene, forged)
    await scene.assert_healthy(most_lines=2 * len(forged))


NUMBERS = {"float": 1.5, "integral float": 1.0, "large": 2**53, "huge": 10**30, "exponent": 1e30}


@pytest.mark.parametrize("version_id", ["6", "11"])
async def test_numbers_that_are_not_canonical_are_refused(
    setting: Setting, version_id: str
) -> None:
    async with setting.scene(version_id) as scene:
        forged = {name: scene.room.event(content={"n": n}) for name, n in NUMBERS.items()}
        for name, fields in forged.items():
            answer = await scene.sent(fields)
            assert await scene.standing(scene.room.id_of(fields)) is None, name
            assert not any(one == {} for one in answer.values()), name
        await scene.assert_healthy()


@pytest.mark.parametrize("version_id", ["1", "5"])
async def test_numbers_of_old_rooms_are_taken(setting: Setting, version_id: str) -> None:
    """Rooms before version 6 have such events, and whoever lacks them has holes in the room."""
    async with setting.scene(version_id) as scene:
        for name, number in NUMBERS.items():
            fields = scene.room.event(content={"n": number})
            event_id = scene.room.id_of(fields)
            assert await scene.sent(fields) == {event_id: {}}, name
            path = f"v3/rooms/{scene.room_id}/event/{event_id}"
            shown = (await scene.alice.get(path)).ok()["content"]
            assert float(shown["n"]) == float(number), name
        await scene.assert_healthy()


async def test_deep_nesting_spoils_one_event_only(scene: Scene) -> None:
    content: dict[str, Any] = {}
    for _ in range(180):
        content = {"deeper": content}
    deep = scene.room.event(content=content)
    assert await scene.sent(deep) == {scene.room.id_of(deep): {}}
    good = scene.room.event()
    for levels in (230, 900):
        content = {}
        for _ in range(levels):
            content = {"deeper": content}
        too_deep = {**good, "content": content, "origin_server_ts": levels}
        body = scene.hostile.transaction(too_deep, good)
        answer = (await scene.hostile.put_bytes("send/deep" + str(levels), body)).ok()["pdus"]
        assert answer[scene.room.id_of(good)] == {}
        assert "error" in answer[scene.room.id_of(too_deep)]
    await scene.assert_healthy()


async def test_depths_and_times_out_of_range(scene: Scene) -> None:
    room = scene.room
    forged = {
        "depth below 0": room.event(depth=-1),
        "depth that is no number": room.event(depth="1"),
        "depth that is true": room.event(depth=True),
        "time that is no number": room.event(origin_server_ts=None),
    }
    await refuse_all(scene, forged)
    deepest = room.event(depth=2**53 - 1)
    assert await scene.sent(deepest) == {room.id_of(deepest): {}}
    event_id = await scene.alice.send(scene.room_id, "below the deepest")
    assert await scene.standing(event_id) == 0
    await scene.assert_healthy(most_lines=2 * len(forged))


async def test_what_is_no_event_at_all_is_passed_over(scene: Scene) -> None:
    garbage: list[Any] = [
        7,
        None,
        "text",
        [],
        {},
        {"room_id": scene.room_id},
        {"room_id": scene.room_id, "type": 7, "content": 7, "sender": []},
        {"room_id": scene.room_id, "type": [], "content": {}, "hashes": "x"},
        {"room_id": 7, "type": "m.room.message"},
        {"room_id": "!\0:x", "type": "m.room.message"},
    ]
    answer = await scene.sent(*garbage)
    assert not any(one == {} for one in answer.values())
    await scene.assert_healthy()


async def test_rejected_events_are_kept_and_never_used(setting: Setting) -> None:
    async with setting.scene() as scene:
        room = scene.room
        evil = room.event("m.room.topic", {"topic": "mine"}, "")
        evil_id = room.id_of(evil)
        assert await scene.refusal_of(evil)
        assert await scene.standing(evil_id) == 2
        resting = room.event("m.room.message", auth=[*room.event()["auth_events"], evil_id])
        assert await scene.refusal_of(resting)
        follower = room.event(prev=[evil_id])
        assert await scene.sent(follower) == {room.id_of(follower): {}}
        event_id = await scene.alice.send(scene.room_id, "on we go")
        assert evil_id not in await scene.extremities()
        prev = (await scene.hostile.get(f"event/{event_id}")).ok()["pdus"][0]["prev_events"]
        assert evil_id not in prev
        await scene.assert_healthy()


async def test_rejected_events_stay_so_over_a_restart(setting: Setting) -> None:
    async with setting.scene() as scene:
        room = scene.room
        evil = room.event("m.room.topic", {"topic": "mine"}, "")
        assert await scene.refusal_of(evil)
        await scene.restart()
        again = await scene.sent(evil)
        assert await scene.standing(room.id_of(evil)) == 2
        assert again.keys() == {room.id_of(evil)}
        resting = room.event(auth=[*room.event()["auth_events"], room.id_of(evil)])
        assert await scene.refusal_of(resting)
        follower = room.event(prev=[room.id_of(evil)])
        assert await scene.sent(follower) == {room.id_of(follower): {}}
        await scene.assert_healthy()
