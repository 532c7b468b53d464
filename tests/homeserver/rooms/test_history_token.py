import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import InvalidParam
from homeserver.rooms.history_token import Gap, Received, gap_after, gap_before, parse_point
from storage.changes import StoredEvent

numbers = st.integers(min_value=-(10**17), max_value=10**17)


def event_at(depth: int, position: int) -> StoredEvent:
    return StoredEvent(1, position, depth, 1, 1, None, 1, None, None, 0, "$1", b"{}", {})


@given(depth=numbers, position=numbers, received=st.none() | st.integers(0, 10**17))
def test_a_gap_survives_its_token(depth: int, position: int, received: int | None) -> None:
    gap = Gap(depth, position, received)
    assert parse_point(str(gap)) == gap


@given(depth=numbers, position=numbers)
def test_an_event_lies_between_its_two_gaps(depth: int, position: int) -> None:
    event = event_at(depth, position)
    before, after = gap_before(event), gap_after(event)
    assert (before.depth, before.position) < (depth, position) <= (after.depth, after.position)


def test_only_the_number_of_a_sync_token_counts() -> None:
    assert parse_point("s72_9") == parse_point("s72") == Received(72)


@pytest.mark.parametrize(
    "token", ["", "t", "t1", "t1_", "s", "s-1", "x1_2", "t1_2_", "t1_2_3_4", "t1_2_-3", "t\u0661_2"]
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidParam):
        parse_point(token)
