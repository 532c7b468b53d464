"""`hearth federation check` and `hearth keys`."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from signedjson.key import read_signing_keys

from federation.outbound.resolver import Resolver
from federation.protocol.identifiers import ServerName
from federation.protocol.unpadded_base64 import encode_base64
from homeserver.cli import main
from homeserver.cli.federation_checks import check_server, date_of, describe_delegation
from homeserver.cli.finding import State
from homeserver.clock import system_clock
from homeserver.config.keys import KeyFileError, load_signing_keys, replace_signing_key
from homeserver.config.sections.federation import Outgoing
from homeserver.config.sections.server import Server
from homeserver.config.settings import Settings
from homeserver.other_servers.own_keys import begin_to_use
from storage.database import open_pool
from storage.server_keys import OwnKeyRow, own_keys
from tests.federation.certificates import Authority, make_authority
from tests.federation.world import (
    KEYS,
    VERSION,
    Network,
    Peer,
    network,
    published,
    test_key,
)
from tests.ports import free_port

A = ServerName("a.test")
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def settings_for(net: Network) -> Settings:
    outgoing = Outgoing(
        extra_ca_files=(net.authority.certificate,), allow_ip_ranges=("127.0.0.0/8",)
    )
    return Settings(server=Server(name="us.test"), outgoing=outgoing)


async def check(net: Network, name: str, settings: Settings | None = None) -> dict[str, str]:
    """Worst state and all messages of each subject."""
    resolver = Resolver([net.dns.address], net.hosts.look_up)
    findings = await check_server(settings or settings_for(net), name, resolver)
    return {
        one.subject: " ".join(
            f"{other.state.value}: {other.message}"
            for other in findings
            if other.subject == one.subject
        )
        for one in findings
    }


async def healthy(net: Network, *names: str, port: int = 0) -> Peer:
    peer = await net.peer(*(names or (A,)), port=port, hosts=["host.test"])
    peer.answers[VERSION] = {"server": {"name": "Other", "version": "1.2"}}
    peer.answers[KEYS] = published(A, test_key("a"), valid_until_ts=system_clock() + DAY_MS)
    net.dns.records[f"_matrix-fed._tcp.{A}"] = [f"10 5 {peer.port} host.test."]
    return peer


async def test_everything_on_the_way_to_a_server_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        peer = await healthy(net)
        found = await check(net, A)
        assert found["SRV"] == (
            f"ok: _matrix-fed._tcp.{A}: host.test port {peer.port} (priority 10, weight 5)."
        )
        assert found["well-known"].startswith("ok: There is no file: ")
        assert found["place"] == f"ok: host.test port {peer.port}, as {A}: {peer.address}."
        # The certificates of tests end in two days.
        assert found["connection"].startswith(f"warn: {peer.address}: connected in ")
        assert f"certificate for {A} by Test CA" in found["connection"]
        assert found["version"].startswith("ok: Other 1.2, told in ")
        assert found["keys"].startswith("ok: ed25519:a, valid until ")


async def test_a_wrong_certificate_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        await healthy(net, "other.test")
        found = await check(net, A)
        assert "fail" in found["connection"]
        assert (
            "not valid for 'a.test'; it shows a certificate for other.test by Test CA"
            in (found["connection"])
        )
        assert "version" not in found


async def test_a_certificate_of_an_unknown_authority_is_told(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with network(make_authority(tmp_path / "other")) as net:
        await healthy(net)
        settings = settings_for(net)
        trusting = replace(settings.outgoing, extra_ca_files=(authority.certificate,))
        found = await check(net, A, replace(settings, outgoing=trusting))
        # Both authorities have the same name, so that this one's key is taken for the other's.
        assert found["connection"].startswith("fail: ")
        assert f"it shows a certificate for {A} by Test CA" in found["connection"]


async def test_a_broken_well_known_file_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        peer = await healthy(net)
        web_server = await net.web_server(A, {"m.server": "no name at all"})
        finding = describe_delegation(await net.us().well_known.fetch(A))
        assert finding.state is State.WARN
        assert finding.message == "The file is ignored: its m.server is no server name."
        assert (len(peer.seen), len(web_server.seen)) == (0, 1)


async def test_why_no_connection_comes_about_is_told(authority: Authority) -> None:
    async def answer_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with network(authority) as net:
        name = f"127.0.0.1:{free_port()}"
        assert (await check(net, name))["connection"] == "fail: 127.0.0.1: Connection refused."
        for handler, reason in (
            (answer_plainly, "what listens there does not speak TLS"),
            (hang_up, "the other side hangs up"),
        ):
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            found = await check(net, name)
            server.close()
            assert found["connection"] == f"fail: 127.0.0.1: {reason}."


async def test_what_answers_wrongly_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        peer = await healthy(net)
        peer.answers[VERSION] = {"server": []}
        peer.answers[KEYS] = published("other.test", test_key("a"))
        found = await check(net, A)
        assert found["version"].startswith("warn")
        assert found["keys"] == f"fail: The keys are not those of {A}."
        peer.answers[VERSION] = peer.answers[KEYS] = (502, {})
        found = await check(net, A)
        assert found["version"] == "fail: It cannot be asked: it answers 502."
        assert found["keys"] == "fail: They cannot be fetched: it answers 502."
        peer.answers[KEYS] = published(A, test_key("a"), valid_until_ts=1)
        assert (await check(net, A))["keys"].startswith("fail: ed25519:a were valid until 1970")


async def test_a_server_that_is_nowhere_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        assert (await check(net, "no name"))["name"].startswith("fail")
        assert (await check(net, "gone.test"))["place"].startswith("fail: gone.test port 8448")
        net.dns.records["_matrix-fed._tcp.gone.test"] = ["0 0 0 ."]
        assert (await check(net, "gone.test"))["place"].startswith("fail: The DNS of gone.test")
        assert (await check(net, "127.0.0.1:1"))["connection"].startswith("fail: 127.0.0.1:")


async def test_a_private_address_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        peer = await healthy(net)
        settings = settings_for(net)
        settings = replace(settings, outgoing=replace(settings.outgoing, allow_ip_ranges=()))
        found = await check(net, A, settings)
        assert found["connection"].startswith(f"fail: {peer.address} is not allowed")
        assert peer.seen == []


async def test_a_certificate_that_is_not_checked_is_told(authority: Authority) -> None:
    async with network(authority) as net:
        await healthy(net, "other.test")
        settings = settings_for(net)
        settings = replace(settings, outgoing=replace(settings.outgoing, verify_tls=False))
        found = await check(net, A, settings)
        assert "was not checked" in found["connection"]
        assert found["keys"].startswith(State.OK.value)


def test_times_beyond_the_calendar_are_shown_too() -> None:
    assert date_of(2**60).startswith("9999-12-31")
    assert date_of(-(2**60)).startswith("1970-01-01")


# -- keys --------------------------------------------------------------------------------------


def run_hearth(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hearth", *arguments])
    try:
        main.run_command_line()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def known_keys(database_url: str) -> list[OwnKeyRow]:
    async def read() -> list[OwnKeyRow]:
        db = await open_pool(database_url, 1)
        try:
            return await own_keys(db)
        finally:
            await db.close()

    return asyncio.run(read())


def start_server(database_url: str, path: Path, now_ts: int) -> None:
    """What starting the server does to the keys."""

    async def start() -> None:
        db = await open_pool(database_url, 1)
        try:
            await begin_to_use(db, A, load_signing_keys(path), now_ts)
        finally:
            await db.close()

    asyncio.run(start())


def test_a_key_is_rotated_and_expires_with_the_next_start(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, path = tmp_path / "hearth.toml", tmp_path / "data" / "signing.key"
    config.write_text(f'[server]\nname = "{A}"\n[database]\nurl = "{database_url}"\n')
    path.parent.mkdir()
    path.write_text("ed25519 first " + "A" * 43 + "\ned25519 second " + "B" * 43 + "\n")
    path.chmod(0o600)
    first = load_signing_keys(path)[0]
    keys = ("keys", "rotate", "--yes", "--config", str(config))
    assert run_hearth(monkeypatch, *keys) == 0
    told = capsys.readouterr().out
    assert "Restart the server" in told
    (new,) = load_signing_keys(path)
    (theirs,) = read_signing_keys(path.read_text().splitlines())
    assert (f"Made {new.key_id};" in told, theirs.version) == (True, new.version)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["signing.key"]
    rows = {row.key_id: row.expired_ts for row in known_keys(database_url)}
    assert rows == {"ed25519:first": None, "ed25519:second": None}
    run_hearth(monkeypatch, "keys", "list", "--config", str(config))
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split("\t")[::2] == [new.key_id, "signs"]
    assert listed[1].endswith("expires when the server is restarted")
    start_server(database_url, path, 1_000_000)
    run_hearth(monkeypatch, "keys", "list", "--config", str(config))
    listed = capsys.readouterr().out.splitlines()
    public_key = encode_base64(first.verify_key)
    assert listed[1] == f"ed25519:first\t{public_key}\texpired 1970-01-01 00:16:40 UTC"


def test_what_cannot_be_replaced_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be replaced"):
        replace_signing_key(tmp_path / "missing.key")
    assert list(tmp_path.iterdir()) == []
