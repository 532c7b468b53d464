from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.unpadded_base64 import (
    decode_base64,
    encode_base64,
    encode_urlsafe_base64,
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
    ],
)
def test_the_specifications_examples_hold(data: bytes, text: str) -> None:
    assert encode_base64(data) == text
    assert decode_base64(text) == data


@given(st.binary(max_size=100))
def test_every_spelling_is_read(data: bytes) -> None:
    for text in (b64encode(data).decode(), urlsafe_b64encode(data).decode()):
        assert decode_base64(text) == decode_base64(text.rstrip("=")) == data
    assert decode_base64(encode_base64(data)) == decode_base64(encode_urlsafe_base64(data)) == data
    assert encode_urlsafe_base64(data) == urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("text", ["A", "AAAAA", "A B", "ä", "AA=A", "A\nAA", "%%%%"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(text)
