import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.protocol import identifiers as ids
from federation.protocol.errors import InvalidParam, InvalidUsername
from federation.protocol.identifiers import ServerName
from tests import strategies as some


@given(some.server_names)
def test_every_host_with_or_without_port_is_a_server_name(name: ServerName) -> None:
    assert ids.is_valid_server_name(name)
    host, port = ids.split_server_name(name)
    assert name == (host if port is None else f"{host}:{port}")


@pytest.mark.parametrize(
    "name",
    [
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        "hs1",
        "MATRIX.org",
    ],
)
def test_the_specifications_examples_are_server_names(name: str) -> None:
    assert ids.check_server_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":80",
        "a b",
        "exa_mple.org",
        "example.org:",
        "example.org:123456",
        "example.org:٣",
        "example.org\n",
        "1.2.3.256",
        "[1::2::3]",
        "[fe80::1%eth0]",
        "1234:5678::abcd",
        "ünicode.org",
        "a" * 256,
    ],
)
def test_other_texts_are_not_server_names(name: str) -> None:
    assert not ids.is_valid_server_name(name)
    with pytest.raises(InvalidParam):
        ids.check_server_name(name)


@given(some.user_ids)
def test_a_user_id_of_the_grammar_is_valid_in_both_senses(user_id: str) -> None:
    assert ids.is_valid_user_id(user_id)
    assert ids.check_user_id(user_id) == ids.check_new_user_id(user_id) == user_id
    assert ids.build_user_id(ids.localpart_of(user_id), ids.server_of(user_id)) == user_id


@given(some.historical_user_ids)
def test_a_historical_user_id_is_valid_for_existing_users(user_id: str) -> None:
    assert ids.is_valid_historical_user_id(user_id)


@pytest.mark.parametrize("localpart", ["", "Alice", "al ice", "älice", "al*ice", "al@ice", "a#b"])
def test_old_localparts_are_historical_only(localpart: str) -> None:
    user_id = f"@{localpart}:example.org"
    assert ids.is_valid_historical_user_id(user_id)
    assert not ids.is_valid_user_id(user_id)
    with pytest.raises(InvalidUsername):
        ids.check_new_localpart(localpart, ServerName("example.org"))
    with pytest.raises(InvalidParam):
        ids.check_new_user_id(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        "@",
        "alice:example.org",
        "@alice",
        "@alice:",
        "@a\0b:example.org",
        "@a\ud800:example.org",
    ],
)
def test_a_user_id_has_sigil_and_server_and_no_nul(user_id: str) -> None:
    assert not ids.is_valid_historical_user_id(user_id)


def test_the_limit_of_255_counts_bytes() -> None:
    assert ids.is_valid_user_id("@" + "a" * 246 + ":domains")
    assert not ids.is_valid_user_id("@" + "a" * 247 + ":domains")
    assert not ids.is_valid_historical_user_id("@" + "é" * 124 + ":domains")
    with pytest.raises(InvalidUsername):
        ids.check_new_localpart("a" * 247, ServerName("domains"))


@given(some.room_ids)
def test_both_forms_are_room_ids(room_id: str) -> None:
    assert ids.check_room_id(room_id) == room_id
    assert ids.is_hash_room_id(room_id) != ids.is_domain_room_id(room_id)


@pytest.mark.parametrize(
    "room_id", ["!", "!abc", "#a:b", "!" + "a" * 42, "!" + "a" * 44, "!" + "a" * 42 + "/"]
)
def test_other_texts_are_not_room_ids(room_id: str) -> None:
    with pytest.raises(InvalidParam):
        ids.check_room_id(room_id)


@given(some.room_aliases)
def test_any_text_can_be_an_alias(alias: str) -> None:
    assert ids.check_room_alias(alias) == alias


@pytest.mark.parametrize("alias", ["", "#", "#:example.org", "#a", "a:example.org", "#a\0:b"])
def test_other_texts_are_not_aliases(alias: str) -> None:
    with pytest.raises(InvalidParam):
        ids.check_room_alias(alias)


@given(some.event_ids)
def test_event_ids_of_all_formats_are_valid(event_id: str) -> None:
    assert ids.check_event_id(event_id) == event_id


@pytest.mark.parametrize("event_id", ["", "$", "abc", "$a\0", "$" + "a" * 255])
def test_other_texts_are_not_event_ids(event_id: str) -> None:
    with pytest.raises(InvalidParam):
        ids.check_event_id(event_id)


def test_a_content_uri_has_a_server_and_a_media_id() -> None:
    assert ids.parse_mxc("mxc://example.org:80/a_b-C") == ("example.org:80", "a_b-C")


@pytest.mark.parametrize(
    "uri",
    ["", "mxc://", "mxc://a", "mxc://a/", "mxc://a/b/c", "http://a/b", "mxc://a/../b", "mxc:///b"],
)
def test_other_texts_are_not_content_uris(uri: str) -> None:
    assert not ids.is_valid_mxc(uri)
    with pytest.raises(InvalidParam):
        ids.parse_mxc(uri)


@given(st.text(max_size=300))
def test_no_check_fails_on_any_text(text: str) -> None:
    for sigil in ("", "@", "!", "#", "$", "mxc://"):
        value = sigil + text
        ids.is_valid_user_id(value)
        ids.is_valid_room_id(value)
        ids.is_valid_room_alias(value)
        ids.is_valid_event_id(value)
        ids.is_valid_mxc(value)
        ids.is_valid_device_id(value)
        ids.is_valid_key_id(value)


def test_devices_keys_and_opaque_ids_have_their_grammar() -> None:
    assert ids.check_device_id("ABC def/é") == "ABC def/é"
    assert ids.check_key_id("ed25519:a_Bc1") == "ed25519:a_Bc1"
    assert ids.check_opaque_id("a-b.c_d~E9") == "a-b.c_d~E9"
    assert not ids.is_valid_device_id("")
    assert not ids.is_valid_device_id("a\0")
    assert not ids.is_valid_key_id("ed25519")
    assert not ids.is_valid_key_id("ed25519:a b")
    assert not ids.is_valid_opaque_id("a/b")
    assert not ids.is_valid_opaque_id("a" * 256)


def test_the_server_follows_the_first_colon() -> None:
    assert ids.server_of("@a:[::1]:80") == "[::1]:80"
    assert ids.server_of("$hash") == ""
