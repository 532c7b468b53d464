"""TLS sessions that are taken up again."""

import pytest
from aiohttp import web

from federation.outbound import tls
from tests.federation.world import VERSION, Network, Peer, json_response


class Sessions:
    """Whether the connections of a peer, one a request, began with an earlier session."""

    def __init__(self, peer: Peer) -> None:
        self.name = f"{peer.address}:{peer.port}"
        self.resumed: list[bool] = []
        peer.answers[VERSION] = self.answer

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        self.resumed.append(request.transport.get_extra_info("ssl_object").session_reused)
        response = json_response(200, {})
        response.force_close()
        return response


async def test_a_new_connection_goes_on_with_the_last_session(net: Network) -> None:
    us, sessions = net.us(), Sessions(await net.peer(port=0))
    for _ in range(3):
        await us.get(sessions.name)
    assert sessions.resumed == [False, True, True]


async def test_everybody_has_sessions_of_their_own(net: Network) -> None:
    us = net.us()
    first, second = Sessions(await net.peer(port=0)), Sessions(await net.peer(port=0))
    for sessions in (first, second, first, second):
        await us.get(sessions.name)
    assert first.resumed == second.resumed == [False, True]


async def test_the_oldest_sessions_are_forgotten(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "MAX_SESSIONS", 1)
    us = net.us()
    first, second = Sessions(await net.peer(port=0)), Sessions(await net.peer(port=0))
    for sessions in (first, second, first, first):
        await us.get(sessions.name)
    assert first.resumed == [False, False, True]
