"""What holds of state resolution whatever has happened in a room."""

from itertools import pairwise
from random import Random
from typing import NamedTuple, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.identifiers import EventId
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.room_versions import ROOM_VERSIONS
from federation.protocol.state_resolution.conflicted import (
    find_auth_difference,
    find_conflicted_subgraph,
    find_reachable,
    split_conflicted,
)
from federation.protocol.state_resolution.known_events import Loaded, Resolution
from federation.protocol.state_resolution.mainline import mainline_order
from federation.protocol.state_resolution.power_order import reverse_topological_power_order
from federation.protocol.state_resolution.resolve import resolve
from tests.room_factory import ALICE, BOB, CAROL, DAVE, Room, resolve_branches

# Histories: three branches of a room in which four users do what they are allowed to do

Key = TypeVar("Key")
Value = TypeVar("Value")

USERS = (ALICE, BOB, CAROL, DAVE)


class Deed(NamedTuple):
    branch: int
    actor: str
    kind: str
    target: str
    level: int
    clock: int


deeds = st.lists(
    st.builds(
        Deed,
        st.integers(0, 2),
        st.sampled_from(USERS),
        st.sampled_from(["join", "leave", "ban", "invite", "rule", "grant", "topic"]),
        st.sampled_from(USERS),
        st.sampled_from([0, 50, 100]),
        st.integers(1, 5),
    ),
    max_size=14,
)
versions = st.sampled_from(tuple(ROOM_VERSIONS))


def build(room: Room, deed: Deed) -> Pdu:
    if deed.kind == "rule":
        rule = {"join_rule": "public" if deed.level else "invite"}
        event_type, content, state_key = "m.room.join_rules", dict[str, object](rule), ""
    elif deed.kind == "grant":
        current = room.state["m.room.power_levels", ""].content
        users = current["users"] | {deed.target: deed.level}
        if room.version.privileged_creators:
            users.pop(ALICE, None)
        event_type, content, state_key = "m.room.power_levels", {"users": users}, ""
    elif deed.kind == "topic":
        event_type, content, state_key = "m.room.topic", {}, ""
    else:
        event_type, content, state_key = "m.room.member", {"membership": deed.kind}, deed.target
    return room.build(event_type, deed.actor, content, state_key, origin_server_ts=deed.clock)


def act(room: Room, deed: Deed) -> None:
    event = build(room, deed)
    if room.verdict(event) is None:
        room.events[event.event_id] = event
        room.heads = (event.event_id,)
        room.state[event.state_place] = event


def branches_of(version: str, history: list[Deed]) -> list[Room]:
    root = Room.furnished(version, users={BOB: 50})
    branches = [root.fork() for _ in range(3)]
    for deed in history:
        act(branches[deed.branch], deed)
    return branches


@given(versions, deeds, st.permutations(range(3)))
def test_the_order_of_states_does_not_matter(
    version: str, history: list[Deed], order: list[int]
) -> None:
    branches = branches_of(version, history)
    assert resolve_branches(*branches) == resolve_branches(*(branches[i] for i in order))


@given(versions, deeds)
def test_the_same_state_twice_is_the_same_state(version: str, history: list[Deed]) -> None:
    first, *others = branches_of(version, history)
    assert resolve_branches(first, first) == first.state_ids
    assert resolve_branches(first, first, *others) == resolve_branches(first, *others)


@given(versions, deeds)
def test_what_is_undisputed_stays(version: str, history: list[Deed]) -> None:
    branches = branches_of(version, history)
    unconflicted = split_conflicted([branch.state_ids for branch in branches]).unconflicted
    assert unconflicted.items() <= resolve_branches(*branches).items()


@given(versions, deeds)
def test_every_event_of_the_result_stands_at_its_place(version: str, history: list[Deed]) -> None:
    room, *others = branches_of(version, history)
    for place, event_id in resolve_branches(room, *others).items():
        assert room.events[event_id].state_place == place


@given(versions, deeds, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_eagerness_of_loading_matters(
    version: str, history: list[Deed], random: Random
) -> None:
    branches = branches_of(version, history)
    states = [shuffled(branch.state_ids, random) for branch in branches]
    edges = {e.event_id: e.auth_events for e in branches[0].events.values()}
    difference = find_auth_difference([state.values() for state in states], edges)
    conflicted = split_conflicted(states).conflicted_events
    subgraph = find_conflicted_subgraph(conflicted, edges)
    resolution = resolve(branches[0].version, states, difference, subgraph)
    everything = Loaded(shuffled(branches[0].events, random))
    assert result_of(resolution, everything) == resolve_branches(*branches)


def result_of(resolution: Resolution, everything: Loaded) -> dict[StateKey, EventId]:
    """What comes of answering every question with all there is."""
    try:
        next(resolution)
        while True:
            resolution.send(everything)
    except StopIteration as done:
        return dict(done.value)


def shuffled(mapping: dict[Key, Value], random: Random) -> dict[Key, Value]:
    items = list(mapping.items())
    random.shuffle(items)
    return dict(items)


# Orderings, against their definitions

dags = st.lists(st.sets(st.integers(0, 30), max_size=4), min_size=1, max_size=12).map(
    lambda rows: {i: sorted({j % i for j in row}) if i else [] for i, row in enumerate(rows)}
)


def event_of(node: int, cited: list[int], clock: int) -> Pdu:
    auth_events = [f"${i:02}" for i in cited]
    return Room().build(
        "m.x", BOB, {}, "", event_id=f"${node:02}", auth_events=auth_events, origin_server_ts=clock
    )


@given(dags, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=12, max_size=12))
def test_power_order_takes_the_least_of_those_whose_causes_are_done(
    dag: dict[int, list[int]], ranks: list[tuple[int, int]]
) -> None:
    events = {f: event_of(n, cited, ranks[n][1]) for n, cited in dag.items() for f in [f"${n:02}"]}
    levels = {f"${n:02}": ranks[n][0] for n in dag}
    expected: list[str] = []
    while len(expected) < len(events):
        ready = [
            (-levels[e], event.origin_server_ts, e)
            for e, event in events.items()
            if e not in expected and set(event.auth_events) <= set(expected)
        ]
        expected.append(min(ready)[-1])
    ids: dict[EventId, Pdu] = {event.event_id: event for event in events.values()}
    ordered = reverse_topological_power_order(ids, lambda event: levels[event.event_id])
    assert [event.event_id for event in ordered] == expected


def test_mainline_order_goes_by_position_then_time_then_id() -> None:
    levels = [event_of(n, [n - 1] if n else [], 0) for n in range(4)]
    by_id = {event.event_id: event for event in levels}

    def parent(event: Pdu) -> Pdu | None:
        return by_id.get(event.auth_events[0]) if event.auth_events else None

    resting = [
        event_of(20, [], 9),
        event_of(21, [0], 9),
        event_of(22, [2], 1),
        event_of(23, [2], 2),
        event_of(24, [2], 2),
        event_of(25, [3], 0),
    ]
    assert mainline_order(reversed(resting), levels[3], parent) == resting
    stray = [event_of(26, [], 2), event_of(27, [3], 1)]
    assert mainline_order(stray, None, parent) == [stray[1], stray[0]]


# Sets, against their definitions


@given(dags, st.lists(st.sets(st.integers(0, 11)), max_size=4))
def test_the_auth_difference_is_what_not_all_chains_have(
    dag: dict[int, list[int]], starts: list[set[int]]
) -> None:
    starts = [start & dag.keys() for start in starts]
    chains = [{n for n in dag for s in start if has_path(dag, s, n)} for start in starts]
    expected = {n for n in dag if 0 < sum(n in chain for chain in chains) < len(chains)}
    assert find_auth_difference(starts, dag) == expected


@given(dags, st.sets(st.integers(0, 11)))
def test_the_conflicted_subgraph_is_what_lies_between(
    dag: dict[int, list[int]], conflicted: set[int]
) -> None:
    conflicted &= dag.keys()
    expected = {
        n
        for n in dag
        if any(has_path(dag, c, n) for c in conflicted)
        and any(has_path(dag, n, c) for c in conflicted)
    }
    assert find_conflicted_subgraph(conflicted, dag) == expected


def has_path(dag: dict[int, list[int]], start: int, end: int) -> bool:
    return start == end or any(has_path(dag, n, end) for n in dag[start])


@given(dags)
def test_reachable_is_transitive(dag: dict[int, list[int]]) -> None:
    sizes = [len(find_reachable(range(n), dag)) for n in range(len(dag) + 1)]
    assert all(a <= b for a, b in pairwise(sizes))


keys = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))
states = st.lists(st.dictionaries(keys, st.sampled_from("123")), min_size=1, max_size=4)


@given(states)
def test_a_key_is_undisputed_if_all_states_agree_on_it(
    states: list[dict[StateKey, str]],
) -> None:
    split = split_conflicted(states)
    lenient = split_conflicted(states, absence_conflicts=False)
    for key in {key for state in states for key in state}:
        values = [state.get(key) for state in states]
        present = {value for value in values if value is not None}
        assert (key in split.unconflicted) == (len(set(values)) == 1)
        assert split.conflicted.get(key, present) == present
        assert (key in lenient.conflicted) == (len(present) > 1)
        assert (key in lenient.unconflicted) == (len(present) == 1)
