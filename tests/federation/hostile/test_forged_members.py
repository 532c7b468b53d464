"""Joins, leaves, knocks and invites that a server hands in and that are not what they should be."""

from typing import Any
from urllib.parse import quote

from tests.federation.hostile.health import Scene
from tests.federation.hostile.room_copy import Fields, RoomCopy
from tests.homeserver.conftest import Answer

V2 = "/_matrix/federation/v2"


async def hand_in(scene: Scene, what: str, fields: Any, event_id: str | None = None) -> Answer:
    """PUT an event to one of the doors of the room."""
    if event_id is None:
        event_id = scene.room.id_of(fields)
    room_id = quote(scene.room_id, safe="")
    return await scene.hostile.put(f"{V2}/{what}/{room_id}/{quote(event_id, safe='')}", fields)


def member(room: RoomCopy, membership: str = "join", localpart: str = "new", **more: Any) -> Fields:
    user = room.user(localpart)
    more.setdefault("sender", user)
    return room.event("m.room.member", {"membership": membership}, user, **more)


async def test_joins_that_are_not(scene: Scene) -> None:
    room, honest = scene.room, scene.honest_room
    true = member(room)
    forged: dict[str, Any] = {
        "unsigned": {**true, "signatures": {}},
        "changed": {**true, "origin_server_ts": 7},
        "of another server": member(room, sender=honest.user("new")),
        "of our user": member(room, sender=scene.alice.user_id),
        "for another": room.event("m.room.member", {"membership": "join"}, honest.user("x")),
        "a leave": member(room, "leave"),
        "a message": room.event(),
        "of another room": scene.hostile.rooms[scene.other_room_id].event(
            "m.room.member", {"membership": "join"}, room.user("new"), sender=room.user("new")
        ),
        "without a place": member(room, prev=["$unknown"]),
        "without vouchers": member(room, auth=["$unknown"]),
        "alone": member(room, prev=[], auth=[]),
    }
    for name, fields in forged.items():
        answer = await hand_in(scene, "send_join", fields)
        assert answer.status in (400, 403), (name, answer)
        assert await scene.standing(room.id_of(fields)) in (None, 2), name
    assert (await hand_in(scene, "send_join", true, "$another")).status == 400
    garbled: tuple[Fields, ...] = (
        {},
        {"type": 7},
        {"content": []},
        {"sender": [], "state_key": []},
    )
    for garbage in garbled:
        assert (await hand_in(scene, "send_join", garbage, "$x")).status in (400, 403), garbage
    await scene.assert_healthy(most_lines=40)


async def test_a_join_that_follows_the_unknown_spoils_nothing_for_those_after_it(
    scene: Scene,
) -> None:
    room = scene.room
    (lost,) = room.say("lost")
    join = member(room)
    assert (await hand_in(scene, "send_join", join)).status == 403
    assert await scene.standing(room.id_of(join)) is None
    assert await scene.sent(lost) == {room.id_of(lost): {}}
    assert (await hand_in(scene, "send_join", join)).status == 200
    scene.expected["m.room.member", room.user("new")] = room.id_of(join)
    await scene.assert_healthy()


async def test_leaves_and_knocks_that_are_not(scene: Scene) -> None:
    room = scene.room
    forged = {
        "a leave of a stranger": ("send_leave", member(room, "leave")),
        "a leave of our user": ("send_leave", member(room, "leave", sender=scene.alice.user_id)),
        "a join": ("send_leave", member(room)),
        "a knock where none is taken": ("send_leave", member(room, "knock")),
    }
    for name, (what, fields) in forged.items():
        answer = await hand_in(scene, what, fields)
        assert answer.status in (400, 403, 404), (name, answer)
    await scene.assert_healthy(most_lines=40)


async def test_invites_that_are_not(scene: Scene) -> None:
    room, alice = scene.room, scene.alice
    room_id = f"!elsewhere:{room.server}"

    def invite(**more: Any) -> Fields:
        content = more.pop("content", {"membership": "invite"})
        return room.event(
            "m.room.member", content, more.pop("state_key", alice.user_id), room_id=room_id, **more
        )

    async def hand(event: Any, event_id: str | None = None, **more: Any) -> Answer:
        body = {"event": event, "room_version": "11", "invite_room_state": [], **more}
        at = event_id or (room.id_of(event) if "content" in event else "$x")
        path = f"{V2}/invite/{quote(room_id, safe='')}/{quote(at, safe='')}"
        return await scene.hostile.put(path, body)

    true = invite()
    cases: dict[str, Any] = {
        "unsigned": hand({**true, "signatures": {}}),
        "of another server": hand(invite(sender=scene.honest_room.user())),
        "for another server": hand(invite(state_key="@x:other.example")),
        "for nobody": hand(invite(state_key="@nobody:test")),
        "for no user": hand(invite(state_key="nobody")),
        "a join": hand(invite(content={"membership": "join"})),
        "another ID": hand(true, "$another"),
        "another version": hand(true, room_version="99"),
        "a version that is none": hand(true, room_version=7),
        "no event": hand({}),
        "garbage": hand({"content": {}, "type": []}, "$x"),
        "a state that is none": hand(true, invite_room_state=7),
    }
    for name, case in cases.items():
        answer = await case
        assert answer.status in (400, 403, 404), (name, answer)
    assert "invite" not in (await alice.sync()).get("rooms", {})
    shown: list[Any] = [{"type": "x", "content": {}}] * 3 + [{"a": "x" * 30_000}] * 3
    assert (await hand(true, invite_room_state=shown)).status == 200
    told = (await alice.sync())["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert all(isinstance(one.get("type"), str) for one in told)
    await scene.assert_healthy(most_lines=40)


async def test_doors_with_names_that_are_none(scene: Scene) -> None:
    room = quote(scene.room_id, safe="")
    user = quote(scene.room.user("new"), safe="")
    paths = [
        f"make_join/{room}/nobody?ver=11",
        f"make_join/{room}/%40x%3Aother.example?ver=11",
        f"make_join/%21x%3Atest/{user}?ver=11",
        f"make_join/{room}%00/{user}?ver=11",
        f"make_join/{room}/{user}?ver=%00",
        f"make_leave/{room}/{user}",
        f"make_knock/{room}/{user}?ver=11",
        f"state/{room}?event_id=%00",
        f"state_ids/{room}?event_id=$x",
        "event/%00",
        f"event_auth/{room}/$nothing",
        f"backfill/{room}?limit=-1&v=$x",
        f"backfill/{room}?limit=10&" + "&".join(f"v=$x{n}" for n in range(700)),
        f"timestamp_to_event/{room}?ts=99999999999999999999&dir=x",
        "query/profile?user_id=%00",
        "query/directory?room_alias=nothing",
        f"hierarchy/{room}?suggested_only=maybe",
        "publicRooms?limit=-7&since=nothing",
        "user/devices/%00",
    ]
    for path in paths:
        answer = await scene.hostile.request("GET", f"/_matrix/federation/v1/{path}")
        assert answer.status < 500, (path, answer)
    posts: list[tuple[str, Any]] = [
        (f"get_missing_events/{room}", {"latest_events": "x", "earliest_events": 7, "limit": "9"}),
        (
            f"get_missing_events/{room}",
            {"latest_events": ["\0"], "earliest_events": ["$x"] * 9_000},
        ),
        (f"get_missing_events/{room}", {"limit": 10**20, "min_depth": -(10**20)}),
        ("user/keys/query", {"device_keys": {"@\0:test": []}}),
        ("user/keys/query", {"device_keys": {scene.alice.user_id: [7]}}),
        ("user/keys/claim", {"one_time_keys": {scene.alice.user_id: {"D": 7}}}),
        ("user/keys/claim", {"one_time_keys": 7}),
        ("publicRooms", {"limit": "x", "filter": 7}),
    ]
    for path, body in posts:
        answer = await scene.hostile.request("POST", f"/_matrix/federation/v1/{path}", body)
        assert answer.status < 500, (path, answer)
    await scene.assert_healthy(most_lines=0)
