"""To which servers a user is introduced who comes into a room."""

from federation.protocol.identifiers import ServerName
from homeserver.other_servers.introductions import find_strangers
from storage.changes import StoredEvent
from tests.homeserver.other_servers.sending_world import FAR, ODD

THIRD = ServerName("third.test")
SERVERS = {1: frozenset({FAR, ODD}), 2: frozenset({FAR}), 3: frozenset({THIRD})}


def join(room_nid: int, position: int) -> StoredEvent:
    return StoredEvent(
        position, position, 1, room_nid, 1, 1, 1, None, None, 0, f"${position}", b"{}", {}
    )


def test_everybody_in_the_first_room_is_new_to_a_user() -> None:
    assert find_strangers([join(1, 10)], {1: 10}, SERVERS) == {FAR, ODD}


def test_servers_of_rooms_that_the_user_was_in_before_are_not_new() -> None:
    assert find_strangers([join(1, 10)], {1: 10, 2: 5}, SERVERS) == {ODD}


def test_a_room_that_was_entered_later_does_not_count() -> None:
    assert find_strangers([join(1, 10)], {1: 10, 2: 15}, SERVERS) == {FAR, ODD}


def test_of_rooms_entered_together_none_hides_the_other() -> None:
    joins = [join(2, 10), join(1, 11)]
    assert find_strangers(joins, {1: 11, 2: 10, 3: 5}, SERVERS) == {FAR, ODD}


def test_a_room_without_other_servers_has_no_strangers() -> None:
    assert find_strangers([join(4, 10)], {4: 10}, SERVERS) == frozenset()
