"""The well-known file of a host: redirects, limits, and how long it is remembered."""

from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from federation.outbound.well_known import (
    LONGEST_MS,
    MAX_BYTES,
    NO_FILE_MS,
    SHORTEST_MS,
    USUAL_MS,
    lifetime_ms,
)
from tests.federation.world import NOW_TS, Handler, Network, json_response

PATH = "/.well-known/matrix/server"
HOUR_MS = 3_600_000


def redirect(location: str, status: int = 302) -> Handler:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return answer


def with_headers(**headers: str) -> Handler:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return json_response(200, {"m.server": "b.test"}, **headers)

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_to_other_hosts_too(net: Network, status: int) -> None:
    first = await net.web_server("a.test")
    second = await net.web_server("www.test")
    first.answers[PATH] = redirect(f"https://www.test:{net.https_port}/elsewhere", status)
    second.answers["/elsewhere"] = redirect("here")
    second.answers["/here"] = {"m.server": "b.test"}
    found = await net.us().well_known.delegation_of("a.test")
    assert found.server_name == "b.test"
    assert second.last.sni == "www.test"


@pytest.mark.parametrize(
    "location",
    [PATH, "", "https://[", "http://a.test/", "ftp://a.test/"],
)
async def test_redirects_in_circles_or_out_of_https_lead_nowhere(
    net: Network, location: str
) -> None:
    web_server = await net.web_server("a.test", redirect(location))
    found = await net.us().well_known.delegation_of("a.test")
    assert found.server_name is None
    assert len(web_server.seen) == 1


async def test_an_endless_chain_of_redirects_ends(net: Network) -> None:
    web_server = await net.web_server("a.test")
    for number in range(50):
        web_server.answers[f"/{number}"] = redirect(f"/{number + 1}")
    web_server.answers[PATH] = redirect("/0")
    found = await net.us().well_known.delegation_of("a.test")
    assert found.server_name is None
    assert len(web_server.seen) < 20


async def test_a_redirect_may_not_lead_to_a_forbidden_address(net: Network) -> None:
    inner = await net.web_server("inner.test", {"m.server": "b.test"})
    await net.web_server("a.test", redirect(f"https://inner.test:{net.https_port}{PATH}"))
    found = await net.us(deny=[f"{inner.address}/32"]).well_known.delegation_of("a.test")
    assert found.server_name is None
    assert "not allowed" in found.problem
    assert inner.seen == []


async def test_the_content_type_does_not_matter(net: Network) -> None:
    async def as_text(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text='{"m.server": "b.test:1"}', content_type="text/html")

    await net.web_server("a.test", as_text)
    assert (await net.us().well_known.delegation_of("a.test")).server_name == "b.test:1"


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}),
        (200, []),
        (200, {"m.server": 5}),
        (200, {"m.server": ""}),
        (200, {"m.server": "b.test:port"}),
        (200, {"m.server": "https://b.test"}),
        (404, {"m.server": "b.test"}),
        (201, {"m.server": "b.test"}),
        (200, {"m.server": "b.test", "padding": "x" * MAX_BYTES}),
    ],
)
async def test_what_is_no_valid_file_counts_as_none_for_an_hour(net: Network, answer: Any) -> None:
    web_server = await net.web_server("a.test", answer)
    us = net.us()
    found = await us.well_known.delegation_of("a.test")
    assert (found.server_name, found.lifetime_ms) == (None, NO_FILE_MS)
    net.now_ts += NO_FILE_MS - 1
    await us.well_known.delegation_of("a.test")
    assert len(web_server.seen) == 1
    net.now_ts += 1
    await us.well_known.delegation_of("a.test")
    assert len(web_server.seen) == 2


async def test_json_that_is_broken_counts_as_none(net: Network) -> None:
    async def broken(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text='{"m.server": ')

    await net.web_server("a.test", broken)
    assert (await net.us().well_known.delegation_of("a.test")).server_name is None


async def test_a_file_of_the_largest_size_is_read(net: Network) -> None:
    async def padded(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text='{"m.server": "b.test"}'.ljust(MAX_BYTES))

    await net.web_server("a.test", padded)
    assert (await net.us().well_known.delegation_of("a.test")).server_name == "b.test"


async def test_a_file_that_unpacks_to_more_than_the_limit_is_not_read(net: Network) -> None:
    async def bomb(_request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text='{"m.server": "b.test"}' + " " * 50_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    await net.web_server("a.test", bomb)
    assert (await net.us().well_known.delegation_of("a.test")).server_name is None


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [
        ({}, USUAL_MS),
        ({"Cache-Control": "max-age=7200"}, 2 * HOUR_MS),
        ({"Cache-Control": 'public, MAX-AGE="7200", must-revalidate'}, 2 * HOUR_MS),
        ({"Cache-Control": "max-age=1"}, SHORTEST_MS),
        ({"Cache-Control": "max-age=99999999999999999999"}, LONGEST_MS),
        ({"Cache-Control": "max-age=-5"}, USUAL_MS),
        ({"Cache-Control": "public"}, USUAL_MS),
        ({"Cache-Control": "no-store"}, SHORTEST_MS),
        ({"Cache-Control": "no-cache, max-age=7200"}, SHORTEST_MS),
        ({"Cache-Control": "max-age=7200", "Expires": "0"}, 2 * HOUR_MS),
        ({"Expires": "0"}, SHORTEST_MS),
        ({"Expires": formatdate(NOW_TS / 1000 + 7200, usegmt=True)}, 2 * HOUR_MS),
        (
            {
                "Date": formatdate(1_000_000_000, usegmt=True),
                "Expires": formatdate(1_000_007_200, usegmt=True),
            },
            2 * HOUR_MS,
        ),
        ({"Expires": "Thu, 31 Dec 9999 23:59:59 GMT"}, LONGEST_MS),
    ],
)
def test_headers_say_how_long_within_bounds(headers: dict[str, str], expected_ms: int) -> None:
    assert lifetime_ms(headers, NOW_TS) == expected_ms


async def test_a_file_is_remembered_as_long_as_its_headers_say(net: Network) -> None:
    web_server = await net.web_server("a.test", with_headers(Cache_Control="max-age=7200"))
    us = net.us()
    await us.well_known.delegation_of("a.test")
    net.now_ts += 2 * HOUR_MS - 1
    await us.well_known.delegation_of("a.test")
    assert len(web_server.seen) == 1
    net.now_ts += 1
    await us.well_known.delegation_of("a.test")
    assert len(web_server.seen) == 2


async def test_failures_are_asked_about_less_and_less_often_but_every_hour(net: Network) -> None:
    web_server = await net.web_server("a.test", (503, {}))
    us = net.us()
    waits = []
    for _ in range(10):
        waits.append((await us.well_known.delegation_of("a.test")).lifetime_ms)
        net.now_ts += waits[-1]
    assert waits == sorted(waits)
    assert waits[0] < 61_000
    assert NO_FILE_MS - 1 <= waits[-1] <= NO_FILE_MS
    assert len(web_server.seen) == 10


async def test_while_a_host_fails_its_last_good_answer_counts_for_two_days(net: Network) -> None:
    web_server = await net.web_server("a.test", {"m.server": "b.test"})
    us = net.us()
    began_ts = net.now_ts
    assert (await us.well_known.delegation_of("a.test")).server_name == "b.test"
    web_server.answers[PATH] = (502, {})
    net.now_ts += USUAL_MS
    assert (await us.well_known.delegation_of("a.test")).server_name == "b.test"
    net.now_ts = began_ts + LONGEST_MS
    assert (await us.well_known.delegation_of("a.test")).server_name is None


async def test_a_host_that_takes_its_file_away_is_believed(net: Network) -> None:
    web_server = await net.web_server("a.test", {"m.server": "b.test"})
    us = net.us()
    await us.well_known.delegation_of("a.test")
    web_server.answers[PATH] = (404, {})
    net.now_ts += USUAL_MS
    assert (await us.well_known.delegation_of("a.test")).server_name is None


async def test_the_file_needs_a_certificate_for_the_host(net: Network) -> None:
    await net.web_server("b.test", {"m.server": "c.test"})
    net.hosts.table["a.test"] = net.hosts.table["b.test"]
    found = await net.us().well_known.delegation_of("a.test")
    assert (found.server_name, found.transient) == (None, True)
