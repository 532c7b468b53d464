"""Retry delays grow, stay within bounds and spread."""

from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.retry_schedule import DESTINATION_RETRIES, RetrySchedule

schedules = st.builds(
    RetrySchedule,
    first_ms=st.integers(min_value=1, max_value=60_000),
    longest_ms=st.integers(min_value=60_000, max_value=10**9),
)
attempts = st.integers(min_value=1, max_value=10**6)
fractions = st.floats(min_value=0, max_value=1)


@given(schedules, attempts, fractions)
def test_a_delay_lies_between_half_of_the_nominal_one_and_the_whole(
    schedule: RetrySchedule, attempt: int, fraction: float
) -> None:
    nominal = schedule.nominal_ms(attempt)
    assert 0 < nominal <= schedule.longest_ms
    assert nominal / 2 <= schedule.delay_ms(attempt, fraction) <= nominal


@given(schedules, st.integers(min_value=1, max_value=100), fractions, fractions)
def test_delays_never_shrink_until_the_longest_is_reached(
    schedule: RetrySchedule, attempt: int, first: float, second: float
) -> None:
    if schedule.nominal_ms(attempt + 1) < schedule.longest_ms:
        assert schedule.delay_ms(attempt, first) <= schedule.delay_ms(attempt + 1, second)


def test_another_server_is_tried_after_seconds_first_and_hourly_in_the_end() -> None:
    assert DESTINATION_RETRIES.delay_ms(1, 1.0) == 5_000
    assert DESTINATION_RETRIES.delay_ms(1, 0.0) == 2_500
    assert DESTINATION_RETRIES.delay_ms(2, 1.0) == 10_000
    assert DESTINATION_RETRIES.delay_ms(1000, 1.0) == 3_600_000
