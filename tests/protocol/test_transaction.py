from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.canonical_json import encode
from federation.protocol.edu import Edu
from federation.protocol.errors import BadJson, Forbidden
from federation.protocol.identifiers import ServerName
from federation.protocol.transaction import (
    MAX_EDUS,
    MAX_PDUS,
    encode_transaction,
    parse_transaction,
)
from tests.strategies import json_objects, json_values

FAR = ServerName("far.example")


@given(
    pdus=st.lists(json_objects, max_size=3),
    edus=st.lists(json_objects, max_size=3),
    ts=st.integers(0, 2**53 - 1),
)
def test_a_transaction_is_the_canonical_json_of_its_parts(
    pdus: list[Any], edus: list[Any], ts: int
) -> None:
    whole: dict[str, Any] = {"origin": FAR, "origin_server_ts": ts, "pdus": pdus}
    if edus:
        whole["edus"] = edus
    parts = [encode(pdu) for pdu in pdus], [encode(edu) for edu in edus]
    assert encode_transaction(FAR, ts, *parts) == encode(whole)


def test_what_was_put_in_comes_out() -> None:
    edus = [Edu("m.typing", {"a": 1}), Edu("m.other", {})]
    body = {
        "pdus": [{"type": "a"}],
        "edus": [{"edu_type": e.type, "content": e.content} for e in edus],
    }
    transaction = parse_transaction(body, FAR)
    assert (transaction.origin, transaction.pdus, transaction.edus) == (FAR, [{"type": "a"}], edus)


@given(pdus=st.lists(json_values, max_size=4), edus=st.lists(json_values, max_size=4))
def test_what_is_no_event_and_no_edu_is_left_out(pdus: list[Any], edus: list[Any]) -> None:
    transaction = parse_transaction({"pdus": pdus, "edus": edus}, FAR)
    assert transaction.pdus == [pdu for pdu in pdus if isinstance(pdu, dict)]
    assert transaction.edus == []


@pytest.mark.parametrize("wrong", [{"pdus": {}}, {"pdus": [], "edus": "x"}])
def test_lists_are_lists(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        parse_transaction(wrong, FAR)


def test_a_transaction_is_no_larger_than_it_may_be() -> None:
    parse_transaction({"pdus": [{}] * MAX_PDUS, "edus": [{}] * MAX_EDUS}, FAR)
    for name, limit in ("pdus", MAX_PDUS), ("edus", MAX_EDUS):
        with pytest.raises(BadJson):
            parse_transaction({name: [{}] * (limit + 1)}, FAR)


def test_nobody_sends_in_the_name_of_another() -> None:
    with pytest.raises(Forbidden):
        parse_transaction({"origin": "other.example", "pdus": []}, FAR)
