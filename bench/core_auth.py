"""How fast the authorisation rules and state resolution are: `python -m bench.core_auth`."""

import time
from collections.abc import Callable
from functools import partial

from federation.protocol.auth_events import auth_event_places
from federation.protocol.auth_rules.general import check_auth
from federation.protocol.power_levels import PowerLevels
from federation.protocol.state_resolution.conflicted import (
    find_auth_difference,
    find_conflicted_subgraph,
    split_conflicted,
)
from federation.protocol.state_resolution.resolve import resolve, resolve_among
from tests.room_factory import ALICE, BOB, CAROL, Room

MEASURED_SECONDS = 0.5


def microseconds(work: Callable[[], object]) -> float:
    """The mean time of one call."""
    work()
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MEASURED_SECONDS:
        for _ in range(10):
            work()
        calls += 10
    return elapsed / calls * 1e6


def report(name: str, work: Callable[[], object]) -> None:
    cost = microseconds(work)
    print(f"{name:<48} {cost:12,.2f} µs {1e6 / cost:14,.0f} /s")


def bench_auth(version: str) -> None:
    room = Room.furnished(version, users={BOB: 50})
    state = room.auth_state
    content = room.state["m.room.power_levels", ""].content
    many = {f"@user{n}:hub.example": 10 for n in range(1000)}
    events = {
        "message": room.build("m.room.message", BOB, {"body": "hello"}),
        "topic": room.build("m.room.topic", BOB, {"topic": "x"}, ""),
        "member, profile": room.build("m.room.member", BOB, {"membership": "join"}, BOB),
        "member, kick": room.build("m.room.member", BOB, {"membership": "leave"}, CAROL),
        "power levels, 3 users": room.build("m.room.power_levels", ALICE, dict(content), ""),
        "power levels, 1000 users": room.build("m.room.power_levels", ALICE, {"users": many}, ""),
    }
    for name, event in events.items():
        report(f"v{version} check_auth: {name}", partial(check_auth, event, state))
    message = events["message"]
    report(
        f"v{version} auth_event_places: message",
        lambda: auth_event_places(message.type, None, BOB, message.content, room.version),
    )
    report(f"v{version} PowerLevels", lambda: PowerLevels(content, room.create))


def conflict(version: str, size: int) -> tuple[Room, Room]:
    """Two branches in which half as many users each join, are kicked, or set some state."""
    room = Room.furnished(version, users={BOB: 50})
    left, right = room.fork(), room.fork()
    for branch in (left, right):
        for n in range(size // 8):
            user = f"@user{n}:hub.example"
            branch.member(user, "join")
            branch.member(user, "leave", by=BOB)
            branch.send("org.example.setting", BOB, {"n": n}, str(n))
            branch.member(f"@guest{n}:hub.example", "join")
            branch.send("org.example.other", ALICE, {"n": n}, str(n))
            if n % 10 == 0:
                branch.power_levels({"users": {BOB: 50, f"@moderator{n}:hub.example": 20}})
    return left, right


def bench_resolution(version: str, size: int) -> None:
    left, right = conflict(version, size)
    states = [left.state_ids, right.state_ids]
    edges = {event.event_id: event.auth_events for event in left.events.values()}
    conflicted = split_conflicted(states).conflicted_events
    difference = find_auth_difference([state.values() for state in states], edges)
    subgraph = find_conflicted_subgraph(conflicted, edges)

    def merge() -> object:
        resolution = resolve(left.version, states, difference, subgraph)
        return resolve_among(left.events, resolution)

    full = len(conflicted | difference | subgraph)
    report(f"v{version} resolve {len(conflicted)} conflicted ({full} in full)", merge)
    values = [list(state.values()) for state in states]
    report("    auth difference", lambda: find_auth_difference(values, edges))
    report("    conflicted subgraph", lambda: find_conflicted_subgraph(conflicted, edges))
    report("    split", lambda: split_conflicted(states))


def main() -> None:
    for version in ("1", "11", "12"):
        bench_auth(version)
    for version in ("1", "11", "12"):
        for size in (100, 1000):
            bench_resolution(version, size)


if __name__ == "__main__":
    main()
