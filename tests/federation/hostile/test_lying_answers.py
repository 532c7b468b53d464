"""A server in the room that lies when it is asked what lies behind its events."""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from federation.protocol.identifiers import EventId
from tests.federation.hostile.far_peer import json_answer, never
from tests.federation.hostile.health import Scene, Setting
from tests.federation.hostile.room_copy import Fields

MEBIBYTE = 1_048_576


def gap(scene: Scene) -> Fields:
    """An event after one that our server lacks."""
    _, last = scene.room.say("lost", "last")
    return last


def bridged(scene: Scene) -> Fields:
    """An event after a missing one that is told; before that, only the state is."""
    _, lost, last = scene.room.say("older", "lost", "last")
    scene.hostile.answers["get_missing_events"] = {"events": [lost]}
    return last


def is_heard(request: web.BaseRequest) -> bool:
    """Whether the other side has not hung up."""
    return request.transport is not None and not request.transport.is_closing()


async def trickle(request: web.BaseRequest) -> web.StreamResponse:
    """Give an answer a byte at a time, without end."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while is_heard(request):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Hang up in the middle of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"pdus": [')
    assert request.transport is not None
    request.transport.abort()
    return response


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    """Give an answer that has no end, as fast as it is read."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while is_heard(request):
        await response.write(b" " * MEBIBYTE)
        # To a connection that was reset, TLS writes at once and for ever: Python 3.11.7 says
        # that it closes only when the event loop has had a turn.
        await asyncio.sleep(0)
    return response


async def bomb(request: web.BaseRequest) -> web.StreamResponse:
    """Give an answer that unpacks to 200 MB."""
    del request
    packed = gzip.compress(b"{" + b" " * (200 * MEBIBYTE))
    return web.Response(
        body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
    )


async def page(request: web.BaseRequest) -> web.StreamResponse:
    """Give a page of HTML."""
    del request
    return web.Response(text="<html>\n<b>busy\n" * 100, content_type="text/html")


async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
    """Send our server elsewhere."""
    raise web.HTTPFound("http://127.0.0.1:1" + request.path)


def text(body: str) -> Callable[[web.BaseRequest], Any]:
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        del request
        return web.Response(text=body, content_type="application/json")

    return respond


GARBAGE: dict[str, Any] = {
    "nothing": text(""),
    "a page": page,
    "half of it": text('{"events": [{"a":'),
    "a number": text("7"),
    "a list": [],
    "an empty object": {},
    "null": {"events": None, "pdus": None, "pdu_ids": None, "auth_chain_ids": None},
    "numbers": {"events": [7], "pdus": [7], "pdu_ids": [7], "auth_chain_ids": [7]},
    "empty events": {"events": [{}], "pdus": [{}], "pdu_ids": [""], "auth_chain_ids": [""]},
    "NULs": {"events": [], "pdus": [], "pdu_ids": ["$\0"], "auth_chain_ids": ["\0"]},
    "nested deeply": text('{"events": [' + '{"a":' * 900 + "1" + "}" * 900 + "]}"),
    "NaN": text('{"events": [NaN]}'),
    "a redirect": elsewhere,
    "an error of no shape": (403, {"errcode": 7, "error": []}),
    "too much": endless,
    "a bomb": bomb,
}
BREAKDOWNS: dict[str, Any] = {
    "an error": (500, {"errcode": "M_UNKNOWN", "error": "line\nline\n" * 1_000}),
    "a reset": reset,
}
"""After these the server is left alone for a while."""


ASKED = ("get_missing_events", "state_ids", "state", "event/", "event_auth", "query")


async def test_garbage_for_an_answer(scene: Scene) -> None:
    for kind, garbage in GARBAGE.items():
        last = gap(scene)
        scene.hostile.answers = dict.fromkeys(ASKED, garbage)
        answer = await scene.sent(last)
        assert "error" in answer[scene.room.id_of(last)], kind
        await scene.honest_events_are_taken()
    await scene.assert_healthy(most_lines=4 * len(GARBAGE))


@pytest.mark.parametrize("kind", BREAKDOWNS)
async def test_a_server_that_breaks_down_when_it_is_asked(scene: Scene, kind: str) -> None:
    last = gap(scene)
    scene.hostile.answers = dict.fromkeys(ASKED, BREAKDOWNS[kind])
    assert await scene.refusal_of(last)
    await scene.assert_healthy()


@pytest.mark.parametrize("way", [trickle, never], ids=["trickles", "is silent"])
async def test_a_server_that_is_asked_and(setting: Setting, way: Any) -> None:
    async with setting.scene() as scene:
        last = gap(scene)
        scene.hostile.answers |= dict.fromkeys(("get_missing_events", "state_ids", "state"), way)
        waiting = asyncio.create_task(scene.hostile.send(last))
        await scene.until_asked("get_missing_events")
        await scene.honest_events_are_taken()
        (fields,) = scene.honest_room.say("meanwhile")
        assert (await scene.honest.send(fields)).ok()
        scene.hostile.answers.clear()
        await scene.hostile.hang_up()
        await waiting
        await scene.assert_healthy()


async def test_a_silent_server_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.rooms.intake.CLOSING_TIMEOUT_S", 0.5)
    last = gap(scene)
    scene.hostile.answers |= dict.fromkeys(("get_missing_events", "state_ids", "state"), never)
    assert await scene.refusal_of(last)
    await scene.assert_healthy()


async def test_gaps_that_never_end_are_given_up(scene: Scene) -> None:
    """Each answer is an event that follows another unknown one."""
    room, made = scene.room, dict[EventId, Fields]()

    def older(event_id: EventId) -> Fields:
        fields = room.event(prev=[f"$unknown{len(made)}"])
        made[event_id] = fields
        return fields

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        wanted = json.loads(await request.read())["latest_events"]
        return json_answer({"events": [made.get(i) or older(i) for i in wanted]})

    scene.hostile.answers |= {"get_missing_events": answer, "state_ids": (404, {})}
    last = gap(scene)
    assert await scene.refusal_of(last)
    assert sum("get_missing_events" in path for path in scene.hostile.asked) <= 5
    await scene.assert_healthy()


async def test_chains_of_unknown_events_are_followed_a_little(scene: Scene) -> None:
    room = scene.room
    said = room.say(*(str(n) for n in range(400)))
    scene.hostile.answers["state_ids"] = (404, {})
    await scene.sent(said[-1])
    assert len(scene.hostile.asked) < 30
    await scene.assert_healthy()


async def test_missing_events_that_were_not_asked_for_are_passed_over(scene: Scene) -> None:
    last = gap(scene)
    unasked = [scene.room.event(prev=[f"$nowhere{n}"]) for n in range(50)]
    scene.hostile.answers["get_missing_events"] = {"events": unasked}
    assert await scene.refusal_of(last)
    assert [await scene.standing(scene.room.id_of(one)) for one in unasked] == [None] * 50
    await scene.assert_healthy()


def lies(scene: Scene) -> dict[str, dict[str, Any]]:
    """Answers to /state_ids that do not hold."""
    room, other = scene.room, scene.hostile.rooms[scene.other_room_id]
    state = list(room.state.values())
    create = room.state["m.room.create", ""]
    messages = [room.id_of(one) for one in (room.event(), room.event())]
    return {
        "nothing": {"pdu_ids": [], "auth_chain_ids": []},
        "no creation": {"pdu_ids": [i for i in state if i != create], "auth_chain_ids": []},
        "another room": {"pdu_ids": list(other.state.values()), "auth_chain_ids": []},
        "nobody knows": {"pdu_ids": [create, "$a", "$b"], "auth_chain_ids": ["$c"]},
        "no members": {"pdu_ids": [create], "auth_chain_ids": state},
        "messages": {"pdu_ids": messages, "auth_chain_ids": messages},
        "too much": {"pdu_ids": [f"$x{n}" for n in range(100_001)], "auth_chain_ids": []},
    }


async def test_states_that_do_not_hold(scene: Scene) -> None:
    for name, lie in lies(scene).items():
        last = bridged(scene)
        scene.hostile.answers["state_ids"] = lie
        await scene.sent(last)
        assert await scene.standing(scene.room.id_of(last)) is None, name
    scene.hostile.answers.clear()
    last = bridged(scene)
    assert await scene.sent(last) == {scene.room.id_of(last): {}}
    assert await scene.standing(scene.room.id_of(last)) == 0
    await scene.assert_healthy(most_lines=60)


async def test_a_state_that_gives_somebody_rights_moves_nothing(scene: Scene) -> None:
    """Forged, rejected and contradictory events in a state are not used."""
    room = scene.room
    evil = room.user()
    crown = room.event("m.room.power_levels", {"users": {evil: 100}}, "")
    alice_out = room.event("m.room.member", {"membership": "leave"}, scene.alice.user_id)
    forged = {**room.event("m.room.topic", {"topic": "x"}, ""), "sender": scene.alice.user_id}
    lies = [crown, alice_out, forged]
    room.keep(lies)
    last = bridged(scene)
    state = [*room.state.values(), *(room.id_of(one) for one in lies)]
    scene.hostile.answers["state_ids"] = {"pdu_ids": state, "auth_chain_ids": []}
    assert await scene.sent(last) == {room.id_of(last): {}}
    coup = room.event("m.room.name", {"name": "mine"}, "", auth=[*room.event()["auth_events"]])
    assert await scene.refusal_of(coup)
    await scene.assert_healthy()


async def test_a_state_that_forgets_a_ban_does_not_undo_it(scene: Scene) -> None:
    room, evil = scene.room, scene.room.user()
    ban = {"user_id": evil}
    (await scene.alice.post(f"v3/rooms/{scene.room_id}/ban", ban)).ok()
    await scene.begin()
    last = bridged(scene)
    assert await scene.sent(last) == {room.id_of(last): {}}
    assert await scene.standing(room.id_of(last)) == 1
    timeline = (await scene.alice.sync())["rooms"]["join"][scene.room_id]["timeline"]["events"]
    assert room.id_of(last) not in [one["event_id"] for one in timeline]
    await scene.assert_healthy()


async def test_an_event_that_is_another_than_was_asked_for(scene: Scene) -> None:
    room = scene.room
    unknown = room.event("org.example", {"n": 1}, "")
    room.take(unknown)
    last = gap(scene)
    scene.hostile.answers |= {
        "get_missing_events": (404, {}),
        "event/": {"pdus": [room.event("org.example", {"n": 2}, "")]},
    }
    assert await scene.refusal_of(last)
    assert await scene.standing(room.id_of(unknown)) is None
    await scene.assert_healthy()


@pytest.mark.parametrize("version_id", ["1", "11"])
async def test_what_vouches_for_an_event_is_missing_twofold_or_of_the_wrong_kind(
    setting: Setting, version_id: str
) -> None:
    async with setting.scene(version_id) as scene:
        room = scene.room
        good = room.ids_in(room.event()["auth_events"])
        levels = room.state["m.room.power_levels", ""]
        topic = room.event("m.room.topic", {"topic": "x"}, "")
        room.keep([topic])
        cases: dict[str, list[str]] = {
            "missing": [*good, "$nobody:x"],
            "twice the same": [*good, good[0]],
            "two at one place": [*good, room.state["m.room.member", scene.alice.user_id]],
            "no beginning": [i for i in good if i != room.state["m.room.create", ""]],
            "none": [],
            "no state": [*good, room.id_of(*room.say("x"))],
            "rejected": [*[i for i in good if i != levels], room.id_of(topic)],
        }
        for name, auth in cases.items():
            fields = room.event(auth=auth)
            assert "error" in (await scene.sent(fields))[room.id_of(fields)], name
        await scene.assert_healthy(most_lines=40)


async def test_auth_events_in_a_circle(setting: Setting) -> None:
    async with setting.scene("1") as scene:
        room = scene.room
        names = [f"$ring{n}:{room.server}" for n in range(2)]
        ring = [
            room.event(
                "m.room.member",
                {"membership": "join"},
                room.user(),
                event_id=names[n],
                auth=[room.state["m.room.create", ""], names[1 - n]],
            )
            for n in range(2)
        ]
        last = room.event(auth=[room.state["m.room.create", ""], names[0]])
        scene.hostile.answers["event_auth"] = {"auth_chain": ring}
        assert await scene.refusal_of(last)
        assert [await scene.standing(name) for name in names] == [None, None]
        await scene.assert_healthy()


@pytest.mark.slow
async def test_an_auth_chain_of_ten_thousand_events(scene: Scene) -> None:
    """Such a chain holds if it is true; one whose end is missing is of no use, and not kept."""
    room = scene.room
    place = ("m.room.member", room.user())
    create = room.state["m.room.create", ""]
    rules = [room.state[p] for p in (("m.room.power_levels", ""), ("m.room.join_rules", ""))]
    chain: list[Fields] = []
    last = room.state[place]
    for n in range(10_000):
        content = {"membership": "join", "displayname": str(n)}
        chain.append(room.event("m.room.member", content, room.user(), auth=[create, *rules, last]))
        last = room.id_of(chain[-1])
    fields = room.event(auth=[create, rules[0], last])
    scene.hostile.answers["event_auth"] = {"auth_chain": chain[5_000:]}
    assert await scene.refusal_of(fields)
    assert await scene.standing(last) is None
    scene.hostile.answers["event_auth"] = {"auth_chain": chain}
    assert await scene.sent(fields) == {room.id_of(fields): {}}
    assert await scene.standing(last) == 3
    await scene.assert_healthy()


async def test_a_vouching_event_that_is_held_back_condemns_nobody(scene: Scene) -> None:
    """An honest event is not rejected for what somebody else does not tell of it."""
    room, honest = scene.room, scene.honest_room
    content = {"membership": "join", "displayname": "new"}
    rename = honest.event("m.room.member", content, honest.user())
    honest.take(rename)
    (said,) = honest.say("under the new name")
    scene.hostile.answers |= {
        "get_missing_events": {"events": []},
        "event_auth": {"auth_chain": []},
        "state_ids": {"pdu_ids": [room.state["m.room.create", ""]], "auth_chain_ids": []},
    }
    assert await scene.refusal_of(said)
    assert await scene.standing(honest.id_of(said)) is None
    assert (await scene.honest.send(said)).ok() == {"pdus": {honest.id_of(said): {}}}
    assert await scene.standing(honest.id_of(said)) == 0
    assert await scene.standing(honest.id_of(rename)) == 0
    scene.expected["m.room.member", honest.user()] = honest.id_of(rename)
    await scene.assert_healthy()
