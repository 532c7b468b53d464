"""Discovery's steps as such; over the network they are in tests/federation/outbound."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.errors import InvalidParam
from federation.protocol.identifiers import ServerName
from federation.protocol.server_name import (
    MAX_TARGETS,
    AskSrv,
    AskWellKnown,
    Found,
    SrvRecord,
    Target,
    address_literal,
    after_srv,
    after_well_known,
    first_step,
    order_srv,
    parse_delegation,
)

srv_records = st.builds(
    SrvRecord, st.integers(0, 3), st.integers(0, 100), st.integers(0, 65535), st.just("host.test")
)
fractions = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("1.2.3.4", Target("1.2.3.4", 8448, "1.2.3.4", "1.2.3.4")),
        ("1.2.3.4:1", Target("1.2.3.4", 1, "1.2.3.4:1", "1.2.3.4")),
        ("[::1]", Target("::1", 8448, "[::1]", "::1")),
        ("[::1]:2", Target("::1", 2, "[::1]:2", "::1")),
        ("a.test:3", Target("a.test", 3, "a.test:3", "a.test")),
    ],
)
def test_literals_and_ports_are_the_end(name: str, target: Target) -> None:
    assert first_step(ServerName(name)) == Found((target,))
    assert after_well_known(AskWellKnown("b.test"), ServerName(name)) == Found((target,))


def test_a_plain_name_is_looked_for_in_its_file() -> None:
    assert first_step(ServerName("a.test")) == AskWellKnown("a.test")


def test_services_are_those_of_the_delegated_name_or_else_of_the_own() -> None:
    step = AskWellKnown("a.test")
    assert after_well_known(step, None) == AskSrv("a.test", "_matrix-fed._tcp")
    delegated = after_well_known(step, ServerName("b.test"))
    assert isinstance(delegated, AskSrv)
    assert delegated.query_name == "_matrix-fed._tcp.b.test"


@pytest.mark.parametrize("name", ["", "a b", "a.test:", "1.2.3.999", "a.test:0", "a.test:65536"])
def test_what_is_no_server_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidParam):
        first_step(ServerName(name))


@given(st.lists(srv_records), fractions)
def test_every_record_is_tried_once_the_lowest_priority_first(
    records: list[SrvRecord], fraction: float
) -> None:
    ordered = order_srv(records, lambda: fraction)
    assert Counter(ordered) == Counter(records)
    assert [one.priority for one in ordered] == sorted(one.priority for one in records)


def test_among_equals_weight_decides_how_often() -> None:
    light, heavy = SrvRecord(1, 1, 1, "light"), SrvRecord(1, 9, 1, "heavy")
    steps = 1000

    def first_at(step: int) -> str:
        return order_srv([light, heavy], lambda: step / steps)[0].target

    first = Counter(map(first_at, range(steps)))
    assert first["heavy"] > 4 * first["light"] > 0


def test_a_record_without_weight_has_a_small_chance() -> None:
    none, some = SrvRecord(1, 0, 1, "none"), SrvRecord(1, 9, 1, "some")
    assert order_srv([some, none], lambda: 0.0)[0] == none
    assert order_srv([some, none], lambda: 0.99)[0] == some


def test_of_many_records_some_are_tried() -> None:
    records = [SrvRecord(i, 1, 1, "host.test") for i in range(50)]
    step = after_srv(AskSrv("a.test", "_matrix._tcp"), records, lambda: 0.5)
    assert isinstance(step, Found)
    assert len(step.targets) == MAX_TARGETS


@pytest.mark.parametrize("record", [SrvRecord(0, 0, 0, ""), SrvRecord(0, 0, 0, "host.test")])
def test_records_that_lead_nowhere_are_the_end(record: SrvRecord) -> None:
    assert after_srv(AskSrv("a.test", "_matrix-fed._tcp"), [record], lambda: 0) == Found(())


@pytest.mark.parametrize("document", [None, [], "b.test", {}, {"m.server": None}, {"m.server": ""}])
def test_a_file_without_a_server_name_delegates_to_nobody(document: object) -> None:
    assert parse_delegation(document) is None
    assert parse_delegation({"m.server": "b.test:1"}) == "b.test:1"


def test_address_literals_lose_their_brackets() -> None:
    assert address_literal("[::1]") == "::1"
    assert address_literal("a.test") is None
