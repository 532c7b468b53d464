"""Signed requests: what goes over the wire, what comes back, and what goes wrong."""

import asyncio
from itertools import pairwise
from typing import Any

import orjson
import pytest
from aiohttp import web

from federation.outbound.backoff import is_sick
from federation.outbound.client import Query, build_path, build_uri
from federation.outbound.errors import (
    BackingOff,
    BadAnswer,
    FederationError,
    NotFederating,
    Refused,
    Unreachable,
)
from federation.outbound.ports import RetryState
from federation.protocol.errors import Forbidden, IncompatibleRoomVersion, NotFound
from federation.protocol.identifiers import ServerName
from federation.protocol.signatures import verify_bytes
from federation.protocol.x_matrix import parse_authorization, signed_bytes
from tests.federation.world import US, VERSION, Handler, Network, Peer, drop, json_response


async def server_with_port(net: Network, name: str = "a.test") -> tuple[Peer, ServerName]:
    peer = await net.peer(name, port=0, hosts=[name])
    return peer, ServerName(f"{name}:{peer.port}")


def body_of(text: bytes, status: int = 200, **headers: str) -> Handler:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=text, headers=headers)

    return answer


async def test_requests_are_signed_as_they_go_over_the_wire(net: Network) -> None:
    peer, name = await server_with_port(net)
    path = build_path("federation", "v1", "event", "$a/b+c?d é%")
    peer.answers["/_matrix/federation/v1/event/$a/b+c?d é%"] = {"ok": 1}
    query: Query = {"limit": 5, "v": ["$x/y", "& z"], "flag": True, "absent": None}
    body = {"z": [1, None, "é"], "a": {"b": 1.5}}
    assert await net.us().client.request(name, "PUT", path, query=query, body=body) == {"ok": 1}
    seen = peer.last
    assert seen.target == (
        "/_matrix/federation/v1/event/%24a%2Fb%2Bc%3Fd%20%C3%A9%25"
        "?limit=5&v=%24x%2Fy&v=%26%20z&flag=true"
    )
    assert orjson.loads(seen.body) == body
    assert seen.headers["Content-Type"] == "application/json"
    claim = parse_authorization(seen.headers["Authorization"])
    assert (claim.origin, claim.destination, claim.key_id) == (US, name, net.key.key_id)
    message = signed_bytes("PUT", seen.target, US, name, seen.body)
    verify_bytes(message, claim.signature, net.key.verify_key)


async def test_a_body_may_be_canonical_json_already(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = {}
    await net.us().client.request(name, "PUT", VERSION, body=b'{"a":1}')
    assert peer.last.body == b'{"a":1}'


async def test_requests_without_a_body_have_no_content(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = {}
    await net.us().get(name)
    claim = parse_authorization(peer.last.headers["Authorization"])
    verify_bytes(signed_bytes("GET", VERSION, US, name, None), claim.signature, net.key.verify_key)
    assert "Content-Type" not in peer.last.headers


async def test_a_connection_is_used_again(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = {}
    us = net.us()
    for _ in range(5):
        await us.get(name)
    assert len({id(seen.connection) for seen in peer.seen}) == 1


async def test_connections_to_one_server_are_few(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = {}
    us = net.us()
    await asyncio.gather(*(us.get(name) for _ in range(60)))
    assert len(peer.seen) == 60
    assert len({id(seen.connection) for seen in peer.seen}) <= 10


async def test_a_refusal_tells_what_the_server_said(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (403, {"errcode": "M_FORBIDDEN", "error": "You are banned"})
    with pytest.raises(Refused, match="You are banned") as caught:
        await net.us().get(name)
    error = caught.value
    assert (error.destination, error.answer_status, error.answer_errcode) == (
        name,
        403,
        "M_FORBIDDEN",
    )
    assert (error.transient, error.reachable) == (False, True)
    relayed = error.relayed()
    assert isinstance(relayed, Forbidden)
    assert relayed.message == "You are banned"


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (404, {"errcode": "M_NOT_FOUND"}, NotFound),
        (
            400,
            {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "room_version": "9"},
            IncompatibleRoomVersion,
        ),
        (401, {"errcode": "M_UNKNOWN_TOKEN"}, FederationError),
        (401, {"errcode": "M_FORBIDDEN"}, FederationError),
        (500, {"errcode": "M_NOT_FOUND"}, FederationError),
        (404, {"errcode": {}}, FederationError),
        (404, [], FederationError),
    ],
)
async def test_only_refusals_that_concern_the_user_are_handed_on(
    net: Network, status: int, answer: Any, expected: type[Exception]
) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (status, answer)
    with pytest.raises(Refused) as caught:
        await net.us().get(name)
    relayed = caught.value.relayed()
    assert isinstance(relayed, expected)
    if expected is FederationError:
        assert relayed.status == 502


async def test_an_error_page_is_a_refusal_too(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = body_of(b"<html>" + b"x" * 1_000_000, status=502)
    with pytest.raises(Refused) as caught:
        await net.us().get(name)
    assert (caught.value.answer_status, caught.value.transient) == (502, True)


@pytest.mark.parametrize(
    ("answer", "expected_ms"),
    [
        (json_response(429, {"retry_after_ms": 1500}), 1500),
        (json_response(429, {"retry_after_ms": 1500}, Retry_After="7"), 7000),
        (json_response(429, {"retry_after_ms": "soon"}, Retry_After="Wed"), None),
        (json_response(429, {"retry_after_ms": -5}), 0),
    ],
)
async def test_a_busy_server_says_when_to_come_back(
    net: Network, answer: web.Response, expected_ms: int | None
) -> None:
    peer, name = await server_with_port(net)

    async def busy(_request: web.BaseRequest) -> web.StreamResponse:
        return answer

    peer.answers[VERSION] = busy
    with pytest.raises(Refused) as caught:
        await net.us().get(name)
    assert (caught.value.transient, caught.value.retry_after_ms) == (True, expected_ms)
    assert not is_sick(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"5",
        b'"text"',
        b"null",
        b"NaN",
        b'{"a": ',
        b"\xff\xfe",
        b"[" * 500 + b"]" * 500,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
async def test_success_with_garbage_is_an_error(net: Network, body: bytes) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = body_of(body)
    with pytest.raises(BadAnswer):
        await net.us().get(name)


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_an_answer_that_is_too_large_is_not_read(net: Network, is_chunked: bool) -> None:
    peer, name = await server_with_port(net)

    async def large(_request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=b'{"a":"' + b"x" * 100_000 + b'"}')
        if is_chunked:
            response.enable_chunked_encoding()
        return response

    peer.answers[VERSION] = large
    us = net.us()
    with pytest.raises(BadAnswer, match="larger"):
        await us.get(name, max_bytes=50_000)
    assert len((await us.get(name, max_bytes=200_000))["a"]) == 100_000


async def test_an_answer_that_unpacks_to_too_much_is_not_read(net: Network) -> None:
    peer, name = await server_with_port(net)

    async def bomb(_request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=b" " * 60_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    peer.answers[VERSION] = bomb
    with pytest.raises(BadAnswer, match="larger"):
        await net.us().get(name, max_bytes=1_000_000)


async def test_redirects_are_not_followed(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = body_of(b"", status=302, Location="/_matrix/elsewhere")
    with pytest.raises(Refused) as caught:
        await net.us().get(name)
    assert caught.value.answer_status == 302
    assert len(peer.seen) == 1


async def test_a_slow_server_is_given_up(net: Network) -> None:
    peer, name = await server_with_port(net)

    async def dribble(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    peer.answers[VERSION] = dribble
    with pytest.raises(Unreachable, match="in time") as caught:
        await net.us().get(name, timeout_s=0.3)
    assert (caught.value.transient, caught.value.reachable) == (True, False)
    assert caught.value.status == 504


async def test_a_server_that_hangs_up_is_unreachable(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = drop
    with pytest.raises(Unreachable, match="the connection failed"):
        await net.us().get(name)


async def test_what_does_not_speak_tls_is_unreachable(net: Network) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await net.us().get(f"127.0.0.1:{port}")


async def test_certificates_need_not_be_right_where_that_is_switched_off(net: Network) -> None:
    peer = await net.peer("other.test", port=0, hosts=["a.test"])
    peer.answers[VERSION] = {}
    assert await net.us(verify=False).get(f"a.test:{peer.port}") == {}


@pytest.mark.parametrize("name", ["no such name", "a.test:99999", "a.test:0", "", "a_b.test"])
async def test_what_is_no_server_name_is_unreachable_for_good(net: Network, name: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await net.us().get(name)
    assert not caught.value.transient


async def test_the_server_does_not_ask_itself(net: Network) -> None:
    with pytest.raises(NotFederating):
        await net.us().get(US)


async def test_only_allowed_servers_are_asked(net: Network) -> None:
    peer, name = await server_with_port(net)
    with pytest.raises(NotFederating):
        await net.us(allowed=lambda other: other != name).get(name)
    assert peer.seen == []


async def test_a_server_that_fails_is_left_alone_for_longer_each_time(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (500, {})
    us = net.us()
    waits = []
    for _ in range(4):
        with pytest.raises(Refused):
            await us.get(name)
        with pytest.raises(BackingOff) as caught:
            await us.get(name)
        waits.append(caught.value.retry_at_ts - net.now_ts)
        net.now_ts += waits[-1]
    assert len(peer.seen) == 4
    assert all(later >= earlier for earlier, later in pairwise(waits))
    assert waits[-1] > 2 * waits[0]
    assert net.kept.health[name].failures == 4


async def test_success_ends_the_wait_and_is_told(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (503, {})
    us = net.us()
    returned: list[ServerName] = []
    us.backoff.listen(returned.append)
    with pytest.raises(Refused):
        await us.get(name)
    peer.answers[VERSION] = {}
    assert await us.get(name, backoff=False) == {}
    assert await us.get(name) == {}
    assert returned == [name]
    assert net.kept.health[name] == RetryState(0, 0, net.now_ts)


async def test_waiting_survives_a_restart(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (500, {})
    with pytest.raises(Refused):
        await net.us().get(name)
    with pytest.raises(BackingOff):
        await net.us().get(name)


async def test_requests_that_fail_together_are_one_failure(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = drop
    us = net.us()
    await asyncio.gather(*(us.get(name) for _ in range(5)), return_exceptions=True)
    assert net.kept.health[name].failures == 1


@pytest.mark.parametrize("answer", [(404, {}), (400, {}), (200, "garbage"), (429, {})])
async def test_a_server_that_answers_is_not_left_alone(net: Network, answer: Any) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = answer
    us = net.us()
    for _ in range(2):
        with pytest.raises(FederationError) as caught:
            await us.get(name)
        assert caught.value.reachable
    assert net.kept.health[name].failures == 0


async def test_a_server_that_asks_us_may_be_asked_at_once(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = (500, {})
    us = net.us()
    returned: list[ServerName] = []
    us.backoff.listen(returned.append)
    for _ in range(3):
        with pytest.raises(Refused):
            await us.get(name, backoff=False)
        net.now_ts += 3_600_000
    with pytest.raises(Refused):
        await us.get(name)
    await us.backoff.revive(name)
    assert returned == [name]
    with pytest.raises(Refused):
        await us.get(name)
    assert net.kept.health[name].failures == 5
    await us.backoff.revive(name)
    with pytest.raises(BackingOff):
        await us.get(name)


async def test_a_large_answer_can_be_read_as_it_comes(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = body_of(b"x" * 300_000, ETag="1")
    async with net.us().client.stream(name, VERSION) as streamed:
        assert (streamed.status, streamed.headers["ETag"]) == (200, "1")
        assert b"".join([chunk async for chunk in streamed.chunks]) == b"x" * 300_000


async def test_what_a_reader_of_a_stream_does_wrong_is_not_the_servers_fault(net: Network) -> None:
    peer, name = await server_with_port(net)
    peer.answers[VERSION] = body_of(b"x")
    for failure in (OSError("disk full"), TimeoutError("mine"), NotFound("mine")):
        with pytest.raises(type(failure)) as caught:
            async with net.us().client.stream(name, VERSION):
                raise failure
        assert caught.value is failure
    assert net.kept.health == {}


async def test_a_stream_that_breaks_off_is_an_error(net: Network) -> None:
    peer, name = await server_with_port(net)

    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 500)
        assert request.transport is not None
        request.transport.close()
        return response

    peer.answers[VERSION] = half

    async def read_all() -> None:
        async with net.us().client.stream(name, VERSION) as streamed:
            async for _ in streamed.chunks:
                pass

    with pytest.raises(Unreachable):
        await read_all()


def test_parameters_that_are_none_are_left_out() -> None:
    assert build_uri("/p", {"a": None}) == "/p"
    assert build_uri("/p", None) == "/p"
    assert build_uri("/p", {"a": "", "b": 0}) == "/p?a=&b=0"
