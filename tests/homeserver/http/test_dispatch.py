"""Requests over real sockets: what is matched, refused, read and answered."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from federation.protocol.endpoint import Access, Body, endpoint
from federation.protocol.errors import Forbidden
from federation.protocol.response import Answer, Response
from homeserver.http.call import Call
from homeserver.http.dispatch import Manners, negotiated_headers
from homeserver.http.listener import ListenAddress
from homeserver.http.settings import HttpSettings
from tests.homeserver.http.server import (
    RecordingServerAuth,
    RunningServer,
    body_of,
    error_of,
    running_server,
)

V3 = "/_matrix/client/v3"


@endpoint("GET", f"{V3}/echo/{{roomId}}/{{eventType}}", Access.PUBLIC)
async def echo_path(call: Call) -> Mapping[str, Any]:
    return {"path": call.path, "query": call.query}


@endpoint(
    "PUT",
    f"{V3}/rooms/{{roomId}}/state/{{eventType}}/{{stateKey}}",
    Access.PUBLIC,
    aliases=(f"{V3}/rooms/{{roomId}}/state/{{eventType}}",),
)
async def put_state(call: Call) -> Mapping[str, Any]:
    return {"path": call.path}


@endpoint("GET", f"{V3}/rooms/{{roomId}}/state", Access.PUBLIC)
async def get_states(call: Call) -> list[str]:
    return ["all"]


@endpoint("GET", f"{V3}/query/directory", Access.PUBLIC)
async def query_directory(call: Call) -> Mapping[str, Any]:
    return {"at": "directory"}


@endpoint("POST", f"{V3}/query/{{queryType}}", Access.PUBLIC)
async def query_other(call: Call) -> Mapping[str, Any]:
    return {"at": call.path["queryType"]}


@endpoint("POST", f"{V3}/echo", Access.PUBLIC, max_body_bytes=1000)
async def echo_body(call: Call) -> Mapping[str, Any]:
    return {"json": call.json}


@endpoint("DELETE", f"{V3}/echo", Access.PUBLIC)
async def delete_with_body(call: Call) -> Mapping[str, Any]:
    return {"json": call.json}


@endpoint("PUT", f"{V3}/bytes", Access.PUBLIC, body=Body.BYTES)
async def put_bytes(call: Call) -> Mapping[str, Any]:
    return {"length": len(call.body), "json": call.json}


@endpoint("GET", f"{V3}/ready", Access.PUBLIC)
async def ready_json(call: Call) -> bytes:
    return b'{"ready":true}'


@endpoint("GET", f"{V3}/page", Access.PUBLIC)
async def page(call: Call) -> Response:
    headers = {"Location": "https://example.org", "access-control-allow-origin": "none"}
    return Response(302, b"<p>there</p>", headers, content_type="text/html")


@endpoint("GET", f"{V3}/injection", Access.PUBLIC)
async def injection(call: Call) -> Response:
    return Response(200, {}, {"X-Name": "a\r\nX-Other: b"})


@endpoint("GET", f"{V3}/forbidden", Access.PUBLIC)
async def forbidden(call: Call) -> Answer:
    raise Forbidden("No")


@endpoint("GET", f"{V3}/broken", Access.PUBLIC)
async def broken(call: Call) -> Answer:
    raise ZeroDivisionError("secret detail")


@endpoint("GET", f"{V3}/abandoned", Access.PUBLIC)
async def abandoned(call: Call) -> Answer:
    waited_for = asyncio.get_running_loop().create_future()
    waited_for.cancel()
    result: Answer = await waited_for
    return result


@endpoint("GET", f"{V3}/unrenderable", Access.PUBLIC)
async def unrenderable(call: Call) -> Answer:
    return {"value": object()}


@endpoint("GET", f"{V3}/large", Access.PUBLIC)
async def large(call: Call) -> Mapping[str, Any]:
    return {"value": "x" * 200_000}


@endpoint("GET", f"{V3}/me", Access.USER)
async def me(call: Call) -> Mapping[str, Any]:
    return {"user_id": call.user_id, "device_id": call.device_id, "token_id": call.token_id}


@endpoint("GET", f"{V3}/guests", Access.GUEST)
async def guests_too(call: Call) -> Mapping[str, Any]:
    return {"is_guest": call.is_guest}


@endpoint("GET", f"{V3}/optional", Access.OPTIONAL)
async def optional_user(call: Call) -> Mapping[str, Any]:
    return {"known": call.requester is not None}


@endpoint("GET", f"{V3}/admins", Access.ADMIN)
async def admins_only(call: Call) -> Mapping[str, Any]:
    return {}


@endpoint("POST", f"{V3}/logout", Access.USER, locked_allowed=True)
async def logout(call: Call) -> Mapping[str, Any]:
    return {}


@endpoint("POST", f"{V3}/join", Access.USER, suspended_allowed=False)
async def join(call: Call) -> Mapping[str, Any]:
    return {}


@endpoint("PUT", "/_matrix/federation/v1/send/{txnId}", Access.SERVER)
async def send_transaction(call: Call) -> Mapping[str, Any]:
    return {"origin": call.origin}


ENDPOINTS = (
    echo_path,
    put_state,
    get_states,
    query_directory,
    query_other,
    echo_body,
    delete_with_body,
    put_bytes,
    ready_json,
    page,
    injection,
    forbidden,
    broken,
    abandoned,
    unrenderable,
    large,
    me,
    guests_too,
    optional_user,
    admins_only,
    logout,
    join,
    send_transaction,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(ENDPOINTS) as running:
        yield running


async def raw_exchange(server: RunningServer, data: bytes) -> bytes:
    reader, writer = await server.connect()
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "target", ["/", "/nothing", "/_matrix", f"{V3}/unknown", f"{V3}/echo/a", f"{V3}//echo"]
)
async def test_unknown_paths_are_unrecognized(server: RunningServer, target: str) -> None:
    assert await error_of(await server.request("GET", target)) == (404, "M_UNRECOGNIZED")


async def test_a_wrong_method_is_told_the_right_ones(server: RunningServer) -> None:
    response = await server.request("PATCH", f"{V3}/echo")
    assert await error_of(response) == (405, "M_UNRECOGNIZED")
    assert response.headers["Allow"] == "DELETE, OPTIONS, POST"


async def test_an_escaped_slash_stays_inside_its_parameter(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/echo/%21r%2Fx%3Atest/m%20%C3%A9")
    assert (await body_of(response))["path"] == {"roomId": "!r/x:test", "eventType": "m é"}


async def test_a_parameter_is_decoded_once(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/echo/%252F/a+b")
    assert (await body_of(response))["path"] == {"roomId": "%2F", "eventType": "a+b"}


async def test_a_literal_segment_may_be_escaped(server: RunningServer) -> None:
    assert (await server.request("GET", "/%5Fmatrix/client/v3/ready")).status == 200


@pytest.mark.parametrize("segment", ["%FF", "%C3", "%00"])
async def test_parameters_that_are_not_text_are_refused(
    server: RunningServer, segment: str
) -> None:
    response = await server.request("GET", f"{V3}/echo/{segment}/x")
    assert await error_of(response) == (400, "M_INVALID_PARAM")


async def test_queries_keep_repeated_and_empty_values(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/echo/r/t?via=a&via=b%26c&x=&y&z=1+2%2B3")
    assert (await body_of(response))["query"] == {
        "via": ["a", "b&c"],
        "x": [""],
        "y": [""],
        "z": ["1 2+3"],
    }


@pytest.mark.parametrize("query", ["a=%FF", "a=%00", "&".join(["a=1"] * 201)])
async def test_queries_that_cannot_be_read_are_refused(server: RunningServer, query: str) -> None:
    response = await server.request("GET", f"{V3}/echo/r/t?{query}")
    assert await error_of(response) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("suffix", "parameters"),
    [
        ("m.x", {"eventType": "m.x"}),
        ("m.x/", {"eventType": "m.x"}),
        ("m.x/key", {"eventType": "m.x", "stateKey": "key"}),
        ("m.x/key/", {"eventType": "m.x", "stateKey": "key"}),
    ],
)
async def test_one_slash_at_the_end_is_ignored(
    server: RunningServer, suffix: str, parameters: dict[str, str]
) -> None:
    response = await server.request("PUT", f"{V3}/rooms/!r/state/{suffix}", json={})
    assert (await body_of(response))["path"] == {"roomId": "!r", **parameters}


async def test_an_array_may_be_an_answer(server: RunningServer) -> None:
    assert await body_of(await server.request("GET", f"{V3}/rooms/!r/state/")) == ["all"]


async def test_a_parameter_fits_where_a_literal_does_not_have_the_method(
    server: RunningServer,
) -> None:
    directory = await server.request("GET", f"{V3}/query/directory")
    other = await server.request("POST", f"{V3}/query/directory")
    assert await body_of(directory) == {"at": "directory"}
    assert await body_of(other) == {"at": "directory"}
    assert (await server.request("GET", f"{V3}/query/profile")).status == 405


async def test_version_3_is_served_under_its_legacy_name(server: RunningServer) -> None:
    assert (await server.request("GET", "/_matrix/client/r0/ready")).status == 200
    assert (await server.request("GET", "/_matrix/client/v1/ready")).status == 404


@endpoint("GET", "/_matrix/client/v1/rooms/{roomId}/relations", Access.PUBLIC)
async def list_relations(call: Call) -> Answer:
    return {"relations of": call.path["roomId"]}


@endpoint("GET", "/_matrix/client/unstable/rooms/{roomId}/state", Access.PUBLIC)
async def show_unstable_state(call: Call) -> Answer:
    return {"unstable state of": call.path["roomId"]}


@endpoint("GET", "/_matrix/client/v3/rooms/{roomId}/state", Access.PUBLIC)
async def show_state(call: Call) -> Answer:
    return {"state of": call.path["roomId"]}


async def test_stable_endpoints_are_served_as_unstable_unless_something_else_is() -> None:
    async with running_server((list_relations, show_unstable_state, show_state)) as server:
        for path, body in (
            ("v1/rooms/!r/relations", {"relations of": "!r"}),
            ("unstable/rooms/!r/relations", {"relations of": "!r"}),
            ("v3/rooms/!r/state", {"state of": "!r"}),
            ("r0/rooms/!r/state", {"state of": "!r"}),
            ("unstable/rooms/!r/state", {"unstable state of": "!r"}),
        ):
            assert await body_of(await server.request("GET", f"/_matrix/client/{path}")) == body
        for path in ("v3/rooms/!r/relations", "v1/rooms/!r/state"):
            assert (await server.request("GET", f"/_matrix/client/{path}")).status == 404


async def test_an_absolute_target_is_understood(server: RunningServer) -> None:
    request = f"GET http://test{V3}/ready?a=b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    answer = await raw_exchange(server, request.encode())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"ready":true}')


async def test_every_answer_lets_browsers_in(server: RunningServer) -> None:
    for target in ("ready", "unknown", "broken", "me"):
        response = await server.request("GET", f"{V3}/{target}")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        assert response.headers["Content-Type"] == "application/json"
        assert "Date" in response.headers


@pytest.mark.parametrize("target", [f"{V3}/me", f"{V3}/echo", "/unknown"])
async def test_preflight_requests_are_answered_without_logic(
    server: RunningServer, target: str
) -> None:
    response = await server.request("OPTIONS", target)
    assert response.status == 204
    assert "PUT" in response.headers["Access-Control-Allow-Methods"]
    assert await response.read() == b""


async def test_head_is_get_without_the_body(server: RunningServer) -> None:
    request = f"HEAD {V3}/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    head, _, body = (await raw_exchange(server, request.encode())).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 14" in head
    assert body == b""


async def test_an_old_client_keeps_its_connection_only_when_it_asks(server: RunningServer) -> None:
    answer = await raw_exchange(server, f"GET {V3}/ready HTTP/1.0\r\n\r\n".encode())
    assert b"keep-alive" not in answer
    reader, writer = await server.connect()
    for _ in range(2):
        writer.write(f"GET {V3}/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: keep-alive" in head
        assert await reader.readexactly(14) == b'{"ready":true}'
    writer.close()


async def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    one = f"GET {V3}/query/directory HTTP/1.1\r\nHost: test\r\n\r\n"
    two = f"GET {V3}/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    answer = await raw_exchange(server, (one + two).encode())
    assert answer.index(b'{"at":"directory"}') < answer.index(b'{"ready":true}')


async def test_bytes_that_are_not_http_get_a_400_and_no_stack_trace(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await raw_exchange(server, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {}),
        (b"{}", {}),
        (b' {"a": [1, "\xc3\xa9"]} ', {"a": [1, "é"]}),
    ],
)
async def test_objects_and_empty_bodies_are_read(
    server: RunningServer, body: bytes, expected: object
) -> None:
    assert await body_of(await server.request("POST", f"{V3}/echo", data=body)) == {
        "json": expected
    }


@pytest.mark.parametrize("body", [b"{", b"nope", b'{"a": "\xff"}', b'{"a": NaN}', b"{} {}"])
async def test_what_is_not_json_is_refused(server: RunningServer, body: bytes) -> None:
    response = await server.request("POST", f"{V3}/echo", data=body)
    assert await error_of(response) == (400, "M_NOT_JSON")


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"1", b"null", b"true"])
async def test_json_that_is_no_object_is_refused(server: RunningServer, body: bytes) -> None:
    response = await server.request("POST", f"{V3}/echo", data=body)
    assert await error_of(response) == (400, "M_BAD_JSON")


async def test_nesting_is_limited_and_breadth_is_not(server: RunningServer) -> None:
    deep = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    allowed = b'{"a":' + b"[" * 99 + b"]" * 99 + b"}"
    broad = b'{"a":[' + b",".join([b"{}"] * 200) + b"]}"
    assert await error_of(await server.request("POST", f"{V3}/echo", data=deep)) == (
        400,
        "M_BAD_JSON",
    )
    assert (await server.request("POST", f"{V3}/echo", data=allowed)).status == 200
    assert (await server.request("POST", f"{V3}/echo", data=broad)).status == 200


async def test_nesting_too_deep_for_the_parser_is_refused(server: RunningServer) -> None:
    body = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    response = await server.request("DELETE", f"{V3}/echo", data=body)
    assert response.status == 400


async def test_delete_may_have_a_body(server: RunningServer) -> None:
    response = await server.request("DELETE", f"{V3}/echo", json={"a": 1})
    assert await body_of(response) == {"json": {"a": 1}}


async def test_a_body_may_be_any_bytes_where_the_endpoint_says_so(server: RunningServer) -> None:
    response = await server.request("PUT", f"{V3}/bytes", data=b"\xff\x00")
    assert await body_of(response) == {"length": 2, "json": {}}


async def test_a_body_may_come_compressed(server: RunningServer) -> None:
    body = gzip.compress(json.dumps({"a": 1}).encode())
    response = await server.request(
        "POST", f"{V3}/echo", data=body, headers={"Content-Encoding": "gzip"}
    )
    assert await body_of(response) == {"json": {"a": 1}}


async def test_a_body_that_unpacks_to_too_much_is_refused(server: RunningServer) -> None:
    body = gzip.compress(b'{"a":"' + b"x" * 5_000_000 + b'"}')
    response = await server.request(
        "PUT", f"{V3}/bytes", data=body, headers={"Content-Encoding": "gzip"}
    )
    assert await error_of(response) == (413, "M_TOO_LARGE")


async def test_a_broken_content_encoding_is_a_bad_request_and_no_stack_trace(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {V3}/echo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4"
    with caplog.at_level(logging.INFO):
        answer = await raw_exchange(server, f"{head}\r\n\r\nxxxx".encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert "Traceback" not in caplog.text


async def test_the_limit_of_a_body_is_the_endpoints(server: RunningServer) -> None:
    frame = len(b'{"a":""}')
    fits = b'{"a":"%b"}' % (b"x" * (1000 - frame))
    assert (await server.request("POST", f"{V3}/echo", data=fits)).status == 200
    response = await server.request("POST", f"{V3}/echo", data=fits + b" ")
    assert await error_of(response) == (413, "M_TOO_LARGE")


async def test_a_declared_length_is_refused_before_the_body_comes(server: RunningServer) -> None:
    reader, writer = await server.connect()
    writer.write(f"POST {V3}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 99999\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 100


async def test_a_body_without_declared_length_is_limited_too(server: RunningServer) -> None:
    assert (await server.request("POST", f"{V3}/echo", data=chunks(3))).status == 400
    response = await server.request("POST", f"{V3}/echo", data=chunks(20))
    assert await error_of(response) == (413, "M_TOO_LARGE")


async def test_a_client_that_waits_for_100_continue_gets_it(server: RunningServer) -> None:
    reader, writer = await server.connect()
    writer.write(
        f"POST {V3}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"a":1}')
    assert (await reader.read()).endswith(b'{"json":{"a":1}}')
    writer.close()


async def test_a_body_that_does_not_arrive_has_a_deadline() -> None:
    settings = HttpSettings(body_timeout_s=0.05)
    async with running_server(ENDPOINTS, settings=settings) as server:
        reader, writer = await server.connect()
        writer.write(f"POST {V3}/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{{".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_encoded_json_goes_out_as_it_is(server: RunningServer) -> None:
    assert await body_of(await server.request("GET", f"{V3}/ready")) == {"ready": True}


async def test_a_response_may_have_its_own_status_type_and_headers(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/page", allow_redirects=False)
    assert response.status == 302
    assert response.headers["Location"] == "https://example.org"
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers.getall("Access-Control-Allow-Origin") == ["none"]
    assert await response.read() == b"<p>there</p>"


async def test_a_header_with_a_line_break_never_goes_out(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/injection")
    assert await error_of(response) == (500, "M_UNKNOWN")
    assert "X-Other" not in response.headers


async def test_matrix_errors_become_standard_error_responses(server: RunningServer) -> None:
    response = await server.request("GET", f"{V3}/forbidden")
    assert response.status == 403
    assert await body_of(response) == {"errcode": "M_FORBIDDEN", "error": "No"}


@pytest.mark.parametrize("target", ["broken", "unrenderable", "abandoned"])
async def test_a_fault_of_ours_is_logged_once_and_named_by_its_id(
    server: RunningServer, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    response = await server.request("GET", f"{V3}/{target}?access_token=hush")
    body = await body_of(response)
    assert (response.status, body["errcode"]) == (500, "M_UNKNOWN")
    assert "secret detail" not in body["error"]
    request_id = body["error"].split("request ")[1].rstrip(")")
    [record] = [record for record in caplog.records if request_id in record.getMessage()]
    assert record.exc_info is not None
    assert "hush" not in record.getMessage()


async def test_large_answers_arrive_whole(server: RunningServer) -> None:
    assert len((await body_of(await server.request("GET", f"{V3}/large")))["value"]) == 200_000


async def test_large_answers_are_compressed_only_where_configured() -> None:
    address = ListenAddress("127.0.0.1", 0, manners=Manners(gzip_over_bytes=2000))
    async with running_server(ENDPOINTS, address=address) as server:
        squeezed = await server.request("GET", f"{V3}/large")
        assert squeezed.headers["Content-Encoding"] == "gzip"
        assert squeezed.headers["Vary"] == "Accept-Encoding"
        assert int(squeezed.headers["Content-Length"]) < 10_000
        assert len((await body_of(squeezed))["value"]) == 200_000
        plain = await server.request("GET", f"{V3}/large", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        small = await server.request("GET", f"{V3}/ready")
        assert "Content-Encoding" not in small.headers


def test_caches_are_told_that_an_answer_may_be_compressed() -> None:
    cached = {"Cache-Control": "public", "Vary": "Authorization"}
    for is_zipped in (True, False):
        told = negotiated_headers(cached, is_zipped=is_zipped)
        assert told is not None
        assert told["Vary"] == "Authorization, Accept-Encoding"
        assert ("Content-Encoding" in told) == is_zipped
    assert negotiated_headers(None, is_zipped=False) is None


async def test_headers_for_browsers_can_be_for_browsers_only() -> None:
    address = ListenAddress("127.0.0.1", 0, manners=Manners(always_for_browsers=False))
    page = {"Origin": "https://client.example.org"}
    async with running_server(ENDPOINTS, address=address) as server:
        for target in (f"{V3}/ready", f"{V3}/nowhere"):
            asked = await server.request("GET", target, headers=page)
            assert asked.headers["Access-Control-Allow-Origin"] == "*"
            other = await server.request("GET", target)
            assert not [name for name in other.headers if name.startswith("Access-Control")]


async def test_a_token_is_taken_from_header_or_query(server: RunningServer) -> None:
    expected = {"user_id": "@alice:test", "device_id": "PHONE", "token_id": 111}
    by_header = await server.request("GET", f"{V3}/me", token="alice")
    by_query = await server.request("GET", f"{V3}/me?access_token=alice")
    lower = await server.request("GET", f"{V3}/me", headers={"Authorization": "bearer alice"})
    assert await body_of(by_header) == expected
    assert await body_of(by_query) == expected
    assert await body_of(lower) == expected


@pytest.mark.parametrize(
    ("target", "token", "refusal"),
    [
        ("me", None, (401, "M_MISSING_TOKEN")),
        ("me", "", (401, "M_MISSING_TOKEN")),
        ("me", "nobody", (401, "M_UNKNOWN_TOKEN")),
        ("me", "deactivated", (401, "M_UNKNOWN_TOKEN")),
        ("me", "expired", (401, "M_UNKNOWN_TOKEN")),
        ("me", "locked", (401, "M_USER_LOCKED")),
        ("me", "guest", (403, "M_GUEST_ACCESS_FORBIDDEN")),
        ("admins", "alice", (403, "M_FORBIDDEN")),
        ("optional", "nobody", (401, "M_UNKNOWN_TOKEN")),
    ],
)
async def test_who_may_not_call_is_told_why(
    server: RunningServer, target: str, token: str | None, refusal: tuple[int, str]
) -> None:
    response = await server.request("GET", f"{V3}/{target}", token=token)
    assert await error_of(response) == refusal


@pytest.mark.parametrize(
    ("target", "token"),
    [
        ("me", "fresh"),
        ("me", "suspended"),
        ("guests", "guest"),
        ("guests", "alice"),
        ("admins", "admin"),
        ("optional", None),
        ("optional", "alice"),
        ("ready", "nobody"),
    ],
)
async def test_who_may_call_is_let_in(
    server: RunningServer, target: str, token: str | None
) -> None:
    assert (await server.request("GET", f"{V3}/{target}", token=token)).status == 200


async def test_expiry_and_locks_keep_the_clients_session(server: RunningServer) -> None:
    for token in ("expired", "locked"):
        body = await body_of(await server.request("GET", f"{V3}/me", token=token))
        assert body["soft_logout"] is True
    body = await body_of(await server.request("GET", f"{V3}/me", token="nobody"))
    assert body["soft_logout"] is False


async def test_locked_users_may_log_out(server: RunningServer) -> None:
    assert (await server.request("POST", f"{V3}/logout", token="locked")).status == 200


async def test_suspended_users_may_not_do_everything(server: RunningServer) -> None:
    response = await server.request("POST", f"{V3}/join", token="suspended")
    assert await error_of(response) == (403, "M_USER_SUSPENDED")


async def test_requests_of_servers_are_refused_where_there_is_no_federation(
    server: RunningServer,
) -> None:
    response = await server.request("PUT", "/_matrix/federation/v1/send/1", json={})
    assert await error_of(response) == (401, "M_UNAUTHORIZED")


async def test_requests_of_servers_are_verified_as_they_were_sent() -> None:
    auth = RecordingServerAuth()
    async with running_server(ENDPOINTS, server_auth=auth) as server:
        target = "/_matrix/federation/v1/send/a%2Fb?x=%21"
        unsigned = await server.request("PUT", target, json={"pdus": []})
        assert await error_of(unsigned) == (401, "M_UNAUTHORIZED")
        signed = await server.request(
            "PUT", target, json={"pdus": []}, headers={"Authorization": "X-Matrix origin=o"}
        )
        assert await body_of(signed) == {"origin": "other.test"}
    assert auth.seen == [
        {
            "authorization": ["X-Matrix origin=o"],
            "method": "PUT",
            "uri": target,
            "content": {"pdus": []},
            "body": b'{"pdus": []}',
        }
    ]


async def test_requests_are_logged_without_their_tokens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hearth.http"):
        async with running_server(ENDPOINTS) as server:
            await server.request("GET", f"{V3}/me?access_token=alice")
    [line] = [r.getMessage() for r in caplog.records if r.name == "hearth.http"]
    assert line.startswith(f"GET {V3}/me 200 ")
    assert "access_token" not in line


async def test_two_endpoints_may_not_claim_one_path() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        async with running_server((ready_json, ready_json)):
            await asyncio.sleep(0)
