"""Which events are handed on that have no plain place in a room's history."""

from typing import Any

from storage.changes import Standing
from tests.federation.inbound.far_server import FarServer, ids_of, segment
from tests.homeserver.conftest import Client, Homes


async def set_standing(homes: Homes, event_id: str, standing: Standing) -> None:
    """Make an event what it might have become, had it come from elsewhere."""
    is_outlier = standing is Standing.OUTLIER
    await homes.services.db.execute(
        "UPDATE events SET standing = $2, stream_position = NULL,"
        " snapshot_nid = CASE WHEN $3 THEN NULL ELSE snapshot_nid END,"
        " prev_nids = CASE WHEN $3 THEN '{}' ELSE prev_nids END"
        " WHERE event_id = $1",
        event_id,
        int(standing),
        is_outlier,
    )


async def make_room(homes: Homes, far: FarServer) -> tuple[Client, str]:
    """A room that both servers are in."""
    alice = await homes.user()
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await far.member(room_id, "join")
    return alice, room_id


async def backfill(far: FarServer, room_id: str, start: str, limit: int) -> list[str]:
    """The IDs of a page."""
    page = (await far.get(f"backfill/{segment(room_id)}", v=start, limit=limit)).ok()
    return ids_of(page["pdus"], "11")


async def missing(far: FarServer, room_id: str, **gap: Any) -> list[str]:
    """The IDs of the events of a gap."""
    body = {"earliest_events": [], **gap}
    found = (await far.post(f"get_missing_events/{segment(room_id)}", body)).ok()
    return ids_of(found["events"], "11")


async def test_soft_failed_events_are_given_where_others_refer_to_them(
    homes: Homes, far: FarServer
) -> None:
    alice, room_id = await make_room(homes, far)
    first, failed, last = [await alice.send(room_id, str(n)) for n in range(3)]
    await set_standing(homes, failed, Standing.SOFT_FAILED)
    assert await backfill(far, room_id, last, 3) == [last, failed, first]
    assert await missing(far, room_id, latest_events=[last], limit=2) == [first, failed]
    assert ids_of((await far.get(f"event/{segment(failed)}")).ok()["pdus"], "11") == [failed]


async def test_rejected_events_are_given_singly_to_who_is_in_the_room(
    homes: Homes, far: FarServer, stranger: FarServer
) -> None:
    alice, room_id = await make_room(homes, far)
    await stranger.member(room_id, "join")
    first, rejected, last = [await alice.send(room_id, str(n)) for n in range(3)]
    await stranger.member(room_id, "leave")
    await set_standing(homes, rejected, Standing.REJECTED)
    assert await backfill(far, room_id, last, 3) == [last, first]
    assert await missing(far, room_id, latest_events=[last], limit=2) == [first]
    path = f"event/{segment(rejected)}"
    assert ids_of((await far.get(path)).ok()["pdus"], "11") == [rejected]
    (await stranger.get(path)).refused(404, "M_NOT_FOUND")
    (await stranger.get(f"event/{segment(last)}")).ok()


async def test_outliers_are_given_singly_and_with_their_chains(
    homes: Homes, far: FarServer, stranger: FarServer
) -> None:
    alice, room_id = await make_room(homes, far)
    await alice.set_state(
        room_id, "m.room.history_visibility", {"history_visibility": "world_readable"}
    )
    outlier = await alice.set_state(room_id, "m.room.topic", {"topic": "one"})
    last = await alice.send(room_id, "last")
    await set_standing(homes, outlier, Standing.OUTLIER)
    assert await backfill(far, room_id, last, 3) == [last]
    assert await missing(far, room_id, latest_events=[last]) == []
    path = f"event/{segment(outlier)}"
    assert ids_of((await far.get(path)).ok()["pdus"], "11") == [outlier]
    (await stranger.get(path)).refused(404, "M_NOT_FOUND")
    room = segment(room_id)
    (await far.get(f"state_ids/{room}", event_id=outlier)).refused(404, "M_NOT_FOUND")
    (await far.get(f"state/{room}", event_id=outlier)).refused(404, "M_NOT_FOUND")
    chain = (await far.get(f"event_auth/{room}/{segment(outlier)}")).ok()["auth_chain"]
    assert chain[0]["type"] == "m.room.create"


async def test_redacted_events_are_given_redacted(homes: Homes, far: FarServer) -> None:
    alice, room_id = await make_room(homes, far)
    said = await alice.send(room_id, "wrong")
    (await alice.put(f"v3/rooms/{segment(room_id)}/redact/{segment(said)}/1")).ok()
    pdu = (await far.get(f"event/{segment(said)}")).ok()["pdus"][0]
    assert ids_of([pdu], "11") == [said]
    assert pdu["content"] == {}
