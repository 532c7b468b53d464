"""Who may ask: the signature of a request, and the key that it was made with."""

from typing import Any

import pytest

from federation.inbound.server_auth import ServerAuth
from federation.protocol.canonical_json import encode
from federation.protocol.errors import Forbidden, MatrixError, Unauthorized
from federation.protocol.identifiers import ServerName
from federation.protocol.server_keys import VerifyKey, build_server_keys
from federation.protocol.signatures import SigningKey
from federation.protocol.x_matrix import authorization_header
from tests.federation.world import DAY_MS, KEYS, NOW_TS, US, Network, Peer, Us, published, test_key

A_KEY, B_KEY = test_key("a"), test_key("b")
URI = "/_matrix/federation/v1/send/1?x=%20"
CONTENT = {"pdus": [], "float": 1.5, "é": None}


class Asking:
    """Our side, and a server that asks."""

    def __init__(self, us: Us, peer: Peer, name: ServerName, net: Network) -> None:
        self.us = us
        self.peer = peer
        self.name = name
        self.seen: list[ServerName] = []
        self.auth = ServerAuth(
            US,
            us.keyring,
            net.clock,
            is_allowed=lambda name: name != "banned.test",
            seen=self.note,
        )

    async def note(self, origin: ServerName) -> None:
        self.seen.append(origin)
        await self.us.backoff.revive(origin)

    def header(
        self,
        key: SigningKey = A_KEY,
        *,
        origin: str | None = None,
        destination: str = US,
        method: str = "PUT",
        uri: str = URI,
        content: bytes | None = None,
    ) -> str:
        return authorization_header(
            method, uri, ServerName(origin or self.name), ServerName(destination), content, key
        )

    async def verify(self, *headers: str, content: dict[str, Any] | None = None) -> ServerName:
        return await self.auth.verify(authorization=headers, method="PUT", uri=URI, content=content)


async def asking(net: Network, *keys: SigningKey) -> Asking:
    peer = await net.peer(port=0)
    name = ServerName(f"{peer.address}:{peer.port}")
    peer.answers[KEYS] = published(name, *(keys or (A_KEY,)))
    return Asking(net.us(), peer, name, net)


async def test_a_signed_request_is_its_servers(net: Network) -> None:
    one = await asking(net)
    assert await one.verify(one.header()) == one.name
    assert await one.verify(one.header()) == one.name
    assert len(one.peer.seen) == 1
    assert one.seen == [one.name] * 2


async def test_the_body_is_signed_too(net: Network) -> None:
    one = await asking(net)
    plain: dict[str, Any] = {"pdus": [], "é": None}
    header = one.header(content=encode(plain))
    assert await one.verify(header, content=plain) == one.name
    for other in (None, {}, {"pdus": [1], "é": None}, CONTENT):
        with pytest.raises(Unauthorized):
            await one.verify(header, content=other)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"uri": "/_matrix/federation/v1/send/1?x= "},
        {"uri": "/_matrix/federation/v1/send/2?x=%20"},
        {"destination": "elsewhere.test"},
        {"content": b"{}"},
        {"key": B_KEY},
        {"key": SigningKey(A_KEY.key_id, B_KEY.secret)},
    ],
)
async def test_whatever_differs_breaks_the_signature(net: Network, change: dict[str, Any]) -> None:
    one = await asking(net)
    with pytest.raises(Unauthorized):
        await one.verify(one.header(**change))
    assert one.seen == []


async def test_another_destination_is_refused_and_none_is_taken_for_us(net: Network) -> None:
    one = await asking(net)
    header = one.header()
    assert await one.verify(header.replace(f'destination="{US}",', "")) == one.name
    with pytest.raises(Unauthorized, match="not meant for"):
        await one.verify(header.replace(f'destination="{US}"', 'destination="elsewhere.test"'))
    assert len(one.peer.seen) == 1


async def test_one_known_key_of_several_is_enough_if_no_signature_is_wrong(net: Network) -> None:
    one = await asking(net, A_KEY, test_key("c"))
    unknown, known = one.header(B_KEY), one.header(A_KEY)
    wrong = one.header(SigningKey(test_key("c").key_id, B_KEY.secret))
    assert await one.verify(unknown, known) == one.name
    with pytest.raises(Unauthorized):
        await one.verify(wrong, known)
    with pytest.raises(Unauthorized, match="one origin"):
        await one.verify(known, one.header(origin="other.test"))


async def test_a_request_without_headers_is_nobodys(net: Network) -> None:
    one = await asking(net)
    with pytest.raises(Unauthorized):
        await one.verify()
    with pytest.raises(Unauthorized):
        await one.verify("X-Matrix nonsense")


async def test_old_keys_do_not_sign_requests(net: Network) -> None:
    one = await asking(net)
    old = VerifyKey(one.name, A_KEY.key_id, A_KEY.verify_key, 0, NOW_TS + DAY_MS)
    one.peer.answers[KEYS] = build_server_keys(
        one.name, [B_KEY], [old], valid_until_ts=NOW_TS + DAY_MS
    )
    with pytest.raises(Unauthorized):
        await one.verify(one.header())
    assert await one.verify(one.header(B_KEY)) == one.name


async def test_keys_beyond_their_time_do_not_sign_requests(net: Network) -> None:
    one = await asking(net)
    await one.verify(one.header())
    net.now_ts += DAY_MS + 1
    with pytest.raises(Unauthorized):
        await one.verify(one.header())
    net.now_ts += DAY_MS
    one.peer.answers[KEYS] = published(one.name, A_KEY, valid_until_ts=net.now_ts + DAY_MS)
    assert await one.verify(one.header()) == one.name


@pytest.mark.parametrize(
    ("origin", "expected"),
    [(US, Unauthorized), ("banned.test", Forbidden), ("gone.test:1", Unauthorized)],
)
async def test_some_origins_are_refused(
    net: Network, origin: str, expected: type[MatrixError]
) -> None:
    one = await asking(net)
    with pytest.raises(expected):
        await one.verify(one.header(origin=origin))
    assert one.peer.seen == []


async def test_a_server_that_was_left_alone_is_heard_and_tried_again(net: Network) -> None:
    one = await asking(net)
    keys = one.peer.answers.pop(KEYS)
    one.peer.answers[KEYS] = (500, {})
    for _ in range(5):
        with pytest.raises(MatrixError):
            await one.us.get(one.name, KEYS)
        net.now_ts += 3_600_000
    with pytest.raises(MatrixError):
        await one.us.get(one.name, KEYS)
    one.peer.answers[KEYS] = keys | {}
    assert net.kept.health[one.name].retry_at_ts > net.now_ts
    one.peer.answers[KEYS] = published(one.name, A_KEY, valid_until_ts=net.now_ts + DAY_MS)
    assert await one.verify(one.header()) == one.name
    assert net.kept.health[one.name].failures == 0
