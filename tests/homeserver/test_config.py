"""Configuration: one definition, checked in full, overridable, described where operators look."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from signedjson.key import read_signing_keys

from homeserver.config.describe import DOCUMENT, groups, render_document, render_file
from homeserver.config.keys import KeyFileError, create_signing_key, load_signing_keys
from homeserver.config.load import ConfigError, known_keys, load_settings
from homeserver.config.sections.server import Server
from homeserver.config.settings import Settings, from_json, to_json

Load = Callable[[str], Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings from the text of a file."""

    def load_text(text: str) -> Settings:
        path = tmp_path / "hearth.toml"
        path.write_text(text)
        return load_settings(path)

    return load_text


def problems(load: Load, text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.problems


NAMED = '[server]\nname = "example.org"\n'


def with_paths_of(plain: Settings, settings: Settings) -> Settings:
    """The settings with those sections of `plain` whose paths depend on where the file lies."""
    return replace(settings, server=plain.server, media=plain.media, mail=plain.mail)


CALLS = """
[calls]
livekit_url = "wss://calls.example.org/sfu"
api_key = "hearth"
api_secret = "0123456789abcdef0123456789abcdef"
"""


def test_a_name_is_all_that_must_be_given(load: Load) -> None:
    settings = load(NAMED)
    assert settings.server.public_baseurl == "https://example.org"
    assert settings.listen[0].address == "127.0.0.1"
    assert settings.registration.enabled is False


def test_the_defaults_of_the_file_are_those_of_the_records(load: Load) -> None:
    loaded, plain = load(NAMED), Settings(server=Server(name="example.org"))
    assert with_paths_of(plain, loaded) == plain


def test_a_name_is_needed(load: Load) -> None:
    assert problems(load, "") == (
        "server.name is missing: give it in the configuration file or as HEARTH_SERVER__NAME.",
    )


def test_paths_are_relative_to_the_file_and_the_data_directory(load: Load, tmp_path: Path) -> None:
    settings = load(NAMED + 'data_dir = "things"\n[[listen]]\ntls_certificate = "c"\ntls_key = "k"')
    assert settings.server.data_dir == tmp_path / "things"
    assert settings.server.signing_key_path == tmp_path / "things/signing.key"
    assert settings.media.directory == tmp_path / "things/media"
    assert settings.mail.templates == tmp_path / "things/mail"
    assert settings.listen[0].tls_certificate == tmp_path / "c"


def test_the_environment_wins_over_the_file(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_SERVER__NAME", "other.org")
    monkeypatch.setenv("HEARTH_LIMITS__MESSAGE__BURST", "7")
    monkeypatch.setenv("HEARTH_LISTEN", '[{"port": 9}]')
    monkeypatch.setenv("HEARTH_TURN__URIS", '["turn:a"]')
    settings = load(NAMED + "[limits.message]\nburst = 3\nper_second = 2")
    assert settings.server.name == "other.org"
    assert (settings.limits.message.burst, settings.limits.message.per_second) == (7, 2)
    assert settings.listen[0].port == 9
    assert settings.turn.uris == ("turn:a",)


def test_every_key_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Settings(server=Server(name="example.org", public_baseurl="https://x"))
    for section in fields(Settings):
        values = getattr(plain, section.name)
        if not is_dataclass(values):
            continue
        for key in fields(values):
            given = getattr(values, key.name)
            if isinstance(given, bool | int | float | str):
                variable = f"HEARTH_{section.name}__{key.name}".upper()
                monkeypatch.setenv(variable, str(given))
    loaded = load_settings(None)
    assert with_paths_of(plain, loaded) == plain


def test_one_key_of_a_table_leaves_the_others_at_their_defaults(load: Load) -> None:
    default = load(NAMED).limits.message
    assert load(NAMED + "[limits.message]\nburst = 1").limits.message == replace(default, burst=1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nnme = 1", "server.nme is not a setting; did you mean server.name?"),
        ("[cach]", "cach is not a setting; did you mean cache?"),
        (
            "[server]\nmax_upload_mb = 1",
            "server.max_upload_mb is not a setting; did you mean media.max_upload_mb?",
        ),
        (
            "[[listen]]\nadress = 1",
            "listen.0.adress is not a setting; did you mean listen.0.address?",
        ),
        (
            "[limits.message]\nbrst = 1",
            "limits.message.brst is not a setting; did you mean limits.message.burst?",
        ),
        ("[server]\nqqqqq = 1", "server.qqqqq is not a setting."),
        (
            "[[listen]]\nport = 99999",
            "listen.0.port: input should be less than or equal to 65535, not 99999.",
        ),
    ],
)
def test_what_is_wrong_is_said_with_a_suggestion(load: Load, text: str, sentence: str) -> None:
    assert sentence in problems(load, text)


def test_unknown_environment_variables_are_errors(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_AUTH__PEPPR", "x")
    monkeypatch.setenv("HEARTH_SERVR__NAME", "x")
    found = problems(load, NAMED)
    assert "auth.peppr is not a setting; did you mean auth.pepper?" in found
    assert any("HEARTH_SERVR__NAME" in problem and "HEARTH_SERVER" in problem for problem in found)


def test_a_wrong_secret_is_not_repeated(load: Load) -> None:
    assert "hush" not in "".join(problems(load, NAMED + '[auth]\npepper = ["hush"]'))


@pytest.mark.parametrize(
    "text",
    [
        '[server]\nname = "two words"',
        NAMED + 'public_baseurl = "example.org"',
        NAMED + '[rooms]\ndefault_version = "99"',
        NAMED + '[[listen]]\naddress = "here"',
        NAMED + '[[listen]]\ntls_key = "only.key"',
        NAMED + '[outgoing]\nallow_ip_ranges = ["everywhere"]',
        NAMED + '[turn]\nuris = ["http://turn"]',
        NAMED + "[[well_known.support_contacts]]",
        NAMED + '[calls]\nlivekit_url = "wss://sfu"',
        NAMED + CALLS.replace("wss://", "https://"),
        NAMED + CALLS + 'livekit_api_url = "wss://sfu"',
        NAMED + CALLS + 'service_url = "/livekit/jwt"',
        NAMED + CALLS + 'full_access_servers = ["not a name"]',
        NAMED + CALLS + 'api_secret_file = "both"',
        NAMED + CALLS.replace("api_secret", "api_secret_file"),
        NAMED + CALLS.replace("0123456789abcdef", "short"),
        NAMED + '[database]\nurl = "mysql://x"',
        "[server",
    ],
)
def test_contradictions_are_refused(load: Load, text: str) -> None:
    assert all(problem.endswith((".", "?")) for problem in problems(load, text))


def test_where_calls_go_follows_from_where_livekit_is(load: Load) -> None:
    calls = load(NAMED + CALLS).calls
    assert calls.service_url == "https://example.org/livekit/jwt"
    assert calls.livekit_api_url == "https://calls.example.org/sfu"
    given = load(NAMED + CALLS + 'livekit_api_url = "http://[::1]:7880/"').calls
    assert given.livekit_api_url == "http://[::1]:7880"


def test_a_secret_can_be_in_a_file_of_its_own(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\n")
    text = CALLS.partition("api_secret")[0] + 'api_secret_file = "secret"'
    assert load(NAMED + text).calls.api_secret == "0123456789abcdef0123456789abcdef"
    (tmp_path / "secret").write_text("\n")
    assert "empty" in "".join(problems(load, NAMED + text))


def test_settings_travel_to_another_process_unchanged(load: Load) -> None:
    settings = load(
        NAMED + '[[listen]]\ntls_certificate = "c"\ntls_key = "k"\n[[registration.terms]]\n'
        'name = "n"\nversion = "1"\ntitle = "t"\nurl = "u"\n'
        '[well_known]\nclient_extra = {"a.b" = {c = [1, true]}}'
    )
    assert from_json(to_json(settings)) == settings


# -- descriptions -----------------------------------------------------------------------------


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render_document(), "run `make docs`"


def test_every_key_is_explained() -> None:
    explained = {f"{group.name}.{key.name}" for group in groups() for key in group.keys}
    leaves = {key for key in known_keys(Settings) if "." in key}
    tables = {key for key in leaves if any(other.startswith(key + ".") for other in leaves)}
    inside_tables = {key for key in leaves if key.rpartition(".")[0] in tables}
    assert leaves - inside_tables <= explained
    assert all(group.text and key.text for group in groups() for key in group.keys)


def test_the_file_with_everything_uncommented_says_the_defaults(load: Load) -> None:
    text = render_file({"server.name": "example.org"})
    assert load(text) == load(NAMED)
    # Lists of tables and what has no default stay out.
    uncommented = re.sub(r"^#(?! |\[\[)(.*)", r"\1", text, flags=re.MULTILINE)
    kept = "\n".join(
        block
        for block in uncommented.split("\n\n")
        if not re.search(r"^#?\[\[", block, flags=re.MULTILINE)
    )
    assert load(kept) == load(NAMED)


def test_values_are_written_as_toml() -> None:
    written = tomllib.loads(render_file({"server.name": 'a"b\\', "listen.port": 1}))
    assert written["server"]["name"] == 'a"b\\'
    assert written["listen"] == [{"port": 1}]


# -- the signing key --------------------------------------------------------------------------


def test_a_new_key_is_secret_and_readable_by_signedjson(tmp_path: Path) -> None:
    path = tmp_path / "new" / "signing.key"
    assert create_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    (theirs,) = read_signing_keys(path.read_text().splitlines())
    (ours,) = load_signing_keys(path)
    assert ours.key_id == f"{theirs.alg}:{theirs.version}"
    assert ours.verify_key == theirs.verify_key.encode()


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    create_signing_key(path)
    before = path.read_bytes()
    assert not create_signing_key(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "ed25519 a", "rsa a AAAA\n", "é"])
def test_a_broken_key_file_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "signing.key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(KeyFileError, match=r"signing\.key"):
        load_signing_keys(path)


SPARING = "[profile]\nlow_bandwidth = true\n"


def test_a_profile_is_other_defaults(load: Load) -> None:
    settings = load(NAMED + SPARING)
    assert not settings.presence.enabled
    assert not settings.rooms.typing
    assert settings.sync.first_events == 5
    assert settings.outgoing.keepalive_s == 240
    (listener,) = settings.listen
    assert (listener.gzip_over_bytes, listener.browser_headers) == (400, "asked")
    assert listener.keepalive_s == 240
    assert listener.port == 8008


def test_profiles_go_together(load: Load) -> None:
    settings = load(NAMED + SPARING + "small_memory = true\n[cache]\nbudget_mb = 24\n")
    assert settings.database.pool_size == 3
    assert settings.media.thumbnails_at_a_time == 1
    assert settings.limits.max_body_bytes == 2_097_152
    assert settings.cache.budget_mb == 24
    assert settings.sync.first_events == 5


def test_what_is_given_counts_more_than_a_profile(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_ROOMS__TYPING", "true")
    given = "[presence]\nenabled = true\n[[listen]]\nport = 1\ngzip_over_bytes = 0\n[[listen]]\n"
    settings = load(NAMED + given + SPARING)
    assert settings.presence.enabled
    assert settings.rooms.typing
    assert settings.sync.first_events == 5
    first, second = settings.listen
    assert (first.port, first.gzip_over_bytes, first.browser_headers) == (1, 0, "asked")
    assert (second.port, second.gzip_over_bytes) == (8008, 400)


def test_without_a_profile_nothing_is_different(load: Load) -> None:
    assert load(NAMED) == load(NAMED + "[profile]\nlow_bandwidth = false\n")
