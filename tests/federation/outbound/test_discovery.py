"""Every rule of server discovery, over real TLS and real DNS messages."""

import asyncio
import socket

import pytest
from aiohttp import web

from federation.outbound.errors import Unreachable
from federation.protocol.server_name import DEFAULT_PORT
from tests.federation.world import VERSION, Network, Peer, json_response
from tests.patience import PATIENCE_S

ANSWER = {"server": {"name": "peer"}}


def answering(peer: Peer) -> Peer:
    peer.answers[VERSION] = ANSWER
    return peer


async def test_an_ip_literal_is_connected_to_at_8448(net: Network) -> None:
    peer = answering(await net.peer())
    assert await net.us().get(peer.address) == ANSWER
    assert (peer.last.host, peer.last.sni) == (peer.address, None)
    assert net.dns.asked == net.hosts.asked == []


async def test_an_ip_literal_may_have_a_port(net: Network) -> None:
    peer = answering(await net.peer(port=0))
    name = f"{peer.address}:{peer.port}"
    assert await net.us().get(name) == ANSWER
    assert peer.last.host == name


async def test_an_ipv6_literal_is_written_in_brackets(net: Network) -> None:
    peer = answering(await net.peer("::1", address="::1", port=0))
    name = f"[::1]:{peer.port}"
    assert await net.us().get(name) == ANSWER
    assert (peer.last.host, peer.last.sni) == (name, None)


async def test_an_ip_literal_needs_a_certificate_for_the_address(net: Network) -> None:
    peer = answering(await net.peer("elsewhere.test"))
    with pytest.raises(Unreachable, match="certificate"):
        await net.us().get(peer.address)
    assert peer.seen == []


async def test_a_name_with_a_port_is_neither_delegated_nor_looked_up_as_a_service(
    net: Network,
) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["a.test"]))
    name = f"a.test:{peer.port}"
    assert await net.us().get(name) == ANSWER
    assert (peer.last.host, peer.last.sni) == (name, "a.test")
    assert net.dns.asked == []
    assert net.hosts.asked == ["a.test"]


async def test_the_systems_hosts_file_counts(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = answering(await net.peer("localhost", address="127.0.0.1", port=0))
    monkeypatch.setattr(net.hosts, "look_up", socket.getaddrinfo)
    assert await net.us().get(f"localhost:{peer.port}") == ANSWER


async def test_a_delegation_to_an_ip_literal(net: Network) -> None:
    peer = answering(await net.peer())
    await net.web_server("a.test", {"m.server": peer.address})
    assert await net.us().get("a.test") == ANSWER
    assert (peer.last.host, peer.last.sni) == (peer.address, None)


async def test_a_delegation_to_an_ip_literal_with_a_port(net: Network) -> None:
    peer = answering(await net.peer(port=0))
    await net.web_server("a.test", {"m.server": f"{peer.address}:{peer.port}"})
    assert await net.us().get("a.test") == ANSWER
    assert peer.last.host == f"{peer.address}:{peer.port}"


async def test_a_delegation_to_a_name_with_a_port(net: Network) -> None:
    peer = answering(await net.peer("b.test", port=0, hosts=["b.test"]))
    await net.web_server("a.test", {"m.server": f"b.test:{peer.port}"})
    assert await net.us().get("a.test") == ANSWER
    assert (peer.last.host, peer.last.sni) == (f"b.test:{peer.port}", "b.test")
    assert net.dns.asked == []


async def test_a_delegation_needs_a_certificate_for_the_delegated_name(net: Network) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["b.test"]))
    await net.web_server("a.test", {"m.server": f"b.test:{peer.port}"})
    with pytest.raises(Unreachable, match="certificate"):
        await net.us().get("a.test")


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_a_delegation_to_a_name_with_a_service(net: Network, service: str) -> None:
    peer = answering(await net.peer("b.test", port=0, hosts=["c.test"]))
    await net.web_server("a.test", {"m.server": "b.test"})
    net.dns.records[f"{service}.b.test"] = [f"10 1 {peer.port} c.test."]
    assert await net.us().get("a.test") == ANSWER
    assert (peer.last.host, peer.last.sni) == ("b.test", "b.test")


async def test_a_delegation_to_a_name_without_a_service(net: Network) -> None:
    peer = answering(await net.peer("b.test", hosts=["b.test"]))
    await net.web_server("a.test", {"m.server": "b.test"})
    assert await net.us().get("a.test") == ANSWER
    assert peer.last.host == "b.test"
    assert net.dns.asked == ["_matrix-fed._tcp.b.test", "_matrix._tcp.b.test"]


async def test_delegations_do_not_follow_each_other(net: Network) -> None:
    peer = answering(await net.peer("b.test", hosts=["b.test"]))
    await net.web_server("a.test", {"m.server": "b.test"})
    other = await net.web_server("b.test", {"m.server": "c.test"}, address=peer.address)
    assert await net.us().get("a.test") == ANSWER
    assert other.seen == []


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_a_name_with_a_service_and_no_file(net: Network, service: str) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["c.test"]))
    await net.web_server("a.test")
    net.dns.records[f"{service}.a.test"] = [f"10 1 {peer.port} c.test."]
    assert await net.us().get("a.test") == ANSWER
    assert (peer.last.host, peer.last.sni) == ("a.test", "a.test")


async def test_the_registered_service_goes_before_the_deprecated_one(net: Network) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["c.test"]))
    net.dns.records["_matrix-fed._tcp.a.test"] = [f"10 1 {peer.port} c.test."]
    net.dns.records["_matrix._tcp.a.test"] = ["10 1 1 nowhere.test."]
    assert await net.us().get("a.test") == ANSWER
    assert net.dns.asked == ["_matrix-fed._tcp.a.test"]


async def test_a_service_needs_a_certificate_for_the_servers_own_name(net: Network) -> None:
    peer = answering(await net.peer("c.test", port=0, hosts=["c.test"]))
    net.dns.records["_matrix-fed._tcp.a.test"] = [f"10 1 {peer.port} c.test."]
    with pytest.raises(Unreachable, match="certificate"):
        await net.us().get("a.test")


async def test_without_file_and_service_the_name_itself_is_connected_to(net: Network) -> None:
    peer = answering(await net.peer("a.test", hosts=["a.test"]))
    assert await net.us().get("a.test") == ANSWER
    assert (peer.last.host, peer.last.sni, peer.port) == ("a.test", "a.test", DEFAULT_PORT)


async def test_a_place_that_refuses_makes_room_for_the_next_in_priority(net: Network) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["c.test"]))
    net.hosts.table["down.test"] = ("127.0.0.9",)
    net.dns.records["_matrix-fed._tcp.a.test"] = [
        f"20 1 {peer.port} c.test.",
        "10 1 1 down.test.",
        "5 1 1 nameless.test.",
    ]
    assert await net.us().get("a.test") == ANSWER


async def test_a_service_at_the_root_means_that_there_is_none(net: Network) -> None:
    await net.peer("a.test", hosts=["a.test"])
    net.dns.records["_matrix-fed._tcp.a.test"] = ["0 0 0 ."]
    with pytest.raises(Unreachable, match="offers no federation"):
        await net.us().get("a.test")


@pytest.mark.parametrize("failing", ["is_mute", "is_broken"])
async def test_name_servers_that_fail_do_not_end_discovery(
    net: Network, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.test", "b.test"):
        answering(await net.peer(name, hosts=[name]))
    setattr(net.dns, failing, True)
    us = net.us()
    assert await us.get("a.test") == ANSWER
    # Silence is remembered: nobody waits for it again.
    monkeypatch.setattr("federation.outbound.resolver.SRV_TIMEOUT_S", 2 * PATIENCE_S)
    assert await us.get("b.test") == ANSWER


async def test_what_was_found_is_remembered_as_long_as_dns_says(net: Network) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["c.test"]))
    net.dns.records["_matrix-fed._tcp.a.test"] = [f"10 1 {peer.port} c.test."]
    us = net.us()
    for _ in range(3):
        await us.get("a.test")
    assert len(net.dns.asked) == 1
    net.now_ts += net.dns.ttl_s * 1000
    await us.get("a.test")
    assert len(net.dns.asked) == 2


async def test_a_server_that_moved_is_looked_for_again(net: Network) -> None:
    peer = answering(await net.peer("a.test", port=0, hosts=["c.test"]))
    await net.web_server("a.test")
    net.dns.records["_matrix-fed._tcp.a.test"] = ["10 1 1 c.test."]
    us = net.us()
    with pytest.raises(Unreachable):
        await us.get("a.test")
    net.dns.records["_matrix-fed._tcp.a.test"] = [f"10 1 {peer.port} c.test."]
    net.now_ts += 61_000
    with pytest.raises(Unreachable):
        await us.get("a.test")
    assert await us.get("a.test", backoff=False) == ANSWER


async def test_many_who_ask_at_once_are_one_discovery(net: Network) -> None:
    answering(await net.peer("a.test", hosts=["a.test"]))
    web_server = await net.web_server("a.test", address=net.hosts.table["a.test"][0])
    us = net.us()
    await asyncio.gather(*(us.get("a.test") for _ in range(5)))
    assert len(web_server.seen) == 1
    assert len(net.dns.asked) == 2


async def test_somebody_who_gives_up_does_not_end_discovery_for_others(net: Network) -> None:
    peer = answering(await net.peer("b.test", port=0, hosts=["b.test"]))
    release = asyncio.Event()

    async def slow(_request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return json_response(200, {"m.server": f"b.test:{peer.port}"})

    await net.web_server("a.test", slow)
    us = net.us()
    impatient = asyncio.create_task(us.get("a.test", timeout_s=0.2, backoff=False))
    patient = asyncio.create_task(us.get("a.test", backoff=False))
    with pytest.raises(Unreachable, match="in time"):
        await impatient
    release.set()
    assert await patient == ANSWER
