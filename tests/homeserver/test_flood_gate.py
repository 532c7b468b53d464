"""The log under a flood: what others can bring about without end is told so many times."""

import logging

from homeserver.observe.log import GATE_S, MOST_OF_A_KIND, FloodGate


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(message: str, level: int = logging.INFO, *args: object) -> logging.LogRecord:
    return logging.LogRecord("hearth.x", level, "x.py", 1, message, args, None)


def test_lines_of_one_kind_are_limited_and_others_still_come() -> None:
    clock = Clock()
    gate = FloodGate(clock)
    passed = [gate.filter(record("%s is refused", logging.INFO, n)) for n in range(1_000)]
    assert sum(passed) == MOST_OF_A_KIND
    assert gate.filter(record("something else"))
    clock.now_s += GATE_S
    told = record("%s is refused", logging.INFO, "one")
    assert gate.filter(told)
    assert (
        told.getMessage()
        == f"one is refused ({1_000 - MOST_OF_A_KIND} more like it were not logged)"
    )
    assert gate.filter(record("%s is refused", logging.INFO, "two"))


def test_debugging_and_disaster_are_never_held_back() -> None:
    gate = FloodGate(Clock())
    for level in (logging.DEBUG, logging.CRITICAL):
        assert all(gate.filter(record("again", level)) for _ in range(1_000))


def test_kinds_without_end_are_forgotten() -> None:
    gate = FloodGate(Clock())
    for n in range(10_000):
        assert gate.filter(record(f"kind {n}"))
    assert len(gate._seen) <= 2_000
