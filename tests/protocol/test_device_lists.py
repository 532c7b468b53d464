from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.device_lists import Update, judge_update

ids = st.integers(0, 20)


def test_an_update_that_follows_what_is_known_is_applied() -> None:
    assert judge_update(4, 5, [4]) is Update.NEXT
    assert judge_update(9, 10, [4]) is Update.NEXT, "what was fetched is newer than what was sent"


def test_an_update_that_follows_something_unknown_leaves_a_gap() -> None:
    assert judge_update(4, 7, [6]) is Update.GAP
    assert judge_update(4, 7, [4, 6]) is Update.GAP


def test_a_sequence_that_begins_anew_is_in_doubt() -> None:
    assert judge_update(4, 5, []) is Update.GAP
    assert judge_update(4, 4, []) is Update.GAP
    assert judge_update(4, 2, [1]) is Update.GAP


@given(ids, st.lists(ids, min_size=1, max_size=3))
def test_a_repetition_changes_nothing(stream_id: int, prev_ids: list[int]) -> None:
    assert judge_update(stream_id, stream_id, prev_ids) is Update.KNOWN


@given(st.lists(st.booleans(), max_size=15), ids)
def test_whoever_misses_an_update_of_a_chain_notices_with_the_next_one(
    arrived: list[bool], known: int
) -> None:
    has_gap = False
    stream_id = known
    for has_come in arrived:
        prev, stream_id = stream_id, stream_id + 1
        if has_come:
            judged = judge_update(known, stream_id, [prev])
            has_gap = prev != known
            assert judged is (Update.GAP if has_gap else Update.NEXT)
            known = stream_id
