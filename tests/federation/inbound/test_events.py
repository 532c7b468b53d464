"""Events, states and auth chains for other servers."""

from typing import Any

import pytest

from federation.protocol.identifiers import UserId
from homeserver.rooms.send import NewEvent
from homeserver.rooms.server_access import ServerAccess
from tests.federation.inbound.far_server import FAR, FarServer, ids_of, is_intact, segment
from tests.homeserver.conftest import Client, Homes

VERSIONS = [str(n) for n in range(1, 13)]


async def make_room(homes: Homes, version: str = "12", **options: Any) -> tuple[Client, str]:
    """A public room and its creator."""
    alice = await homes.user()
    room_id = await alice.create_room(preset="public_chat", room_version=version, **options)
    return alice, room_id


async def all_ids(homes: Homes, room_id: str) -> list[str]:
    """The IDs of a room's events, the oldest first."""
    rows = await homes.services.db.fetch(
        "SELECT event_id FROM events JOIN rooms USING (room_nid) WHERE room_id = $1"
        " ORDER BY depth, event_nid",
        room_id,
    )
    return [row[0] for row in rows]


def intactness(pdus: list[Any]) -> dict[str, bool]:
    """Which PDUs of room version 11 are unredacted, by ID."""
    return dict(zip(ids_of(pdus, "11"), map(is_intact, pdus), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
async def test_all_reads_in_every_room_version(homes: Homes, far: FarServer, version: str) -> None:
    alice, room_id = await make_room(homes, version)
    join = await far.member(room_id, "join")
    said = await alice.send(room_id, "hello")
    ids = await all_ids(homes, room_id)
    path = segment(room_id)

    event = (await far.get(f"event/{segment(said)}")).ok()
    assert event["origin"] == "test"
    assert isinstance(event["origin_server_ts"], int)
    assert ids_of(event["pdus"], version) == [said]
    assert is_intact(event["pdus"][0])

    page = (await far.get(f"backfill/{path}", v=[said], limit=100)).ok()
    assert ids_of(page["pdus"], version) == ids[::-1]
    page = (await far.get(f"backfill/{path}", v=[said], limit=2)).ok()
    assert ids_of(page["pdus"], version) == [said, join]

    gap = {"earliest_events": [ids[0]], "latest_events": [said], "limit": 50}
    missing = (await far.post(f"get_missing_events/{path}", gap)).ok()
    assert ids_of(missing["events"], version) == ids[1:-1]

    named = (await far.get(f"state_ids/{path}", event_id=said)).ok()
    state = (await far.get(f"state/{path}", event_id=said)).ok()
    assert ids_of(state["pdus"], version) == named["pdu_ids"]
    assert ids_of(state["auth_chain"], version) == named["auth_chain_ids"]
    assert set(named["pdu_ids"]) == set(ids[:-1])
    assert ids[0] in named["auth_chain_ids"]
    assert (await far.get(f"state_ids/{path}", event_id=said)).ok() == named

    chain = (await far.get(f"event_auth/{path}/{segment(said)}")).ok()["auth_chain"]
    assert {pdu["type"] for pdu in chain} >= {"m.room.create", "m.room.member"}
    assert said not in ids_of(chain, version)


async def test_the_state_is_the_one_before_the_event(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes)
    await far.member(room_id, "join")
    first = await alice.set_state(room_id, "m.room.topic", {"topic": "one"})
    second = await alice.set_state(room_id, "m.room.topic", {"topic": "two"})
    path = f"state_ids/{segment(room_id)}"
    assert first not in (await far.get(path, event_id=first)).ok()["pdu_ids"]
    before_second = (await far.get(path, event_id=second)).ok()["pdu_ids"]
    assert first in before_second
    assert second not in before_second
    create = (await all_ids(homes, room_id))[0]
    assert (await far.get(path, event_id=create)).ok() == {"pdu_ids": [], "auth_chain_ids": []}


async def test_a_chain_has_every_membership_and_nothing_else(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes, "11")
    first = await far.member(room_id, "join")
    gone = await far.member(room_id, "leave")
    again = await far.member(room_id, "join")
    rules = await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
    path = f"event_auth/{segment(room_id)}"
    chain = (await far.get(f"{path}/{segment(again)}")).ok()["auth_chain"]
    assert {first, gone} < set(ids_of(chain, "11"))
    assert rules not in ids_of(chain, "11")
    event = (await far.get(f"event/{segment(rules)}")).ok()["pdus"][0]
    chain = (await far.get(f"{path}/{segment(rules)}")).ok()["auth_chain"]
    assert set(ids_of(chain, "11")) == set(event["auth_events"])


@pytest.mark.parametrize("visibility", ["world_readable", "shared", "invited", "joined"])
async def test_what_was_hidden_comes_redacted(
    homes: Homes, far: FarServer, visibility: str
) -> None:
    alice, room_id = await make_room(homes, "11")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": visibility})
    before = await alice.send(room_id, "before")
    invite = NewEvent(UserId(alice.user_id), "m.room.member", {"membership": "invite"}, far.user())
    invited_at = await homes.services.send.send(room_id, invite)
    while_invited = await alice.send(room_id, "while invited")
    await far.member(room_id, "join")
    after = await alice.send(room_id, "after")

    page = (await far.get(f"backfill/{segment(room_id)}", v=[after], limit=5)).ok()["pdus"]
    whole = intactness(page)
    is_open = visibility in {"world_readable", "shared"}
    assert whole[before] == is_open
    assert whole[while_invited] == (is_open or visibility == "invited")
    assert whole[after]
    assert invited_at in whole
    single = (await far.get(f"event/{segment(before)}")).ok()["pdus"]
    assert ids_of(single, "11") == [before]
    assert is_intact(single[0]) == is_open
    gap = {"earliest_events": [], "latest_events": [after], "limit": 5, "min_depth": 1}
    missing = (await far.post(f"get_missing_events/{segment(room_id)}", gap)).ok()["events"]
    assert intactness(missing[-4:]) == {i: whole[i] for i in ids_of(missing[-4:], "11")}
    assert ids_of(missing[-4:], "11") == ids_of(page, "11")[:0:-1]


async def test_many_users_of_a_server_are_looked_at(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes, "11")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    await far.member(room_id, "join", "early")
    seen = await alice.send(room_id, "seen by one who left")
    await far.member(room_id, "leave", "early")
    hidden = await alice.send(room_id, "seen by nobody")
    for n in range(25):
        await far.member(room_id, "join", f"late{n}")
    last = await alice.send(room_id, "seen by many")
    page = (await far.get(f"backfill/{segment(room_id)}", v=[last], limit=100)).ok()["pdus"]
    whole = intactness(page)
    assert (whole[seen], whole[hidden], whole[last]) == (True, False, True)


async def test_who_is_not_in_the_room_is_refused(
    homes: Homes, far: FarServer, stranger: FarServer
) -> None:
    alice, room_id = await make_room(homes)
    await far.member(room_id, "join")
    said = await alice.send(room_id, "hello")
    path = segment(room_id)
    gap = {"earliest_events": [], "latest_events": [said]}
    for answer in (
        await stranger.get(f"backfill/{path}", v=[said], limit=5),
        await stranger.get(f"state/{path}", event_id=said),
        await stranger.get(f"state_ids/{path}", event_id=said),
        await stranger.get(f"event_auth/{path}/{segment(said)}"),
        await stranger.get(f"timestamp_to_event/{path}", ts=0, dir="f"),
        await stranger.post(f"get_missing_events/{path}", gap),
    ):
        answer.refused(403, "M_FORBIDDEN")
    (await stranger.get(f"event/{segment(said)}")).refused(404, "M_NOT_FOUND")
    await far.member(room_id, "leave")
    (await far.get(f"state_ids/{path}", event_id=said)).refused(403, "M_FORBIDDEN")
    # It has been there, and left after that was said.
    assert is_intact((await far.get(f"event/{segment(said)}")).ok()["pdus"][0])
    unseen = await alice.send(room_id, "among us")
    (await far.get(f"event/{segment(unseen)}")).refused(404, "M_NOT_FOUND")


async def test_the_world_may_read_what_is_world_readable(homes: Homes, stranger: FarServer) -> None:
    alice, room_id = await make_room(homes)
    await alice.set_state(
        room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}
    )
    said = await alice.send(room_id, "to all")
    assert is_intact((await stranger.get(f"event/{segment(said)}")).ok()["pdus"][0])


async def test_who_is_shut_out_is_refused(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes)
    await far.member(room_id, "join")
    said = await alice.send(room_id, "hello")
    path = segment(room_id)
    (await far.get(f"state_ids/{path}", event_id=said)).ok()
    shut = await alice.set_state(
        room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["127.0.0.8"]}
    )
    (await far.get(f"state_ids/{path}", event_id=said)).refused(403, "M_FORBIDDEN")
    (await far.get(f"event/{segment(said)}")).refused(403, "M_FORBIDDEN")
    access = ServerAccess(homes.services.db, homes.services.names, 10_000)
    assert await access.find_denied(FAR, [room_id, "!no:where"]) == {room_id}
    assert await access.is_allowed("near.example", room_id)
    await alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": []})
    (await far.get(f"state_ids/{path}", event_id=said)).ok()
    # A list that was redacted allows nobody.
    shut = await alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"]})
    (await alice.put(f"v3/rooms/{path}/redact/{segment(shut)}/1")).ok()
    (await far.get(f"state_ids/{path}", event_id=said)).refused(403, "M_FORBIDDEN")


async def test_what_is_not_here_is_not_found(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes)
    _, other_id = await make_room(homes)
    await far.member(room_id, "join")
    await far.member(other_id, "join")
    elsewhere = await alice.send(room_id, "hello")
    other = segment(other_id)
    nothing = "$" + "A" * 43
    (await far.get(f"event/{segment(nothing)}")).refused(404, "M_NOT_FOUND")
    for path in (f"state/{other}", f"state_ids/{other}"):
        (await far.get(path, event_id=nothing)).refused(404, "M_NOT_FOUND")
        (await far.get(path, event_id=elsewhere)).refused(404, "M_NOT_FOUND")
    (await far.get(f"event_auth/{other}/{segment(elsewhere)}")).refused(404, "M_NOT_FOUND")
    (await far.get(f"event_auth/!no:where/{segment(elsewhere)}")).refused(404, "M_NOT_FOUND")
    page = (await far.get(f"backfill/{other}", v=[elsewhere, nothing], limit=9)).ok()
    assert page["pdus"] == []
    gap = {"earliest_events": [], "latest_events": [elsewhere]}
    assert (await far.post(f"get_missing_events/{other}", gap)).ok() == {"events": []}


async def test_broken_questions_are_refused(homes: Homes, far: FarServer) -> None:
    _, room_id = await make_room(homes)
    await far.member(room_id, "join")
    path = segment(room_id)
    (await far.get("event/nothing")).refused(400, "M_INVALID_PARAM")
    (await far.get(f"state/{path}")).refused(400, "M_MISSING_PARAM")
    (await far.get(f"backfill/{path}", limit=3)).refused(400, "M_MISSING_PARAM")
    (await far.get(f"backfill/{path}", v="$a")).refused(400, "M_MISSING_PARAM")
    (await far.get(f"backfill/{path}", v="$a", limit="x")).refused(400, "M_INVALID_PARAM")
    (await far.get(f"timestamp_to_event/{path}", ts=1)).refused(400, "M_MISSING_PARAM")
    (await far.get(f"timestamp_to_event/{path}", ts=1, dir="u")).refused(400, "M_INVALID_PARAM")
    for gap, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"earliest_events": [], "latest_events": "$a"}, "M_BAD_JSON"),
        ({"earliest_events": [1], "latest_events": []}, "M_BAD_JSON"),
        ({"earliest_events": ["$" + "a" * 400], "latest_events": []}, "M_INVALID_PARAM"),
        ({"earliest_events": ["$a"] * 1_001, "latest_events": []}, "M_BAD_JSON"),
        ({"earliest_events": [], "latest_events": [], "limit": -1}, "M_BAD_JSON"),
    ):
        (await far.post(f"get_missing_events/{path}", gap)).refused(400, errcode)


async def test_a_gap_ends_at_its_bounds(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes)
    await far.member(room_id, "join")
    said = [await alice.send(room_id, str(n)) for n in range(6)]
    depths = dict(await homes.services.db.fetch("SELECT event_id, depth FROM events"))
    path = f"get_missing_events/{segment(room_id)}"

    async def ask(**gap: Any) -> list[str]:
        body = {"earliest_events": [], "latest_events": [said[5]], **gap}
        return ids_of((await far.post(path, body)).ok()["events"], "12")

    assert await ask(earliest_events=[said[1]]) == said[2:5]
    assert await ask(limit=2) == said[3:5]
    assert await ask(limit=0) == []
    assert await ask(min_depth=depths[said[3]]) == said[3:5]
    assert await ask(min_depth=2**53 - 1) == []
    assert await ask(latest_events=[said[5], said[3]], earliest_events=[said[1]]) == [
        said[2],
        said[4],
    ]
    assert len(await ask()) == 10


async def test_the_closest_event_by_time(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes)
    await far.member(room_id, "join")
    said = await alice.send(room_id, "hello")
    ts = await homes.services.db.fetchval(
        "SELECT origin_server_ts FROM events WHERE event_id = $1", said
    )
    path = f"timestamp_to_event/{segment(room_id)}"
    found = (await far.get(path, ts=ts + 5, dir="b")).ok()
    assert found == {"event_id": said, "origin_server_ts": ts}
    (await far.get(path, ts=ts + 5, dir="f")).refused(404, "M_NOT_FOUND")


async def test_nobody_is_answered_without_a_signature(homes: Homes) -> None:
    answer = await homes.nobody().get("/_matrix/federation/v1/query/profile", user_id="@a:test")
    answer.refused(401, "M_UNAUTHORIZED")
