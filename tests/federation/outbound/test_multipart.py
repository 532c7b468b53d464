"""Answers of several parts, however they are cut into pieces on the way."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.errors import BadAnswer
from federation.outbound.multipart import PartReader
from federation.protocol.identifiers import ServerName

FAR = ServerName("far.test")
TYPE = "multipart/mixed; boundary=xyz"
HEAD = b"--xyz\r\nContent-Type: application/json\r\n\r\n{}\r\n--xyz\r\n"


async def arriving(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(data: bytes, cuts: Sequence[int], content_type: str = TYPE) -> tuple[object, bytes]:
    """The headers and the body of the second part."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    parts = PartReader(arriving(pieces), content_type, FAR)
    await parts.skip()
    await parts.head()
    await parts.skip()
    headers = await parts.head()
    return headers, b"".join([chunk async for chunk in parts.body()])


body_pieces = st.lists(
    st.sampled_from([b"\r\n", b"--xyz", b"\r\n--xy", b"-", b"\r", b"x", b"\0" * 50, b"\r\n--"])
)


@given(pieces=body_pieces, cuts=st.lists(st.integers(0, 1000), max_size=20))
async def test_a_body_comes_out_as_it_went_in(pieces: list[bytes], cuts: list[int]) -> None:
    body = b"".join(pieces)
    if b"\r\n--xyz" in b"\r\n" + body:
        return
    data = HEAD + b"Content-Type: a/b\r\nX:  y \r\n\r\n" + body + b"\r\n--xyz--\r\n"
    assert await read(data, cuts) == ({"content-type": "a/b", "x": "y"}, body)


async def test_a_preamble_and_a_quoted_boundary_are_understood() -> None:
    data = b"hello\r\n" + HEAD.replace(b"xyz", b"x y") + b"\r\nbody\r\n--x y--"
    assert await read(data, [], 'multipart/mixed; charset=a; Boundary="x y"') == ({}, b"body")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (HEAD + b"\r\nbody", TYPE),
        (HEAD, TYPE),
        (b"--xyz--\r\n", TYPE),
        (b"nothing", TYPE),
        (b"x" * 100_000, TYPE),
        (b"--xyz\r\n" + b"a: b\r\n" * 10_000, TYPE),
        (b"--xyz\r\n" + b"a" * 100_000, TYPE),
        (b"--xyz\r\n\r\n" + b"{" * 100_000, TYPE),
        (HEAD, "multipart/mixed"),
        (HEAD, "application/json; boundary=xyz"),
    ],
)
async def test_what_is_not_made_so_is_refused(data: bytes, content_type: str) -> None:
    with pytest.raises(BadAnswer):
        await read(data, range(0, len(data), 1000), content_type)
