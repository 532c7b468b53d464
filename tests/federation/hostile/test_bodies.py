"""Requests that are large, deep, broken or endless, in the name of a server that may ask."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from federation.inbound.transactions import AT_ONCE, MAX_BODY_BYTES, MOST_WAITING
from federation.protocol.identifiers import ServerName
from federation.protocol.x_matrix import authorization_header
from tests.federation.hostile.far_peer import FEDERATION, OURS, never
from tests.federation.hostile.health import Scene
from tests.patience import PATIENCE_S

MEBIBYTE = 1_048_576


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body that comes in chunks, without its length being told."""
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


def padded(scene: Scene, size: int) -> bytes:
    """A transaction of about this size."""
    return scene.hostile.transaction(
        edus=[{"edu_type": "org.example", "content": {"x": "x" * size}}]
    )


@pytest.mark.parametrize("way", ["with its length", "in chunks"])
async def test_ten_megabytes_are_taken_and_more_are_not(scene: Scene, way: str) -> None:
    def sent(body: bytes) -> Any:
        return pieces(body) if way == "in chunks" else body

    target = f"{FEDERATION}/send/big"
    big, huge = padded(scene, 10 * MEBIBYTE), padded(scene, MAX_BODY_BYTES)
    answer = await scene.hostile.raw("PUT", target, big, sent=sent(big))
    assert answer.ok() == {"pdus": {}}
    (await scene.hostile.raw("PUT", f"{target}2", huge, sent=sent(huge))).refused(
        413, "M_TOO_LARGE"
    )
    await scene.assert_healthy()


async def test_a_request_that_unpacks_to_too_much_is_not_read(scene: Scene) -> None:
    bomb = gzip.compress(b"{" + b" " * (200 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE
    target = f"{FEDERATION}/send/bomb"
    headers: dict[str, Any] = {"Content-Encoding": "gzip"}
    answer = await scene.hostile.raw("PUT", target, b"{}", sent=bomb, **headers)
    answer.refused(413, "M_TOO_LARGE")
    await scene.assert_healthy()


BROKEN: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"<html>", "M_NOT_JSON"),
    "cut off": (b'{"pdus": [', "M_NOT_JSON"),
    "not UTF-8": (b'{"pdus": ["\xff"]}', "M_NOT_JSON"),
    "half a surrogate": (b'{"pdus": ["\\ud800"]}', "M_NOT_JSON"),
    "NaN": (b'{"pdus": [NaN]}', "M_NOT_JSON"),
    "infinity": (b'{"pdus": [-Infinity]}', "M_NOT_JSON"),
    "a list": (b"[]", "M_BAD_JSON"),
    "a text": (b'"pdus"', "M_BAD_JSON"),
    "ten million brackets": (b"[" * 10_000_000, "M_NOT_JSON"),
    "closed brackets": (b"[" * 5_000 + b"]" * 5_000, "M_NOT_JSON"),
    "an endless number": (b'{"pdus": [' + b"1" * 6_000 + b"]}", "M_NOT_JSON"),
    "no lists": (b'{"edus":7,"pdus":{}}', "M_BAD_JSON"),
}


async def test_bodies_that_are_no_transactions(scene: Scene) -> None:
    for kind, (body, errcode) in BROKEN.items():
        answer = await scene.hostile.raw("PUT", f"{FEDERATION}/send/broken", body)
        assert (answer.status, answer.body["errcode"]) == (400, errcode), kind
    await scene.assert_healthy(most_lines=0)


async def test_of_equal_keys_the_last_counts_for_us_as_for_the_signature(scene: Scene) -> None:
    fields = scene.room.event(content={"body": "last"})
    twice = scene.hostile.transaction(fields).replace(
        b'"content":{', b'"content":{"body":"first"},"content":{'
    )
    target = f"{FEDERATION}/send/twice"
    signed = scene.hostile.transaction(fields)
    event_id = scene.room.id_of(fields)
    answer = await scene.hostile.raw("PUT", target, signed, sent=twice)
    assert answer.ok() == {"pdus": {event_id: {}}}
    path = f"v3/rooms/{scene.room_id}/event/{event_id}"
    assert (await scene.alice.get(path)).ok()["content"] == {"body": "last"}
    await scene.assert_healthy()


FLOODS: dict[str, Callable[[], bytes]] = {
    "many headers": lambda: b"".join(b"X-%d: x\r\n" % n for n in range(5_000)),
    "a long header": lambda: b"X-Long: " + b"x" * 1_000_000 + b"\r\n",
    "many authorizations": lambda: b"Authorization: X-Matrix origin=a\r\n" * 100,
    "a broken header": lambda: b"\x00\xff: \x01\r\n",
    "two lengths": lambda: b"Content-Length: 3\r\nContent-Length: 5\r\n",
    "length and chunks": lambda: b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
}


async def test_headers_that_are_too_much(scene: Scene) -> None:
    for kind, flood in FLOODS.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.homes.server.port)
        writer.write(b"PUT " + FEDERATION.encode() + b"/send/t HTTP/1.1\r\nHost: test\r\n")
        writer.write(flood() + b"Connection: close\r\n\r\n")
        status = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                status = await reader.readline()
        writer.close()
        assert not status or status.split()[1] in (b"400", b"401", b"431"), (kind, status)
    await scene.assert_healthy()


async def test_a_transaction_that_is_sent_again_is_answered_again_and_taken_once(
    scene: Scene,
) -> None:
    fields = scene.room.event()
    event_id = scene.room.id_of(fields)
    body = scene.hostile.transaction(fields)
    many = [scene.hostile.put_bytes("send/again", body) for _ in range(8)]
    for answer in await asyncio.gather(*many):
        assert answer.ok() == {"pdus": {event_id: {}}}
    assert (await scene.hostile.put_bytes("send/under another ID", body)).status in (200, 400)
    assert await scene.sent(fields) == {event_id: {}}
    rows = await scene.homes.services.db.fetch("SELECT 1 FROM events WHERE event_id = $1", event_id)
    assert len(rows) == 1
    await scene.assert_healthy()


async def test_a_transaction_is_answered_the_same_after_a_restart(scene: Scene) -> None:
    bad, good = scene.room.event(sender="@x:other.example", auth=[]), scene.room.event()
    first = (await scene.hostile.send(bad, good, txn_id="kept")).ok()
    await scene.restart()
    assert (await scene.hostile.send(txn_id="kept")).ok() == first
    await scene.assert_healthy()


async def test_a_server_that_sends_too_much_at_once_is_told_when_to_come_back(
    scene: Scene,
) -> None:
    _, last = scene.room.say("lost", "last")
    scene.hostile.answers["get_missing_events"] = never
    many = [asyncio.create_task(scene.hostile.send(last)) for _ in range(AT_ONCE + MOST_WAITING)]
    async with asyncio.timeout(PATIENCE_S):
        turns = scene.homes.services.transactions._turns
        while (turn := turns.get(scene.hostile.name)) is None or turn.count < len(many):
            await asyncio.sleep(0.01)
        answer = await scene.hostile.send(last)
    assert answer.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 0
    assert int(answer.headers["Retry-After"]) > 0
    await scene.honest_events_are_taken()
    scene.hostile.answers.clear()
    await scene.hostile.hang_up()
    for task in many:
        assert (await task).status == 200
    await scene.assert_healthy(most_lines=40)


async def test_a_replayed_request_of_another_server_is_refused(scene: Scene) -> None:
    """A header that was seen on its way to somebody else, or with another body, is worthless."""
    target, body = f"{FEDERATION}/send/replayed", scene.hostile.transaction()
    name, key = scene.hostile.name, scene.hostile.key
    for header in (
        authorization_header("PUT", target, name, ServerName("other.example"), body, key),
        authorization_header("PUT", f"{target}2", name, OURS, body, key),
        authorization_header("PUT", target, scene.honest.name, OURS, body, key),
        authorization_header("PUT", target, name, OURS, scene.hostile.transaction(edus=[1]), key),
    ):
        answer = await scene.hostile.raw("PUT", target, body, Authorization=header)
        answer.refused(401, "M_UNAUTHORIZED")
    await scene.assert_healthy()
