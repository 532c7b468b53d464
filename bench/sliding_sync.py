"""Sliding sync under hsbench: what a client like Element X costs a server.

Run as `python -m bench.sliding_sync run SERVER --scenarios sliding_sync`, with hsbench in
PYTHONPATH; everything else is as hsbench has it. An account in many rooms asks for the first 20
rooms of its list, then grows the range over all of them, then hears of messages one by one.
"""

import importlib
from functools import partial
from typing import Any

ROOMS = {"tiny": 30, "small": 500, "medium": 500}
MESSAGES = 3
REPEATS = 10
INCREMENTS = 100
PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
REQUIRED = [
    ["m.room.name", ""],
    ["m.room.encryption", ""],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
    ["m.room.topic", ""],
    ["m.room.avatar", ""],
    ["m.room.canonical_alias", ""],
    ["m.room.power_levels", ""],
    ["org.matrix.msc3401.call.member", "*"],
    ["m.room.join_rules", ""],
    ["m.room.tombstone", ""],
    ["m.room.create", ""],
    ["m.room.history_visibility", ""],
    ["io.element.functional_members", ""],
    ["m.space.parent", "*"],
    ["m.space.child", "*"],
]
"""What Element X asks of the rooms in its list."""


def request(conn_id: str, last: int) -> dict[str, Any]:
    """A request as Element X makes it, for the rooms of the list up to a place."""
    return {
        "conn_id": conn_id,
        "lists": {
            "all_rooms": {
                "ranges": [[0, last]],
                "timeline_limit": 1,
                "required_state": REQUIRED,
                "filters": {},
            }
        },
        "extensions": {
            "account_data": {"enabled": True},
            "receipts": {"enabled": True, "rooms": ["*"]},
            "typing": {"enabled": True},
        },
    }


async def sliding_sync(bench: Any) -> dict[str, Any]:
    """The first rooms of the list, all of them, and then one message after the other."""
    hsbench = importlib.import_module("hsbench.client")
    measure = importlib.import_module("hsbench.measure")
    count = ROOMS["tiny" if bench.scale.sync_rooms < 10 else "small"]
    user, other = await bench.fresh_users(2)
    bench.say(f"creating {count} rooms")
    rooms = await hsbench.gather_limited([other.create_room] * count, 4)
    await hsbench.gather_limited([partial(user.join, room) for room in rooms], 4)

    async def fill(room: str) -> None:
        for number in range(MESSAGES):
            await other.send(room, f"A message of usual length, number {number}.")

    await hsbench.gather_limited([partial(fill, room) for room in rooms], 8)

    async def ask(conn_id: str, last: int, **query: Any) -> Any:
        body = request(conn_id, last)
        return await user.client.call("POST", PATH, user.token, body, **query)

    first: list[float] = []
    shown = 0
    async with measure.Meter(bench.adapter) as meter:
        for repeat in range(REPEATS):
            reply = await hsbench.timed(ask(f"first{repeat}", 19), first)
            shown = len(reply["rooms"])
    initial = {
        **meter.per_operation(REPEATS, "first 20 rooms"),
        "rooms_in_reply": shown,
        "first_ms": round(first[0] * 1000, 1),
        "later_latency_ms": measure.latency(first[1:]),
    }
    grown: list[float] = []
    known = 20
    reply = await ask("grown", 19)
    async with measure.Meter(bench.adapter) as meter:
        for last in range(119, count + 100, 100):
            reply = await hsbench.timed(ask("grown", last, pos=reply["pos"]), grown)
            known += len(reply["rooms"])
    growing = {
        **meter.per_operation(len(grown), "range grown by 100"),
        "rooms_known": known,
        "latency_ms": measure.latency(grown),
    }
    heard: list[float] = []
    async with measure.Meter(bench.adapter) as meter:
        for number in range(INCREMENTS):
            room = rooms[number * 7 % count]
            await other.send(room, f"News of usual length, number {number}.")
            pos = reply["pos"]
            reply = await hsbench.timed(ask("grown", count + 99, pos=pos, timeout=10_000), heard)
            while room not in reply["rooms"]:
                pos = reply["pos"]
                reply = await ask("grown", count + 99, pos=pos, timeout=10_000)
    incremental = {
        **meter.per_operation(INCREMENTS, "send + incremental sliding sync"),
        "latency_ms": measure.latency(heard),
    }
    return {"rooms": count, "initial": initial, "growing": growing, "incremental": incremental}


if __name__ == "__main__":
    importlib.import_module("hsbench.scenarios").SCENARIOS["sliding_sync"] = sliding_sync
    raise SystemExit(importlib.import_module("hsbench.cli").main())
