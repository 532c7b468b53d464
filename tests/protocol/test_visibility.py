"""History visibility."""

import pytest

from federation.protocol.pdu import Pdu
from federation.protocol.visibility import (
    HistoryVisibility,
    is_visible_to_server,
    is_visible_to_user,
    visibility_of,
)
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room

V = HistoryVisibility
MEMBERSHIPS = ("join", "invite", "leave", "ban", "knock")


def message() -> Pdu:
    return Room().build("m.room.message", ALICE, {"body": "hello"})


def visibility_change(to: str) -> Pdu:
    return Room().build("m.room.history_visibility", ALICE, {"history_visibility": to}, "")


def bobs_membership(to: str) -> Pdu:
    return Room().build("m.room.member", BOB, {"membership": to}, BOB)


def seen(
    event: Pdu, visibility: HistoryVisibility, membership: str, *, later: bool = False
) -> bool:
    return is_visible_to_user(event, BOB, visibility, membership, joined_afterwards=later)


@pytest.mark.parametrize(
    ("visibility", "memberships"),
    [
        (V.WORLD_READABLE, set(MEMBERSHIPS)),
        (V.SHARED, {"join"}),
        (V.INVITED, {"join", "invite"}),
        (V.JOINED, {"join"}),
    ],
)
def test_who_never_joins_later_sees_by_membership(
    visibility: HistoryVisibility, memberships: set[str]
) -> None:
    assert {m for m in MEMBERSHIPS if seen(message(), visibility, m)} == memberships


@pytest.mark.parametrize("visibility", list(V))
def test_joining_later_opens_shared_history_only(visibility: HistoryVisibility) -> None:
    expected = visibility in (V.WORLD_READABLE, V.SHARED)
    assert seen(message(), visibility, "leave", later=True) == expected


@pytest.mark.parametrize(
    "content", [None, {}, {"history_visibility": "x"}, {"history_visibility": []}]
)
def test_no_or_an_unknown_visibility_is_shared(content: dict[str, object] | None) -> None:
    assert visibility_of(content) is V.SHARED


def test_a_visibility_change_is_seen_by_either_side_of_it() -> None:
    assert seen(visibility_change("joined"), V.WORLD_READABLE, "leave")
    assert seen(visibility_change("world_readable"), V.JOINED, "leave")
    assert not seen(visibility_change("joined"), V.INVITED, "leave")


def test_ones_own_membership_change_is_seen_by_either_side_of_it() -> None:
    assert seen(bobs_membership("join"), V.JOINED, "leave")
    assert seen(bobs_membership("leave"), V.JOINED, "join")
    assert seen(bobs_membership("invite"), V.INVITED, "leave")
    assert not seen(bobs_membership("invite"), V.JOINED, "leave")


def test_another_users_membership_change_is_an_event_like_any_other() -> None:
    event = Room().build("m.room.member", CAROL, {"membership": "join"}, CAROL)
    assert not seen(event, V.JOINED, "leave")


def test_a_server_sees_what_any_of_its_users_may_see() -> None:
    def to_leaf(event: Pdu, visibility: HistoryVisibility, members: dict[str, str]) -> bool:
        return is_visible_to_server(
            event, "leaf.example", visibility, members, joined_afterwards=False
        )

    assert to_leaf(message(), V.JOINED, {CAROL: "leave", DAVE: "join"})
    assert to_leaf(message(), V.INVITED, {CAROL: "invite"})
    assert not to_leaf(message(), V.JOINED, {CAROL: "invite", ALICE: "join"})
    assert to_leaf(message(), V.WORLD_READABLE, {})
    assert not to_leaf(message(), V.SHARED, {})
    joins = Room().build("m.room.member", CAROL, {"membership": "join"}, CAROL)
    assert to_leaf(joins, V.JOINED, {})


def test_a_server_whose_user_joins_later_sees_shared_history() -> None:
    for visibility in V:
        visible = is_visible_to_server(
            message(), "leaf.example", visibility, {}, joined_afterwards=True
        )
        assert visible == (visibility in (V.WORLD_READABLE, V.SHARED))
