from urllib.parse import quote

from storage.reports import reports_after
from tests.homeserver.conftest import Homes


async def test_rooms_events_and_users_are_reported(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room = await alice.create_room()
    event = await alice.send(room, "something bad")
    path = f"v3/rooms/{quote(room)}/report"
    (await bob.post(path, {"reason": "loud"})).ok()
    (await alice.post(f"{path}/{quote(event)}", {"score": -100})).ok()
    (await bob.post(f"v3/users/{quote(alice.user_id)}/report", {"reason": ""})).ok()
    reports = [report for _, report in await reports_after(homes.services.db, 0, 10)]
    assert [(r.room_id, r.event_id, r.user_id, r.reason, r.score) for r in reports] == [
        (room, None, None, "loud", None),
        (room, event, None, None, -100),
        (None, None, alice.user_id, "", None),
    ]


async def test_a_score_beyond_the_worst_is_the_worst(homes: Homes) -> None:
    alice = await homes.user()
    room = await alice.create_room()
    path = f"v3/rooms/{quote(room)}/report/{quote(await alice.send(room, 'something bad'))}"
    for score in (-(2**40), 2**40):
        (await alice.post(path, {"score": score})).ok()
    reports = [report for _, report in await reports_after(homes.services.db, 0, 10)]
    assert [report.score for report in reports] == [-100, 0]


async def test_what_cannot_be_reported_is_not_found(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    room, other = await alice.create_room(), await alice.create_room()
    event = await alice.send(room, "hello")
    body = {"reason": "bad"}
    for client, path in (
        (alice, "rooms/!nothing:test/report"),
        (alice, f"rooms/{quote(room)}/report/$nothing"),
        (alice, f"rooms/{quote(other)}/report/{quote(event)}"),
        (bob, f"rooms/{quote(room)}/report/{quote(event)}"),
        (alice, "users/@nobody:test/report"),
    ):
        (await client.post(f"v3/{path}", body)).refused(404, "M_NOT_FOUND")
    (await alice.post(f"v3/rooms/{quote(room)}/report")).refused(400, "M_MISSING_PARAM")
