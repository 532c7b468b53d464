"""How often somebody may be wrong about an account."""

import tracemalloc

import pytest

from federation.protocol.errors import LimitExceeded
from homeserver.config.sections.limits import Allowance
from homeserver.users.failed_attempts import MAX_ACCOUNTS, FailedAttempts


def attempts() -> FailedAttempts:
    return FailedAttempts(Allowance(per_second=0.001, burst=2), lambda: 1000.0, enabled=True)


def test_an_account_is_tried_so_often_and_no_more() -> None:
    counted = attempts()
    counted.begin("@a:test")
    counted.begin("@a:test")
    with pytest.raises(LimitExceeded):
        counted.begin("@a:test")
    counted.begin("@b:test")
    counted.give_back("@a:test")
    counted.begin("@a:test")


def test_many_long_names_take_little_memory() -> None:
    counted = attempts()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(500):
        counted.begin(f"{number}{'x' * 100_000}")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1_000_000


def test_names_that_are_tried_now_are_remembered_among_many() -> None:
    counted = attempts()
    counted.begin("@a:test")
    counted.begin("@a:test")
    for number in range(MAX_ACCOUNTS // 2 + 1):
        counted.begin(f"@{number}:test")
    with pytest.raises(LimitExceeded):
        counted.begin("@a:test")
