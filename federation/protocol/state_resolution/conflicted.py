"""Where states differ: the conflicted events, the auth difference, the conflicted state subgraph.

The functions work on IDs of any kind, so that a store may call them with its own integers.
Source: room version 12, "State resolution", "Definitions".
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SplitState(Generic[Key, Id]):
    """What several states agree on, and for each other key the events that they hold there."""

    unconflicted: dict[Key, Id]
    conflicted: dict[Key, set[Id]]

    @property
    def conflicted_events(self) -> set[Id]:
        """The conflicted state set."""
        return set().union(*self.conflicted.values())


def split_conflicted(
    state_sets: Sequence[Mapping[Key, Id]], *, absence_conflicts: bool = True
) -> SplitState[Key, Id]:
    """Divide states into what they share and what they do not.

    From algorithm version 2 on a key that one state lacks is in conflict; version 1
    (`absence_conflicts=False`) takes what the others agree on.
    """
    if not state_sets:
        return SplitState({}, {})
    shared = set(state_sets[0].items()).intersection(*(s.items() for s in state_sets[1:]))
    unconflicted = dict(shared)
    conflicted: dict[Key, set[Id]] = {}
    for state in state_sets:
        for key, event_id in state.items() - shared:
            conflicted.setdefault(key, set()).add(event_id)
    if not absence_conflicts:
        for key in [key for key, events in conflicted.items() if len(events) == 1]:
            (unconflicted[key],) = conflicted.pop(key)
    return SplitState(unconflicted, conflicted)


def find_reachable(start: Iterable[Id], edges: Mapping[Id, Collection[Id]]) -> set[Id]:
    """The nodes from which one starts and all that can be reached from them."""
    reached = set(start)
    pending = list(reached)
    while pending:
        for node in edges.get(pending.pop(), ()):
            if node not in reached:
                reached.add(node)
                pending.append(node)
    return reached


def find_auth_difference(
    state_sets: Iterable[Iterable[Id]], auth_edges: Mapping[Id, Collection[Id]]
) -> set[Id]:
    """The events that stand in the full auth chain of some of the states, but not of all.

    `auth_edges` leads from an event to its auth events. As in the servers at large, the events of
    a state count as part of its chain: a state event that all agree on is never in the difference.
    """
    chains = [find_reachable(state, auth_edges) for state in state_sets]
    if not chains:
        return set()
    return chains[0].union(*chains[1:]) - chains[0].intersection(*chains[1:])


def find_conflicted_subgraph(
    conflicted: Collection[Id], auth_edges: Mapping[Id, Collection[Id]]
) -> set[Id]:
    """The events on the auth event paths from one conflicted event to another, ends included.

    `auth_edges` covers the auth chains of the conflicted events.
    """
    below = find_reachable(conflicted, auth_edges)
    citing: dict[Id, list[Id]] = {}
    for node in below:
        for cited in auth_edges.get(node, ()):
            citing.setdefault(cited, []).append(node)
    return find_reachable(conflicted, citing)
