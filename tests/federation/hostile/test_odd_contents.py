"""Events that the rules let in, with contents that nobody expects: whoever reads them copes."""

from collections.abc import Sequence
from typing import Any

import pytest

from federation.protocol.identifiers import EventId
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.test_mutations import ODD_VALUES, client_endpoints_answer

KEYS = {
    "m.room.name": ("name",),
    "m.room.topic": ("topic", "m.topic"),
    "m.room.avatar": ("url", "info"),
    "m.room.canonical_alias": ("alias", "alt_aliases"),
    "m.room.history_visibility": ("history_visibility",),
    "m.room.guest_access": ("guest_access",),
    "m.room.encryption": ("algorithm", "rotation_period_ms"),
    "m.room.tombstone": ("replacement_room", "body"),
    "m.room.pinned_events": ("pinned",),
    "m.room.server_acl": ("deny", "allow_ip_literals"),
    "m.room.third_party_invite": ("public_key", "public_keys", "display_name"),
    "m.space.child": ("via", "order", "suggested"),
    "m.space.parent": ("via", "canonical"),
    "m.room.policy": ("via", "public_key"),
    "org.matrix.msc4284.policy": ("via", "public_key"),
    "m.widget": ("type", "url"),
}
MESSAGE_KEYS = (
    "body", "msgtype", "format", "formatted_body", "url", "file", "info", "m.mentions",
    "m.relates_to", "m.new_content", "redacts", "m.call",
)  # fmt: skip
RELATIONS = ("rel_type", "event_id", "m.in_reply_to", "key", "is_falling_back")

Content = tuple[str, dict[str, Any], str | None]
"""Type, content and state key of an event."""


async def crown(scene: Scene) -> None:
    """Let the hostile server's user do what it likes."""
    levels = (await scene.alice.get(f"v3/rooms/{scene.room_id}/state/m.room.power_levels")).ok()
    levels["users"] = {**levels.get("users", {}), scene.room.user(): 99}
    event_id = EventId(await scene.alice.set_state(scene.room_id, "m.room.power_levels", levels))
    room = scene.room
    room.keep((await scene.hostile.get(f"event/{event_id}")).ok()["pdus"])
    room.state["m.room.power_levels", ""] = event_id
    room.tips, room.depth = [event_id], room.depth + 5


async def send_all(scene: Scene, contents: Sequence[Content]) -> int:
    """Send an event for each content, 50 at a time; how many were let in."""
    room, count = scene.room, 0
    for start in range(0, len(contents), 50):
        pdus = []
        for event_type, content, state_key in contents[start : start + 50]:
            pdus.append(room.event(event_type, content, state_key))
            room.tips, room.depth = [room.id_of(pdus[-1])], room.depth + 1
        answer = await scene.sent(*pdus)
        count += sum(one == {} for one in answer.values())
    return count


@pytest.mark.parametrize("version_id", ["1", "11"])
async def test_states_of_all_kinds_with_odd_contents(setting: Setting, version_id: str) -> None:
    async with setting.scene(version_id) as scene:
        await crown(scene)
        odd = [v for v in ODD_VALUES if version_id == "1" or not isinstance(v, float)]
        odd = [v for v in odd if version_id == "1" or type(v) is not int or abs(v) < 2**53]
        contents = [
            (event_type, {key: value}, "!x:y" if event_type.startswith("m.space") else "")
            for event_type, keys in KEYS.items()
            for key in keys
            for value in odd
        ]
        assert await send_all(scene, contents) > len(contents) // 2
        await client_endpoints_answer(scene)
        assert not [r for r in scene.journal.records if r.exc_info]


async def test_messages_and_members_with_odd_contents(setting: Setting) -> None:
    async with setting.scene("1") as scene:
        await crown(scene)
        me = scene.room.user()
        contents: list[tuple[str, dict[str, Any], str | None]] = []
        for value in ODD_VALUES:
            contents += [("m.room.message", {key: value}, None) for key in MESSAGE_KEYS]
            contents += [
                ("m.room.message", {"m.relates_to": {"rel_type": "m.thread", name: value}}, None)
                for name in RELATIONS
            ]
            contents += [
                ("m.room.member", {"membership": "join", name: value}, me)
                for name in ("displayname", "avatar_url", "reason", "is_direct")
            ]
            contents += [
                ("m.room.redaction", {"reason": value}, None),
                ("m.reaction", {"m.relates_to": value}, None),
                ("m.poll.start", {"m.poll": value}, None),
                ("m.call.invite", {"call_id": value}, None),
            ]
        assert await send_all(scene, contents) > len(contents) // 2
        await client_endpoints_answer(scene)
        found = {"search_categories": {"room_events": {"search_term": "x"}}}
        assert (await scene.alice.post("v3/search", found)).status == 200
        assert not [r for r in scene.journal.records if r.exc_info]
