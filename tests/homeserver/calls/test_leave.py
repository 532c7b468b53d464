"""What is done with a delayed leave, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.calls.leave import (
    LAST_LOOK_MS,
    LONGEST_WAIT_MS,
    LOOK_EVERY_MS,
    RESTART_PART,
    Act,
    Leave,
    Phase,
    begin,
    looked,
    put_off,
    restarted,
    resume,
    seen,
    sent,
    told_broken_off,
    told_gone,
)

T0 = 1_800_000_000_000
HOUR_MS = 3_600_000


def waiting(delay_ms: int = HOUR_MS) -> Leave:
    return begin("id", delay_ms, T0)


def connected(delay_ms: int = HOUR_MS) -> Leave:
    """Connected right at the beginning, and restarted."""
    leave = restarted(seen(waiting(delay_ms), T0), T0, exists=True)
    assert leave is not None
    return leave


def leaving() -> Leave:
    return looked(told_gone(connected(), T0), T0, is_there=False)


def test_who_connects_has_the_leave_put_off_at_once_and_again_in_time() -> None:
    leave = seen(waiting(), T0 + 500)
    assert leave.next_step == (T0 + 500, Act.RESTART)
    later = restarted(leave, T0 + 600, exists=True)
    assert later is not None
    assert later.act_ts == T0 + 600 + RESTART_PART * HOUR_MS
    assert later.expires_ts == T0 + 600 + HOUR_MS
    assert later.next_step == (T0 + 500 + LOOK_EVERY_MS, Act.LOOK)


@given(delay_ms=st.integers(1, 10 * HOUR_MS))
def test_who_does_not_come_is_looked_for_ever_less_often_and_then_leaves(delay_ms: int) -> None:
    leave, now_ts, waits = waiting(delay_ms), T0, []
    while (step := leave.next_step)[1] is Act.LOOK:
        assert now_ts <= step[0]
        waits.append(step[0] - now_ts)
        now_ts = step[0]
        leave = looked(leave, now_ts, is_there=False)
    assert step == (T0 + min(delay_ms, LONGEST_WAIT_MS), Act.SEND)
    assert waits == sorted(waits)
    assert all(wait_ms <= LAST_LOOK_MS for wait_ms in waits)
    assert sent(leave, step[0], is_done=True) is None


def test_who_is_found_by_looking_is_connected() -> None:
    assert looked(waiting(), T0 + 1_000, is_there=True).phase is Phase.CONNECTED


def test_who_is_said_to_be_gone_is_looked_for_and_leaves_if_it_is_so() -> None:
    leave = told_gone(connected(), T0 + 5)
    assert leave.next_step == (T0 + 5, Act.LOOK)
    assert looked(leave, T0 + 6, is_there=False).next_step == (T0 + 6, Act.SEND)


def test_who_has_connected_anew_does_not_leave_with_the_older_connection() -> None:
    leave = looked(told_gone(connected(), T0 + 5), T0 + 6, is_there=True)
    assert leave.phase is Phase.CONNECTED


def test_who_is_said_to_be_gone_leaves_if_livekit_cannot_be_asked() -> None:
    assert looked(told_gone(connected(), T0), T0, is_there=None).phase is Phase.LEAVING


def test_livekit_that_cannot_be_asked_makes_nobody_leave() -> None:
    leave = looked(connected(), T0 + LOOK_EVERY_MS, is_there=None)
    assert leave.phase is Phase.CONNECTED
    assert leave.look_ts == T0 + 2 * LOOK_EVERY_MS


def test_who_is_gone_without_a_word_leaves_when_it_is_found_out() -> None:
    assert looked(connected(), T0 + LOOK_EVERY_MS, is_there=False).next_step[1] is Act.SEND


def test_a_connection_that_came_to_nothing_ends_what_had_not_begun() -> None:
    assert told_broken_off(waiting(), T0) is None
    doubted = told_broken_off(connected(), T0)
    assert doubted is not None
    assert doubted.phase is Phase.DOUBTED


def test_what_was_sent_or_cancelled_elsewhere_is_over() -> None:
    assert restarted(seen(waiting(), T0), T0, exists=False) is None


def test_what_cannot_be_put_off_is_tried_again_until_it_goes_out_by_itself() -> None:
    leave: Leave | None = seen(waiting(60_000), T0)
    tries = 0
    while leave is not None:
        due_ts, act = leave.next_step
        assert act is Act.RESTART or due_ts >= T0 + LOOK_EVERY_MS
        leave = (
            restarted(leave, due_ts, exists=None)
            if act is Act.RESTART
            else looked(leave, due_ts, is_there=True)
        )
        tries += 1
    assert 5 < tries < 15


def test_what_cannot_be_sent_is_tried_again_until_it_goes_out_by_itself() -> None:
    leave: Leave | None = leaving()
    times = []
    while leave is not None:
        due_ts, act = leave.next_step
        assert act is Act.SEND
        times.append(due_ts)
        leave = sent(leave, due_ts, is_done=False)
    assert times[0] == T0
    assert HOUR_MS - 60_000 < times[-1] - T0 <= HOUR_MS


def test_who_is_leaving_cannot_be_called_back() -> None:
    leave = leaving()
    assert seen(leave, T0) == leave
    assert told_gone(leave, T0) == leave
    assert looked(leave, T0, is_there=False) == leave


@pytest.mark.parametrize(
    ("leave", "act"),
    [
        (waiting(), Act.LOOK),
        (told_gone(connected(), T0), Act.LOOK),
        (leaving(), Act.SEND),
    ],
)
def test_after_a_pause_the_next_step_is_taken_at_once(leave: Leave, act: Act) -> None:
    assert resume(leave, T0 + 99_000).next_step == (T0 + 99_000, act)


def test_what_was_put_off_rests() -> None:
    assert put_off(connected(), T0 + 7).next_step[0] == T0 + 7


def test_after_a_pause_who_was_connected_is_looked_for() -> None:
    leave = resume(connected(), T0 + 99_000)
    assert leave.look_ts == T0 + 99_000
