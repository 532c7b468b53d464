"""Server access control lists, rule by rule of `m.room.server_acl`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.server_acl import host_of, is_ip_literal, parse_server_acl

ALL = {"allow": ["*"]}


@pytest.mark.parametrize("port", ["", ":8448", ":1234"])
def test_ports_play_no_role(port: str) -> None:
    assert not parse_server_acl({"allow": ["*"], "deny": ["evil.com"]}).is_allowed(
        f"evil.com{port}"
    )


@pytest.mark.parametrize(
    ("content", "server", "allowed"),
    [
        (ALL, "example.org", True),
        ({"allow": ["*"], "deny": ["*.evil.com"]}, "a.evil.com", False),
        ({"allow": ["*"], "deny": ["*.evil.com"]}, "evil.com", True),
        ({"allow": ["*"], "deny": ["evil?.com"]}, "evil1.com", False),
        ({"allow": ["*"], "deny": ["evil?.com"]}, "evil.com", True),
        ({"allow": ["good.org"]}, "good.org", True),
        ({"allow": ["good.org"]}, "bad.org", False),
        ({"allow": ["good.org"], "deny": ["good.org"]}, "good.org", False),
        ({"allow": ["*"], "deny": ["EVIL.com"]}, "evil.COM", False),
        ({"allow": ["good.*.org"]}, "good.a.b.org", True),
    ],
)
def test_deny_comes_before_allow(content: dict[str, Any], server: str, allowed: bool) -> None:
    assert parse_server_acl(content).is_allowed(server) is allowed


@pytest.mark.parametrize("server", ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[1234::abcd]:5678"])
def test_ip_literals_can_be_denied(server: str) -> None:
    assert parse_server_acl(ALL).is_allowed(server)
    assert parse_server_acl(ALL | {"allow_ip_literals": True}).is_allowed(server)
    assert not parse_server_acl(ALL | {"allow_ip_literals": False}).is_allowed(server)


def test_names_that_only_resemble_ip_literals_are_names() -> None:
    acl = parse_server_acl(ALL | {"allow_ip_literals": False})
    assert acl.is_allowed("1.2.3.4.example.org")
    assert acl.is_allowed("1.2.3")


@pytest.mark.parametrize("value", ["false", 0, None, [], {}])
def test_a_malformed_allow_ip_literals_counts_as_true(value: object) -> None:
    assert parse_server_acl(ALL | {"allow_ip_literals": value}).is_allowed("1.2.3.4")


@pytest.mark.parametrize("allow", [None, "*", {"*": True}, 1, [], [1, None]])
def test_a_malformed_allow_list_allows_nobody(allow: object) -> None:
    assert not parse_server_acl({"allow": allow}).is_allowed("example.org")
    assert not parse_server_acl({}).is_allowed("example.org")


@pytest.mark.parametrize("deny", [None, "*", {"*": True}, 1, [], [1, None]])
def test_a_malformed_deny_list_denies_nobody(deny: object) -> None:
    assert parse_server_acl(ALL | {"deny": deny}).is_allowed("example.org")


def test_entries_that_are_not_strings_are_passed_over() -> None:
    acl = parse_server_acl({"allow": ["*", 5], "deny": [None, "evil.com"]})
    assert acl.is_allowed("example.org")
    assert not acl.is_allowed("evil.com")


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("matrix.org", "matrix.org"),
        ("matrix.org:8888", "matrix.org"),
        ("1.2.3.4:1234", "1.2.3.4"),
        ("[1234:5678::abcd]", "[1234:5678::abcd]"),
        ("[1234:5678::abcd]:5678", "[1234:5678::abcd]"),
    ],
)
def test_the_host_is_the_name_without_its_port(server: str, host: str) -> None:
    assert host_of(server) == host


@given(st.ip_addresses())
def test_every_ip_address_is_a_literal(address: Any) -> None:
    assert is_ip_literal(f"[{address}]" if address.version == 6 else str(address))
