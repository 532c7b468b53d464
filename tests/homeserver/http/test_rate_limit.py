"""Rate limits and the client's address, on which some of them rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.endpoint import Access, Rate, endpoint
from federation.protocol.errors import LimitExceeded
from federation.protocol.response import Answer
from homeserver.config.sections.limits import Allowance, Limits
from homeserver.http.call import Call
from homeserver.http.client_address import TrustedProxies, address_to_limit
from homeserver.http.listener import ListenAddress
from homeserver.http.rate_limit import RateLimiter
from homeserver.http.settings import LOOPBACK, HttpSettings, http_settings
from tests.homeserver.http.server import body_of, error_of, running_server

LOGIN = "/_matrix/client/v3/login"


class ManualClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def allowed(limiter: RateLimiter, caller: str) -> bool:
    try:
        limiter.check(Rate.LOGIN, caller)
    except LimitExceeded:
        return False
    return True


def limiter_of(clock: ManualClock, per_second: float, burst: int, **more: int) -> RateLimiter:
    return RateLimiter({Rate.LOGIN: Allowance(per_second, burst)}, clock, **more)


@given(
    burst=st.integers(1, 20),
    per_second=st.floats(0.01, 100),
    waits=st.lists(st.floats(0, 30), max_size=60),
)
def test_never_more_than_burst_plus_refill_pass(
    burst: int, per_second: float, waits: list[float]
) -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, per_second, burst)
    passed = 0
    for wait in waits:
        clock.now_s += wait
        passed += allowed(limiter, "a")
        assert passed <= burst + (clock.now_s - 1000) * per_second + 0.001


def test_a_whole_burst_passes_and_the_wait_that_is_told_suffices() -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, per_second=0.5, burst=3)
    assert [allowed(limiter, "a") for _ in range(4)] == [True, True, True, False]
    with pytest.raises(LimitExceeded) as refusal:
        limiter.check(Rate.LOGIN, "a")
    assert refusal.value.retry_after_ms == pytest.approx(2000, abs=2)
    clock.now_s += refusal.value.retry_after_ms / 1000
    assert allowed(limiter, "a")
    assert not allowed(limiter, "a")


def test_callers_and_classes_do_not_share_an_allowance() -> None:
    clock = ManualClock()
    limiter = RateLimiter({Rate.LOGIN: Allowance(1, 1), Rate.JOIN: Allowance(1, 1)}, clock)
    limiter.check(Rate.LOGIN, "a")
    limiter.check(Rate.LOGIN, "b")
    limiter.check(Rate.JOIN, "a")
    assert not allowed(limiter, "a")
    limiter.check(Rate.MESSAGE, "a")


def test_an_allowance_of_nothing_a_second_is_a_burst() -> None:
    limiter = limiter_of(ManualClock(), per_second=0, burst=2)
    assert [allowed(limiter, "a") for _ in range(3)] == [True, True, False]


def test_memory_is_bounded_and_the_active_are_remembered() -> None:
    clock = ManualClock()
    limiter = limiter_of(clock, per_second=0.001, burst=1, max_callers=100)
    assert allowed(limiter, "steady")
    for number in range(40):
        assert allowed(limiter, f"caller {number}")
    assert not allowed(limiter, "steady")
    for number in range(1000):
        assert allowed(limiter, f"passer-by {number}")
    assert allowed(limiter, "steady")


def test_every_class_of_calls_has_a_configured_allowance() -> None:
    assert set(http_settings(Limits()).allowances) == set(Rate) - {Rate.NONE}
    assert http_settings(Limits(enabled=False)).allowances == {}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, 127.0.0.2", "198.51.100.1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "nonsense, 127.0.0.2", "127.0.0.2"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str | None, client: str) -> None:
    assert TrustedProxies(LOOPBACK).client_address(peer, forwarded) == client


def test_an_ipv6_client_is_its_network() -> None:
    assert address_to_limit("2001:db8::1") == address_to_limit("2001:db8::ffff:1")
    assert address_to_limit("2001:db8::1") != address_to_limit("2001:db8:0:1::1")
    assert address_to_limit("203.0.113.9") == "203.0.113.9"


@endpoint("POST", LOGIN, Access.OPTIONAL, rate=Rate.LOGIN)
async def login(call: Call) -> Answer:
    return {"address": call.remote_address}


SETTINGS = HttpSettings(allowances={Rate.LOGIN: Allowance(per_second=0.001, burst=2)})


async def test_too_many_requests_are_told_when_to_come_back() -> None:
    async with running_server((login,), settings=SETTINGS) as server:
        for _ in range(2):
            assert (await server.request("POST", LOGIN)).status == 200
        refused = await server.request("POST", LOGIN)
        assert await error_of(refused) == (429, "M_LIMIT_EXCEEDED")
        assert 900_000 < (await body_of(refused))["retry_after_ms"] <= 1_000_001
        assert 900 < int(refused.headers["Retry-After"]) <= 1001
        for token in ("alice", "bob"):
            assert (await server.request("POST", LOGIN, token=token)).status == 200


async def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    async with running_server((login,), settings=SETTINGS) as server:
        for client in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            headers = {"X-Forwarded-For": client}
            response = await server.request("POST", LOGIN, headers=headers)
            assert await body_of(response) == {"address": client}


async def test_a_proxy_may_add_a_header_line_of_its_own() -> None:
    async with running_server((login,), settings=SETTINGS) as server:
        headers = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "198.51.100.1")]
        response = await server.session.post(server.url + LOGIN, headers=headers)
        assert await body_of(response) == {"address": "198.51.100.1"}


async def test_a_client_cannot_choose_its_address() -> None:
    address = ListenAddress("127.0.0.1", 0, trusted_proxies=())
    async with running_server((login,), settings=SETTINGS, address=address) as server:
        headers = {"X-Forwarded-For": "198.51.100.1"}
        response = await server.request("POST", LOGIN, headers=headers)
        assert await body_of(response) == {"address": "127.0.0.1"}
