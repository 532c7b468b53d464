"""Registration files: what is read from them, and what an operator is told to mend."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.protocol.identifiers import ServerName
from homeserver.appservices.namespaces import Namespaces
from homeserver.appservices.registrations import (
    RegistrationError,
    find_risks,
    load_registrations,
)

NAME = ServerName("example.org")
GOOD: dict[str, Any] = {
    "id": "irc",
    "url": "http://127.0.0.1:9000",
    "as_token": "a",
    "hs_token": "h",
    "sender_localpart": "ircbot",
    "namespaces": {"users": [{"regex": "@irc_.*", "exclusive": True}]},
}


def write(directory: Path, *files: Any) -> list[Path]:
    paths = []
    for number, content in enumerate(files):
        paths.append(directory / f"{number}.yaml")
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        paths[-1].write_text(text)
    return paths


def problems(directory: Path, *files: Any) -> str:
    with pytest.raises(RegistrationError) as caught:
        load_registrations(write(directory, *files), NAME)
    return "\n".join(caught.value.problems)


def test_the_example_of_the_specification_is_read(tmp_path: Path) -> None:
    text = """
        id: "IRC Bridge"
        url: "http://127.0.0.1:1234"
        as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
        hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
        sender_localpart: "_irc_bot" # Will result in @_irc_bot:example.org
        namespaces:
          users:
            - exclusive: true
              regex: "@_irc_bridge_.*"
          aliases:
            - exclusive: false
              regex: "#_irc_bridge_.*"
          rooms: []
    """
    (service,) = load_registrations(write(tmp_path, text), NAME)
    assert service.service_id == "IRC Bridge"
    assert service.sender == "@_irc_bot:example.org"
    assert service.users[0].exclusive
    assert not service.aliases[0].exclusive
    assert service.is_rate_limited
    assert not service.is_told_ephemeral


def test_what_bridges_add_is_read(tmp_path: Path) -> None:
    more = {
        "rate_limited": False,
        "de.sorunome.msc2409.push_ephemeral": True,
        "push_ephemeral": True,
        "receive_ephemeral": True,
        "org.matrix.msc3202": True,
        "io.element.msc4190": True,
        "protocols": ["irc"],
        "something.else": {"is": "passed over"},
        "url": "http://127.0.0.1:9000/",
    }
    (service,) = load_registrations(write(tmp_path, {**GOOD, **more}), NAME)
    assert not service.is_rate_limited
    assert service.receives_ephemeral
    assert service.receives_unstable_ephemeral
    assert service.receives_device_news
    assert service.manages_devices
    assert service.protocols == ("irc",)
    assert service.url == "http://127.0.0.1:9000"


def test_bridges_draw_their_sender_from_letters_of_both_cases(tmp_path: Path) -> None:
    drawn = "QxYz0AbCdEfGhIjKlMnOpQrStUvWxYz1"
    (service,) = load_registrations(write(tmp_path, {**GOOD, "sender_localpart": drawn}), NAME)
    assert service.sender == f"@{drawn}:example.org"


@pytest.mark.parametrize("url", [None, ""])
def test_a_service_may_have_no_url(tmp_path: Path, url: str | None) -> None:
    (service,) = load_registrations(write(tmp_path, {**GOOD, "url": url}), NAME)
    assert service.url is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": 7}, "id must be a text"),
        ({"id": "a|b"}, "id may not have a |"),
        ({"as_token": ""}, "as_token must be a text"),
        ({"hs_token": "ü"}, "openssl rand -hex 32"),
        ({"hs_token": "a"}, "as_token and hs_token must differ"),
        ({"url": "localhost:9000"}, "url must begin with http://"),
        ({"sender_localpart": "IRC bot"}, "sender_localpart"),
        ({"namespaces": []}, "namespaces must be an object"),
        ({"namespaces": {"users": ["@irc_.*"]}}, "each entry must have a regex"),
        ({"namespaces": {"users": {"regex": "x"}}}, "exclusive of 'x' must be true or false"),
        ({"namespaces": {"rooms": [{"regex": "(", "exclusive": True}]}}, "the regex '('"),
        ({"rate_limited": "no"}, "rate_limited must be true or false"),
        ({"protocols": "irc"}, "protocols must be a list"),
    ],
)
def test_an_operator_is_told_what_is_wrong(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    said = problems(tmp_path, {**GOOD, **change})
    assert told in said
    assert str(tmp_path / "0.yaml") in said


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    said = problems(tmp_path, {**GOOD, "id": 1, "url": 2}, "a: [", "just text")
    for number, told in ((0, "id must"), (0, "url must"), (1, "not valid YAML"), (2, "an object")):
        assert any(
            told in line and str(tmp_path / f"{number}.yaml") in line for line in said.split("\n")
        )


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistrationError, match="cannot be read"):
        load_registrations([tmp_path / "none.yaml"], NAME)


def test_ids_and_tokens_are_not_shared(tmp_path: Path) -> None:
    assert "its as_token is that of 'irc' too" in problems(tmp_path, GOOD, {**GOOD, "id": "b"})
    assert "the id 'irc' is that of another" in problems(
        tmp_path, GOOD, {**GOOD, "as_token": "other"}
    )


def test_reserving_everybody_is_warned_of(tmp_path: Path) -> None:
    everybody = {"users": [{"regex": "@.*", "exclusive": True}]}
    services = load_registrations(write(tmp_path, {**GOOD, "namespaces": everybody}), NAME)
    assert len(list(find_risks(services, NAME))) == 1
    assert not list(find_risks(load_registrations(write(tmp_path, GOOD), NAME), NAME))


def test_users_of_other_servers_are_nobodys(tmp_path: Path) -> None:
    namespaces = Namespaces(load_registrations(write(tmp_path, GOOD), NAME), NAME, 10_000)
    assert namespaces.of_user("@irc_bob:example.org")
    assert namespaces.of_user("@ircbot:example.org")
    assert not namespaces.of_user("@irc_bob:elsewhere.org")
    assert not namespaces.of_user("@irc_" + "x" * 300 + ":example.org")
