"""Nobody makes the server talk to machines behind it."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.address_guard import AddressDenied, AddressGuard
from federation.outbound.errors import Unreachable
from homeserver.config.sections.federation import Outgoing
from tests.federation.world import VERSION, Network

DEFAULT = AddressGuard(Outgoing().deny_ip_ranges)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.31.255.255",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:a00:1::",
        "no address",
        "",
    ],
)
def test_private_addresses_are_denied_in_every_disguise(address: str) -> None:
    assert not DEFAULT.is_allowed(address)
    with pytest.raises(AddressDenied):
        DEFAULT.check(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450::1", "::ffff:8.8.8.8", "2002:808:808::"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert DEFAULT.is_allowed(address)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_exceptions_go_before_what_is_denied(address: str) -> None:
    guard = AddressGuard(Outgoing().deny_ip_ranges, ["10.1.0.0/16"])
    assert guard.is_allowed(address)
    assert not guard.is_allowed("10.2.0.1")


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_what_it_maps_to(address: object) -> None:
    assert DEFAULT.is_allowed(f"::ffff:{address}") == DEFAULT.is_allowed(str(address))


def test_behind_a_translator_private_addresses_stay_denied() -> None:
    assert DEFAULT.is_allowed("64:ff9b::8.8.8.8")
    for private in ("10.0.0.1", "127.0.0.1", "192.168.1.1", "169.254.169.254"):
        assert not DEFAULT.is_allowed(f"64:ff9b::{private}")


def test_no_socket_is_made_for_a_denied_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 8448))
    with pytest.raises(AddressDenied):
        DEFAULT.open_socket(info)
    AddressGuard([]).open_socket(info).close()


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_server_at_a_private_address_is_not_connected_to(
    net: Network, by_name: bool
) -> None:
    peer = await net.peer("a.test", hosts=["a.test"])
    peer.answers[VERSION] = {}
    us = net.us(deny=["127.0.0.0/8"])
    with pytest.raises(Unreachable, match="not allowed") as caught:
        await us.get("a.test:8448" if by_name else peer.address)
    assert not caught.value.transient
    assert peer.seen == []
    assert net.kept.health == {}


async def test_of_several_addresses_the_allowed_ones_are_used(net: Network) -> None:
    peer = await net.peer("a.test")
    peer.answers[VERSION] = {}
    net.hosts.table["a.test"] = ("10.0.0.1", "::ffff:10.0.0.1", peer.address)
    assert await net.us(deny=["10.0.0.0/8"]).get("a.test:8448") == {}


async def test_a_name_that_changes_its_address_gains_nothing(net: Network) -> None:
    good, bad = await net.peer("a.test"), await net.peer("a.test")
    good.answers[VERSION] = bad.answers[VERSION] = {}
    us = net.us(deny=[f"{bad.address}/32"])
    answers = iter([(good.address,), *[(bad.address,)] * 9])

    class Rebinding(dict[str, tuple[str, ...]]):
        def __contains__(self, _name: object) -> bool:
            return True

        def __getitem__(self, _name: str) -> tuple[str, ...]:
            return next(answers)

    net.hosts.table = Rebinding()
    assert await us.get("a.test:8448") == {}
    assert bad.seen == []
