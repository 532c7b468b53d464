"""Which state of a room a client wants: pairs of event type and state key.

Either may be `*` for any; the state key `$ME` is the user, and the key `$LAZY` of member events
asks for those whose senders are shown. Pure. Source: MSC4186, as clients speak it so far.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import orjson

ANY = "*"
ME = "$ME"
LAZY = "$LAZY"
MEMBER = "m.room.member"

Pair = tuple[str, str]


@dataclass(frozen=True)
class RequiredState:
    """What is wanted; `pairs` is all there is to it, the rest follows."""

    pairs: frozenset[Pair]

    @cached_property
    def types(self) -> frozenset[str] | None:
        """The event types of which something is wanted; None for any."""
        types = frozenset(event_type for event_type, _ in self.pairs)
        return None if ANY in types else types

    @cached_property
    def loads_lazily(self) -> bool:
        """Whether of the members only those are wanted who are shown."""
        return (MEMBER, LAZY) in self.pairs and not self.matches(MEMBER, ANY, "")

    @cached_property
    def wants_all_members(self) -> bool:
        """Whether all members are wanted."""
        return self.matches(MEMBER, ANY, "")

    @cached_property
    def text(self) -> str:
        """The same for every equal one."""
        return orjson.dumps(sorted(self.pairs)).decode()

    def matches(self, event_type: str, state_key: str, user_id: str) -> bool:
        """Whether state is wanted for itself, and not only because its sender is shown."""
        pairs = self.pairs
        return (
            (event_type, state_key) in pairs
            or (event_type, ANY) in pairs
            or (ANY, state_key) in pairs
            or (ANY, ANY) in pairs
            or (state_key == user_id and ((event_type, ME) in pairs or (ANY, ME) in pairs))
        )

    def covers(self, other: "RequiredState") -> bool:
        """Whether nothing is wanted by `other` that is not wanted here."""
        return other.pairs <= self.pairs or all(
            self.matches(event_type, state_key, "") for event_type, state_key in other.pairs
        )

    def members_named(self, user_id: str) -> set[str]:
        """The users whose member events are wanted by name."""
        named = {key for event_type, key in self.pairs if event_type in (MEMBER, ANY)}
        return {user_id if key == ME else key for key in named - {ANY, LAZY} if key}


NOTHING = RequiredState(frozenset())


def union(parts: Iterable[RequiredState]) -> RequiredState:
    """What is wanted by any of them."""
    kinds = list(dict.fromkeys(parts))
    if len(kinds) == 1:
        return kinds[0]
    return _interned(frozenset().union(*(part.pairs for part in kinds)))


def from_text(text: str) -> RequiredState:
    """The required state of which `text` is that."""
    return _interned(frozenset((pair[0], pair[1]) for pair in orjson.loads(text)))


def from_pairs(pairs: Iterable[Pair]) -> RequiredState:
    """What asks for these pairs."""
    return _interned(frozenset(pairs))


@lru_cache(maxsize=256)
def _interned(pairs: frozenset[Pair]) -> RequiredState:
    return RequiredState(pairs)
