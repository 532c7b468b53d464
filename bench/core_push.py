"""How long the pure rules of push, filters, ACLs and rendering take: `python -m bench.core_push`.

Figures are microseconds of one call, the best of several rounds.
"""

import timeit
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from federation.protocol.event_rendering import render_client_event
from federation.protocol.filters import keep_fields, parse_event_fields, parse_room_event_filter
from federation.protocol.identifiers import EventId, RoomId, UserId
from federation.protocol.pdu import Pdu
from federation.protocol.power_levels import PowerLevels
from federation.protocol.push_conditions import EventView, RoomContext
from federation.protocol.push_evaluation import Evaluator, compile_ruleset, evaluate
from federation.protocol.push_rules import Ruleset, set_rule
from federation.protocol.room_versions import V5, V12
from federation.protocol.server_acl import parse_server_acl

ROOM = "!room:example.org"
BODY = "Hello there, shall we meet for tea at five? I bring the cake."
FIELDS: Mapping[str, Any] = {
    "auth_events": ["$" + "a" * 43] * 3,
    "content": {"body": BODY, "m.mentions": {}, "msgtype": "m.text"},
    "depth": 123,
    "hashes": {"sha256": "h" * 43},
    "origin_server_ts": 1_700_000_000_000,
    "prev_events": ["$" + "p" * 43],
    "room_id": ROOM,
    "sender": "@bob:example.org",
    "signatures": {"example.org": {"ed25519:a_abcd": "s" * 86}},
    "type": "m.room.message",
}
ENCODED = orjson.dumps(FIELDS)
UNSIGNED = b'{"age":1234,"membership":"join"}'


def message() -> Pdu:
    """A plain message of a room of a hundred."""
    return Pdu(
        event_id=EventId("$" + "e" * 43),
        room_version=V12,
        room_id=RoomId(ROOM),
        type="m.room.message",
        sender=UserId("@bob:example.org"),
        state_key=None,
        content=FIELDS["content"],
        depth=123,
        origin_server_ts=1_700_000_000_000,
        prev_events=(),
        auth_events=(),
        redacts=None,
        encoded=ENCODED,
    )


def measure(name: str, call: Callable[[], object], *, per: int = 1) -> None:
    """Print the microseconds of one call, or of one of `per` parts of it."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    best = min(timer.repeat(repeat=3, number=number)) / number / per
    print(f"{name:<62}{best * 1e6:9.2f} µs{1 / best:14,.0f} /s")


def measure_push() -> None:
    """One event for one reader and for a hundred."""
    pdu = message()
    room = RoomContext(ROOM, 100, PowerLevels({}, pdu))
    plain = [compile_ruleset(Ruleset(f"@u{number}:example.org")) for number in range(100)]
    custom = Ruleset("@own:example.org")
    for number in range(20):
        body = {"pattern": f"keyword{number}", "actions": ["notify"]}
        custom = set_rule(custom, "content", f"keyword{number}", body)
    own = compile_ruleset(custom)
    measure("push: 1 event, 1 user, predefined rules", lambda: _one(plain[0], pdu, room))
    measure("push: 1 event, 100 users, each", lambda: _all(plain, pdu, room), per=100)
    measure("push: 1 event, 1 user with 20 keywords", lambda: _one(own, pdu, room))
    measure("push: compile a ruleset of 20 keywords", lambda: compile_ruleset(custom))
    measure("push: the whole ruleset as JSON", lambda: orjson.dumps(custom.to_json()))


def _one(evaluator: Evaluator, pdu: Pdu, room: RoomContext) -> object:
    return evaluate(evaluator, EventView.of(pdu, room), "Someone")


def _all(evaluators: list[Evaluator], pdu: Pdu, room: RoomContext) -> None:
    view = EventView.of(pdu, room)
    for evaluator in evaluators:
        evaluate(evaluator, view, "Someone")


def measure_rendering() -> None:
    """A message for clients, beside what orjson alone takes."""
    event_id = "$" + "e" * 43
    measure("orjson: parse the event", lambda: orjson.loads(ENCODED))
    measure(
        "render: a message for a client",
        lambda: render_client_event(ENCODED, event_id, ROOM, UNSIGNED, V12),
    )
    measure(
        "render: the same in room version 5",
        lambda: render_client_event(ENCODED, event_id, ROOM, UNSIGNED, V5),
    )


def measure_matching() -> None:
    """Filters and server ACLs."""
    empty = parse_room_event_filter({"lazy_load_members": True})
    typed = parse_room_event_filter({"types": ["m.room.*", "m.call.*"], "not_senders": ["@x:y"]})
    tree = parse_event_fields(["type", "content.body", "sender"])
    deny = [f"*.bad{number}.example" for number in range(300)]
    deny += [f"worse{number}.example" for number in range(300)]
    acl = parse_server_acl({"allow": ["*"], "deny": deny, "allow_ip_literals": False})
    event = ("m.room.message", "@bob:example.org", ROOM, FIELDS["content"])
    measure("filter: empty", lambda: empty.allows_event(*event))
    measure("filter: types and senders", lambda: typed.allows_event(*event))
    measure("filter: keep three fields", lambda: keep_fields(FIELDS, tree))
    measure("server ACL: 600 entries", lambda: acl.is_allowed("matrix.example.org:8448"))


if __name__ == "__main__":
    measure_push()
    measure_rendering()
    measure_matching()
