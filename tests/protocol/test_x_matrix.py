"""The header that says which server makes a request."""

import orjson
import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol import canonical_json
from federation.protocol.errors import Unauthorized
from federation.protocol.identifiers import KeyId, ServerName
from federation.protocol.signatures import signing_key_from_seed, verify_bytes
from federation.protocol.x_matrix import (
    Authorization,
    authorization_header,
    parse_authorization,
    signed_bytes,
)
from tests.strategies import json_objects

KEY = signing_key_from_seed("1", b"x" * 32)
A, B = ServerName("a.test"), ServerName("[::1]:8448")
PLAIN = Authorization(A, B, KeyId("ed25519:1"), "c2ln/+")


@given(st.none() | json_objects, st.text(st.characters(codec="ascii", categories=["L", "N", "P"])))
def test_what_is_signed_is_canonical_json(content: dict[str, object] | None, path: str) -> None:
    encoded = None if content is None else canonical_json.encode(content)
    request: dict[str, object] = {"method": "PUT", "uri": path, "origin": A, "destination": B}
    if content is not None:
        request["content"] = content
    assert signed_bytes("PUT", path, A, B, encoded) == encode_canonical_json(request)


@given(st.none() | json_objects)
def test_what_is_signed_can_be_verified(content: dict[str, object] | None) -> None:
    encoded = None if content is None else orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    header = authorization_header("PUT", "/x?y=%20", A, B, encoded, KEY)
    claim = parse_authorization(header)
    assert (claim.origin, claim.destination, claim.key_id) == (A, B, KEY.key_id)
    message = signed_bytes("PUT", "/x?y=%20", claim.origin, B, encoded)
    verify_bytes(message, claim.signature, KEY.verify_key)


def test_the_header_is_written_for_older_servers() -> None:
    header = authorization_header("GET", "/", A, B, None, KEY)
    assert header.startswith(
        'X-Matrix origin="a.test",destination="[::1]:8448",key="ed25519:1",sig'
    )
    assert header.count(" ") == 1
    assert "\\" not in header


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test",destination="[::1]:8448",key="ed25519:1",sig="c2ln/+"',
        "X-Matrix origin=a.test,destination=[::1]:8448,key=ed25519:1,sig=c2ln/+",
        'x-matrix   ORIGIN="a.test" ,\t Destination="[::1]:8448"\t,KEY=ed25519:1,sig="c2ln/+"',
        'X-MATRIX sig="c2ln/+",key="ed25519:1",destination="[::1]:8448",origin="a.test"',
        r'X-Matrix origin="\a.te\st",destination="[::1]:8448",key="ed25519\:1",sig="c2ln/+"',
        'X-Matrix origin=a.test,destination=[::1]:8448,key=ed25519:1,sig="c2ln/+",new="a,\\"b"',
        'X-Matrix origin = a.test , destination = "[::1]:8448", key= ed25519:1, sig="c2ln/+" ',
    ],
)
def test_every_way_to_write_it_is_understood(header: str) -> None:
    assert parse_authorization(header) == PLAIN


def test_old_servers_leave_the_destination_out() -> None:
    claim = parse_authorization("X-Matrix origin=a.test,key=ed25519:1,sig=x")
    assert claim.destination is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer token",
        "X-Matrix",
        "X-Matrix ",
        "X-Matrixorigin=a.test",
        "X-Matrix origin=a.test,key=ed25519:1",
        "X-Matrix origin=a.test,sig=x",
        "X-Matrix key=ed25519:1,sig=x",
        "X-Matrix origin=a/test,key=ed25519:1,sig=x",
        "X-Matrix origin=a.test,key=nonsense,sig=x",
        "X-Matrix origin=a.test,origin=b.test,key=ed25519:1,sig=x",
        'X-Matrix origin="a.test,key=ed25519:1,sig=x',
        "X-Matrix origin=a.test;key=ed25519:1;sig=x",
        "X-Matrix origin=a.test,key=ed25519:1,sig=x" + "x" * 5_000,
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        parse_authorization(header)


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(text: str) -> None:
    try:
        parse_authorization(f"X-Matrix {text}")
    except Unauthorized:
        return
