"""The set-up on a router, from end to end, in BusyBox's shell: docker/openwrt/bootstrap.sh."""

import fcntl
import json
import re
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from homeserver.config.load import load_settings
from tests.packaging.certificates import make_certificate
from tests.packaging.proxy import NGINX_PROGRAM, http2_directive
from tests.packaging.router import REPOSITORY, Router

pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="BusyBox is not installed")

GOLDEN = Path(__file__).parent / "golden" / "openwrt"
NGINX = "/etc/hearth/nginx/nginx.conf"
TOML = "/etc/hearth/config/hearth.toml"
SECRET = "/etc/hearth/config/livekit.secret"
FINE = 0
FAILED, USAGE, SETTINGS, MACHINE, PORT, CERTIFICATE, RUNTIME, SILENT = range(1, 9)


@pytest.fixture
def router(tmp_path: Path) -> Router:
    """A router that has everything but hearth."""
    return Router(tmp_path)


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Router:
    """A router on which hearth was set up; tests use copies of it."""
    router = Router(tmp_path_factory.mktemp("set-up"))
    done = router.run("--yes")
    assert done.status == FINE, done
    return router


@pytest.fixture
def ready(set_up: Router, tmp_path: Path) -> Router:
    """A router of one's own on which hearth was set up."""
    return set_up.copy_to(tmp_path)


def settled(router: Router) -> dict[str, str]:
    """What is on its disks but for what is random or tells of time."""
    random = ("livekit.secret", "livekit.keys", ".setup/sums")
    return {
        name: kept
        for name, kept in router.state().items()
        if not name.endswith(random) and "/backups" not in name
    }


# -- the first run ----------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_does_nothing(router: Router) -> None:
    before = router.state()
    done = router.run("--dry-run")
    assert done.status == FINE, done
    assert "would install nginx-ssl openssl-util crun acme-acmesh" in done.output
    assert f"would write {TOML}" in done.output
    assert router.state() == before
    assert router.noted("log") == ""


def test_nobody_is_there_to_be_asked(router: Router) -> None:
    before = router.state()
    assert router.run().status == USAGE
    assert router.state() == before


def test_the_first_run_writes_what_it_should(ready: Router) -> None:
    for golden in sorted(GOLDEN.iterdir()):
        assert ready.read("/" + golden.name.replace("__", "/")) == golden.read_text(), golden.name


def test_the_first_run_starts_everything_in_order(ready: Router) -> None:
    assert ready.noted("log").splitlines() == [
        "opkg update",
        "opkg install nginx-ssl openssl-util crun acme-acmesh",
        "nginx disable",
        "nginx stop",
        "uci commit firewall",
        "fw4 -q check",
        "firewall reload",
        "uci commit acme",
        "hearth enable",
        "hearth start",
        "acme enable",
        "acme start",
        "acme renew",
        "acme is asked for: matrix.example.org",
        "cron start",
    ]
    assert not ready.has("/etc/hearth/.setup/pending")


def test_secrets_are_random_and_for_nobody_else(ready: Router, tmp_path: Path) -> None:
    assert ready.mode(SECRET) == "600"
    assert ready.mode("/etc/hearth/livekit/livekit.keys") == "600"
    assert "991:991 /etc/hearth/config/livekit.secret.part" in ready.noted("owners")
    secret = ready.read(SECRET).strip()
    assert len(secret) == 64
    assert ready.read("/etc/hearth/livekit/livekit.keys") == f"hearth: {secret}\n"
    (tmp_path / "other").mkdir()
    other = Router(tmp_path / "other")
    assert other.run("--yes").status == FINE
    assert other.read(SECRET) != ready.read(SECRET)


def test_directories_have_their_owners_and_rights(ready: Router) -> None:
    owners = ready.noted("owners").splitlines()
    assert "991:991 /mnt/usb/hearth/data" in owners
    assert ready.mode("/mnt/usb/hearth/data") == "700"
    assert ready.mode("/etc/hearth/config") == "750"
    assert ready.mode("/etc/hearth/.setup") == "700"
    assert ready.mode(TOML) == "640"


def test_apk_is_used_where_there_is_no_opkg(router: Router) -> None:
    (router.fake / "bin" / "opkg").rename(router.fake / "bin" / "apk")
    assert router.run("--yes").status == FINE
    assert router.noted("log").startswith("apk update\napk add nginx-ssl openssl-util crun")


def test_a_runtime_that_is_there_is_used(router: Router) -> None:
    shutil.copy(router.fake / "aside" / "crun", router.fake / "bin" / "uxc")
    assert router.run("--yes").status == FINE
    assert "crun" not in router.noted("log")
    assert "RUNTIME=uxc" in router.read("/etc/hearth/run")


def test_uxc_is_asked_for_what_it_knows(router: Router) -> None:
    # It knows signals by number only, and runs nothing beside the container's own program.
    shutil.copy(router.fake / "aside" / "crun", router.fake / "bin" / "uxc")
    assert router.run("--yes").status == FINE
    assert "opkg install nginx-ssl openssl-util nsenter acme-acmesh" in router.noted("log")
    script = router.read("/etc/hearth/run")
    assert '$RUNTIME kill "$1" 15' in script
    assert "$RUNTIME exec" not in script
    assert '"$nsenter" -t "$pid"' in script


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"CALLS": "no", "FEDERATION": "no", "LOW_BANDWIDTH": "yes"},
        {"METRICS": "yes", "REGISTRATION": "yes", "HTTPS_PORT": "8443"},
        {"DATABASE_URL": "postgresql://hearth:a%20b@db.example.org/hearth?sslmode=require"},
    ],
)
def test_hearth_takes_the_configuration_that_is_written(
    router: Router, tmp_path: Path, changed: dict[str, str]
) -> None:
    router.settings(**changed)
    router.bundle("hearth-lean", "0.1.0")
    assert router.run("--yes").status == FINE
    secret = router.root / SECRET.lstrip("/")
    config = tmp_path / "hearth.toml"
    config.write_text(router.read(TOML).replace("/config/livekit.secret", str(secret)))
    settings = load_settings(config)
    assert settings.server.name == "example.org"
    assert settings.federation.enabled == ("FEDERATION" not in changed)
    assert settings.metrics.enabled == ("METRICS" in changed)
    assert settings.database.url == changed.get("DATABASE_URL", "")
    if "CALLS" not in changed:
        port = ":8443" if "HTTPS_PORT" in changed else ""
        assert settings.calls.livekit_url == f"wss://matrix.example.org{port}/livekit/sfu"
        assert settings.calls.api_secret == router.read(SECRET).strip()


@pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed")
@pytest.mark.parametrize(
    "changed",
    [{}, {"CALLS": "no", "FEDERATION_PORT": "0", "ADMIN_API": "no", "SERVE_DOMAIN": "yes"}],
)
def test_nginx_takes_the_configuration_that_is_written(
    router: Router, tmp_path: Path, changed: dict[str, str]
) -> None:
    assert NGINX_PROGRAM is not None
    made = make_certificate(tmp_path, "matrix.example.org", "example.org")
    router.settings(CERTIFICATE=str(made.certificate), CERTIFICATE_KEY=str(made.key), **changed)
    for path in (made.certificate, made.key):
        router.write(str(path), path.read_text())
    openssl = (router.fake / "aside" / "openssl").readlink()
    (router.fake / "bin" / "openssl").symlink_to(openssl)
    done = router.run("--yes")
    assert done.status == FINE, done
    for name in ("nginx.conf", "waiting.conf"):
        text = router.read(f"/etc/hearth/nginx/{name}").replace("/var/run/hearth", str(tmp_path))
        # Debian's is older than OpenWRT's.
        if http2_directive() == "no":
            text = text.replace("ssl;", "ssl http2;").replace("http2 on;", "")
        config = tmp_path / name
        config.write_text(text)
        subprocess.run([NGINX_PROGRAM, "-t", "-q", "-e", "stderr", "-c", config], check=True)


def test_bundles_are_run_with_this_routers_directories(ready: Router) -> None:
    hearth, livekit = (
        json.loads(ready.read(f"/etc/hearth/bundles/{name}.json")) for name in ("hearth", "livekit")
    )
    assert [mount["source"] for mount in hearth["mounts"]] == [
        "/mnt/usb/hearth/data",
        "/etc/hearth/config",
    ]
    assert livekit["mounts"][1]["source"] == "/etc/hearth/livekit"
    assert hearth["process"]["env"] == ["PATH=/usr/bin"]
    assert livekit["process"]["env"] == [
        "GOGC=40",
        "GOMEMLIMIT=100MiB",
        "GODEBUG=memprofilerate=0",
        "PATH=/usr/bin",
    ]


# -- the second run ---------------------------------------------------------------------------


def test_a_command_takes_the_place_of_the_server_that_was_stopped(ready: Router) -> None:
    ready.note("running", "")
    refused = ready.run_part("alone", "hearth", "hearth", "restore", "/data/a.tar")
    assert (refused.status, refused.errors) == (1, "hearth runs: stop its service first\n")
    (ready.fake / "running").unlink()
    words = ["hearth", "restore", '/data/my "best" back\\up [1].tar']
    assert ready.run_part("alone", "hearth", *words).status == 0
    alone = ready.root / "var/run/hearth/alone"
    assert ready.noted("log").splitlines()[-1].endswith(f" run --bundle {alone} alone")
    usual = json.loads(ready.read("/etc/hearth/bundles/hearth.json"))
    usual["process"]["args"] = words
    rootfs = ready.root / "mnt/usb/hearth/bundles/hearth-0.1.0-arm64/rootfs"
    usual["root"]["path"] = str(rootfs)
    assert json.loads((alone / "config.json").read_text()) == usual


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_command_takes_the_place_of_the_server_in_its_image(router: Router, runtime: str) -> None:
    router.memory(1000)
    shutil.copy(router.fake / "aside" / "crun", router.fake / "bin" / runtime)
    for image in (router.root / "mnt/usb/hearth/images").glob("*.bundle.tar.gz"):
        oci = image.with_name(image.name.replace(".bundle.tar.gz", ".oci.tar"))
        oci.write_bytes(image.read_bytes())
        with (image.parent / "SHA256SUMS").open("a") as sums:
            sums.write(f"{sha256(oci.read_bytes()).hexdigest()}  {oci.name}\n")
    assert router.run("--yes").status == FINE
    assert router.run_part("alone", "hearth", "hearth", "restore", "/data/a.tar").status == 0
    *_, called = router.noted("log").splitlines()
    assert called.startswith("crun run --rm --network host --user 991:991 --read-only ")
    assert called.endswith(" --name alone --entrypoint hearth hearth:0.1.0 restore /data/a.tar")


def test_a_second_run_finds_nothing_to_do(ready: Router) -> None:
    before = ready.state()
    log = ready.noted("log")
    done = ready.run("--yes")
    assert done.status == FINE
    assert "what is to do:\n  nothing\n" in done.output
    assert ready.state() == before
    assert ready.noted("log") == log


def test_a_changed_setting_changes_what_follows_from_it_and_no_more(ready: Router) -> None:
    before = settled(ready)
    ready.settings(FEDERATION_PORT="0", MAX_UPLOAD_MB="100")
    done = ready.run("--yes")
    assert done.status == FINE
    assert [line for line in done.changes if "backed up" not in line] == [
        f"  replace {TOML}",
        f"  replace {NGINX}",
        "  remove firewall.hearth_federation from uci",
        "  start hearth",
        "  ask for the certificate",
    ]
    changed = {name for name, kept in settled(ready).items() if before.get(name) != kept}
    assert changed == {
        "etc/config/firewall",
        "etc/hearth/.env",
        "etc/hearth/.setup/ports",
        TOML.lstrip("/"),
        NGINX.lstrip("/"),
    }
    assert "client_max_body_size 101m;" in ready.read(NGINX)
    assert "hearth_federation" not in ready.read("/etc/config/firewall")
    assert "what is to do:\n  nothing\n" in ready.run("--yes").output


def test_what_is_replaced_was_backed_up_before(ready: Router) -> None:
    former = ready.read(TOML)
    ready.settings(LOW_BANDWIDTH="yes")
    assert ready.run("--yes").status == FINE
    (archive,) = (ready.root / "mnt/usb/hearth/backups").glob("setup-*.tar.gz")
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as opened:
        kept = opened.extractfile("etc/hearth/config/hearth.toml")
        assert kept is not None
        assert kept.read().decode() == former


def test_calls_can_be_switched_off(ready: Router) -> None:
    ready.settings(CALLS="no")
    assert ready.run("--yes").status == FINE
    assert "livekit" not in ready.read(NGINX)
    assert "[calls]" not in ready.read(TOML)
    assert "instance livekit" not in ready.noted("procd/hearth")
    assert "hearth_calls" not in ready.read("/etc/config/firewall")


def test_a_relay_for_calls_opens_its_ports(router: Router) -> None:
    router.settings(TURN="yes")
    assert router.run("--yes").status == FINE
    assert "option dest_port '50000-50100'" in router.read("/etc/config/firewall")
    assert 'domain: "matrix.example.org"' in router.read("/etc/hearth/livekit/livekit.yaml")


# -- what the operator has changed ------------------------------------------------------------


def test_a_file_that_was_edited_is_kept(ready: Router) -> None:
    edited = ready.read(TOML) + "# mine\n"
    ready.write(TOML, edited)
    ready.settings(MAX_UPLOAD_MB="100")
    done = ready.run("--yes")
    assert done.status == FINE
    assert ready.read(TOML) == edited
    assert "max_upload_mb = 100" in ready.read(TOML + ".new")
    assert f"warning: {TOML} was changed by hand" in done.errors
    again = ready.run("--yes")
    assert "what is to do:\n  nothing\n" in again.output
    assert f"warning: {TOML} was changed by hand" in again.errors


def test_an_edit_that_is_what_would_be_written_is_no_edit_any_more(ready: Router) -> None:
    ready.write(TOML, ready.read(TOML) + "# mine\n")
    ready.settings(MAX_UPLOAD_MB="100")
    ready.run("--yes")
    ready.write(TOML, ready.read(TOML + ".new"))
    assert ready.run("--yes").status == FINE
    assert not ready.has(TOML + ".new")
    ready.settings(MAX_UPLOAD_MB="200")
    assert f"  replace {TOML}" in ready.run("--yes").changes


def test_a_firewall_rule_that_was_edited_is_kept(ready: Router) -> None:
    rules = ready.read("/etc/config/firewall").replace("'443'", "'4443'")
    ready.write("/etc/config/firewall", rules)
    ready.settings(FEDERATION_PORT="9448")
    done = ready.run("--yes")
    assert "keep firewall.hearth_https in uci, which was changed by hand" in done.output
    assert "option dest_port '4443'" in ready.read("/etc/config/firewall")
    assert "option dest_port '9448'" in ready.read("/etc/config/firewall")


def test_a_firewall_that_does_not_load_is_put_back(router: Router) -> None:
    before = router.read("/etc/config/firewall")
    router.note("bad-rules", "")
    done = router.run("--yes")
    assert done.status == FAILED
    assert "the former ones are back" in done.errors
    assert router.read("/etc/config/firewall") == before
    (router.fake / "bad-rules").unlink()
    assert router.run("--yes").status == FINE
    assert "hearth_https" in router.read("/etc/config/firewall")


def test_a_firewall_that_does_not_run_gets_its_rules_for_later(router: Router) -> None:
    router.note("no-firewall", "")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "warning: the firewall is not running" in done.errors
    assert "hearth_https" in router.read("/etc/config/firewall")


def test_a_machine_without_a_firewall_gets_no_rules(router: Router) -> None:
    (router.root / "etc/config/firewall").unlink()
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "warning: there is no firewall here" in done.errors
    assert not router.has("/etc/config/firewall")


@pytest.mark.parametrize("zone", ["guests", "lan"])
def test_the_rules_can_be_of_another_zone(router: Router, zone: str) -> None:
    router.settings(ZONE=zone)
    done = router.run("--yes")
    assert done.status == FINE, done
    assert f"\toption src '{zone}'\n" in router.read("/etc/config/firewall")


def test_a_zone_that_does_not_exist_is_refused(router: Router) -> None:
    before = router.state()
    router.settings(ZONE="wam")
    done = router.run("--yes")
    assert done.status == SETTINGS
    assert "there is no zone wam in the firewall" in done.errors
    assert "there are: lan guests wan" in done.errors
    router.settings()
    assert router.state() == before


def test_what_others_have_not_committed_is_not_committed_unnoticed(router: Router) -> None:
    rules = router.read("/etc/config/firewall")
    router.uci("set", "firewall.mine=rule")
    assert router.read("/etc/config/firewall") == rules
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "warning: changes of firewall that were waiting in uci" in done.errors
    assert "config rule 'mine'" in router.read("/etc/config/firewall")
    assert "config rule 'hearth_https'" in router.read("/etc/config/firewall")


def test_rules_that_were_not_committed_are_set_anew_after_an_interruption(router: Router) -> None:
    whole = Router(router.root.parent / "whole")
    assert whole.run("--yes").status == FINE
    router.note("kill-at", "0")
    assert router.run("--yes").status == FINE
    calls = router.noted("calls").splitlines()
    noting = [number for number, call in enumerate(calls, 1) if call.endswith("/sections")]
    for number in (noting[0], noting[-1]):
        interrupted = Router(router.root.parent / f"at-{number}")
        interrupted.note("kill-at", str(number + 1))
        assert interrupted.run("--yes").status != FINE
        (interrupted.fake / "kill-at").unlink()
        assert interrupted.run("--yes").status == FINE
        for config in ("firewall", "acme"):
            path = f"/etc/config/{config}"
            assert interrupted.read(path) == whole.read(path), calls[number - 1]


def test_the_account_of_other_certificates_stays(router: Router) -> None:
    router.write("/etc/config/acme", "config acme\n\toption account_email 'me@example.net'\n")
    assert router.run("--yes").status == FINE
    assert "'me@example.net'" in router.read("/etc/config/acme")


# -- upgrades ---------------------------------------------------------------------------------


def test_a_newer_bundle_takes_the_place_of_the_older_one(ready: Router) -> None:
    ready.bundle("hearth", "0.10.0")
    done = ready.run("--yes")
    assert done.status == FINE
    bundles = ready.root / "mnt/usb/hearth/bundles"
    assert (bundles / "hearth").readlink() == Path("hearth-0.10.0-arm64")
    assert (bundles / "hearth-0.1.0-arm64" / "rootfs" / "version").read_text() == "0.1.0"
    log = ready.noted("log").split("acme is asked", 1)[1]
    backup = "exec --user 991:991 hearth hearth backup /data/backups"
    assert backup in log.split("hearth restart")[0]
    assert "hearth restart" in log


def test_how_a_bundle_is_run_can_be_edited_and_outlives_an_upgrade(ready: Router) -> None:
    edited = ready.read("/etc/hearth/bundles/hearth.json") + "\n"
    ready.write("/etc/hearth/bundles/hearth.json", edited)
    ready.bundle("hearth", "0.2.0")
    assert ready.run("--yes").status == FINE
    assert ready.read("/etc/hearth/bundles/hearth.json") == edited


def test_a_download_that_did_not_arrive_whole_is_refused(router: Router) -> None:
    path = router.bundle("hearth", "0.2.0")
    path.write_bytes(path.read_bytes()[:-1])
    done = router.run("--yes")
    assert done.status == RUNTIME
    assert "is not what SHA256SUMS says" in done.errors
    assert not router.has(TOML)


def test_a_bundle_for_another_processor_is_none(router: Router) -> None:
    router.note("machine", "armv7l")
    done = router.run("--yes")
    assert done.status == RUNTIME
    assert "no archive of hearth for armv7" in done.errors


# -- the .env ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("HTTPS_PORT=70000", "HTTPS_PORT: '70000' is not a port (1 to 65535)"),
        ("DOMAIN=Example.org", "DOMAIN is set twice"),
        ("HOST=matrix_example", "HOST is set twice"),
        ("CALLS=true", "CALLS: 'true' is neither yes nor no"),
        ("HTTP_PROT=80", "there is no setting HTTP_PROT"),
        ("just words", "this is not NAME=value: just words"),
        ("ADDRESS=300.1.1.1", "ADDRESS: '300.1.1.1' is not an IP address"),
        ("RUNTIME=lxc", "RUNTIME: 'lxc' is none of auto, crun"),
        ("IMAGES=images", "IMAGES: 'images' does not begin with /"),
        ("IMAGES=/a/../b", "IMAGES: '/a/../b' has characters that a path here cannot have"),
        ("DATABASE_URL=mysql://x", "DATABASE_URL: the URL does not begin with postgresql://"),
        ("ACME_DNS='; reboot'", "ACME_DNS: '; reboot' has characters that cannot be here"),
        ('ACME_CREDENTIALS="A=$(reboot)"', "ACME_CREDENTIALS: 'A=$(reboot)' has characters"),
        ("MAX_UPLOAD_MB=0", "MAX_UPLOAD_MB: '0' is not a whole number of at least 1"),
    ],
)
def test_a_wrong_line_is_named(router: Router, line: str, complaint: str) -> None:
    text = router.read("/etc/hearth/.env")
    router.write("/etc/hearth/.env", f"# a comment\n\n{text}{line}\n")
    done = router.run("--yes")
    assert done.status == SETTINGS
    assert f"/etc/hearth/.env, line {len(text.splitlines()) + 3}: {complaint}" in done.errors
    assert done.output == ""


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"DOMAIN": ""}, "DOMAIN is missing"),
        ({"ACME_EMAIL": ""}, "ACME_EMAIL is missing"),
        ({"HTTP_PORT": "8080"}, "HTTP_PORT is not 80"),
        ({"ACME_VALIDATION": "dns"}, "ACME_DNS is missing"),
        ({"CERTIFICATE": "/etc/ssl/mine.pem"}, "CERTIFICATE_KEY is missing"),
        ({"LIVEKIT_PORT": "8008"}, "LIVEKIT_PORT: port 8008 has another use already"),
        ({"HTTPS_PORT": "0443"}, "HTTPS_PORT: '0443' is not a port"),
        ({"MAX_UPLOAD_MB": "050"}, "MAX_UPLOAD_MB: '050' is not a whole number"),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    router: Router, changed: dict[str, str], complaint: str
) -> None:
    router.settings(**changed)
    done = router.run("--yes")
    assert done.status == SETTINGS
    assert complaint in done.errors


def test_calls_and_their_relay_have_ports_of_their_own(router: Router) -> None:
    router.settings(TURN="yes", TURN_PORT="7882")
    assert "TURN_PORT: port 7882 has another use already" in router.run("--yes").errors
    router.settings(TURN="yes", TURN_FIRST_RELAY_PORT="3000", TURN_LAST_RELAY_PORT="8000")
    errors = router.run("--yes").errors
    for name, port in (("LIVEKIT_UDP_PORT", 7882), ("TURN_PORT", 3478)):
        assert f"{name}: port {port} is one of those that relayed calls come from" in errors
    router.settings(TURN="no", TURN_PORT="7882")
    assert router.run("--dry-run").status == FINE


def test_all_that_is_wrong_is_told_at_once(router: Router) -> None:
    router.settings(CALLS="maybe", TURN="maybe", ACME_EMAIL="")
    assert router.run("--yes").errors.count("error:") == 3


def test_quotes_comments_and_the_line_ends_of_other_systems_do_no_harm(router: Router) -> None:
    lines = ['DOMAIN="example.org"  # ours', "DATA='/mnt/usb/hearth'", "ACME_EMAIL=a@example.org"]
    router.write("/etc/hearth/.env", "\r\n".join(lines))
    assert router.run("--yes").status == FINE
    assert 'name = "example.org"' in router.read(TOML)
    assert 'public_baseurl = "https://example.org"' in router.read(TOML)


def test_the_example_is_one(router: Router) -> None:
    example = router.run("--example").output
    router.write("/etc/hearth/.env", example.replace("#DATA=/srv/", "DATA=/mnt/usb/"))
    assert "ACME_EMAIL is missing" in router.run("--yes").errors
    complete = example.replace("#ACME_EMAIL=", "ACME_EMAIL=a@example.org")
    router.write("/etc/hearth/.env", complete.replace("#DATA=/srv/", "DATA=/mnt/usb/"))
    assert router.run("--yes").status == FINE


def test_secrets_that_others_can_read_are_told(router: Router) -> None:
    router.settings(ACME_VALIDATION="dns", ACME_DNS="dns_cf", ACME_CREDENTIALS="CF_Token=abc")
    warning = "has a secret and can be read by others"
    assert warning in router.run("--dry-run").errors
    (router.root / "etc/hearth/.env").chmod(0o600)
    assert warning not in router.run("--dry-run").errors


def test_there_is_no_env_at_first(router: Router) -> None:
    (router.root / "etc/hearth/.env").unlink()
    done = router.run("--yes")
    assert done.status == SETTINGS
    assert "--example >" in done.errors


# -- the machine ------------------------------------------------------------------------------


def test_too_little_memory_is_told_before_anything_is_done(router: Router) -> None:
    router.memory(120)
    before = router.state()
    done = router.run("--yes")
    assert done.status == MACHINE
    assert "120 MB of memory are too little: 200 MB are needed" in done.errors
    assert router.state() == before
    router.settings(CALLS="no")
    assert router.run("--yes").status == FINE


@pytest.mark.parametrize(
    ("memory_mb", "asked", "spared"),
    [(1024, "auto", True), (1025, "auto", False), (244, "no", False), (2000, "yes", True)],
)
def test_memory_is_spared_where_there_is_little_or_it_is_asked_for(
    router: Router, tmp_path: Path, memory_mb: int, asked: str, spared: bool
) -> None:
    router.memory(memory_mb)
    router.settings(SMALL_MEMORY=asked, CALLS="no", REMOTE_MEDIA_MB="70")
    assert router.run("--yes").status == FINE
    plain = tmp_path / "plain.toml"
    plain.write_text(f"[server]\nname = 'a.org'\n[profile]\nsmall_memory = {str(spared).lower()}\n")
    settings, expected = load_settings(router.root / TOML.lstrip("/")), load_settings(plain)
    assert settings.profile == expected.profile
    assert settings.database == expected.database
    assert settings.cache == expected.cache
    assert settings.media.thumbnails_at_a_time == expected.media.thumbnails_at_a_time
    assert settings.media.remote_cache_mb == 70
    assert f"limit_conn connections {200 if spared else 400};" in router.read(NGINX)


def test_a_daemon_needs_more_memory(router: Router) -> None:
    shutil.copy(router.fake / "aside" / "crun", router.fake / "bin" / "docker")
    done = router.run("--yes")
    assert done.status == MACHINE
    assert "RUNTIME=crun instead of a daemon" in done.errors


@pytest.mark.parametrize(
    ("mounted", "complaint"),
    [
        ("", "on the router's own flash"),
        ("/dev/sda1 /mnt/usb ext4 ro 0 0\n", "mounted read-only"),
        ("/dev/sda1 /mnt/usb ext4 rw,noexec 0 0\n", "mounted noexec"),
        ("/dev/sda1 /mnt/usb vfat rw 0 0\n", "knows no owners of files"),
        ("tmpfs /mnt tmpfs rw 0 0\n", "would be lost with the power"),
    ],
)
def test_a_disk_that_will_not_do_is_refused(router: Router, mounted: str, complaint: str) -> None:
    router.write("/proc/mounts", f"overlayfs:/overlay / overlay rw 0 0\n{mounted}")
    done = router.run("--yes")
    assert done.status == MACHINE
    assert complaint in done.errors


def test_a_full_disk_is_refused(router: Router) -> None:
    router.note("free-kb", "300000")
    done = router.run("--yes")
    assert done.status == MACHINE
    assert "292 MB are free at /mnt/usb/hearth: 600 MB are needed" in done.errors


@pytest.mark.parametrize("clock", ["86400", "3000000000"])
def test_a_wrong_clock_is_told(router: Router, clock: str) -> None:
    router.note("clock", clock)
    done = router.run("--yes")
    assert done.status == MACHINE
    assert "the clock is wrong" in done.errors
    assert "sysntpd" in done.errors


def test_an_unknown_processor_is_told(router: Router) -> None:
    router.note("machine", "mips")
    done = router.run("--yes")
    assert done.status == MACHINE
    assert "does not run on this processor: mips" in done.errors


def test_a_port_that_is_taken_is_told_with_its_owner(router: Router) -> None:
    router.listen(443, "uhttpd")
    done = router.run("--yes")
    assert done.status == PORT
    assert "port 443 (HTTPS_PORT) is taken by uhttpd" in done.errors
    assert "uci set uhttpd.main.listen_https" in done.errors
    assert not router.has(TOML)


def test_ports_of_our_own_are_not_taken(ready: Router) -> None:
    ready.listen(443, "nginx")
    assert ready.run("--yes").status == FINE


def test_a_port_without_connections_is_looked_at_too(router: Router) -> None:
    router.listen(7882, "wireguard", "udp")
    done = router.run("--yes")
    assert done.status == PORT
    assert "port 7882/udp (LIVEKIT_UDP_PORT) is taken by wireguard" in done.errors


def test_the_same_number_is_another_port_without_connections(router: Router) -> None:
    router.listen(443, "wireguard", "udp")
    assert router.run("--yes").status == FINE


@pytest.mark.parametrize("noted", ["all", "only those with connections"])
def test_ports_of_calls_are_our_own(ready: Router, noted: str) -> None:
    ports = "/etc/hearth/.setup/ports"
    assert "7882/udp" in ready.read(ports).splitlines()
    if noted != "all":
        lines = [line for line in ready.read(ports).splitlines(keepends=True) if "udp" not in line]
        ready.write(ports, "".join(lines))
    ready.listen(7882, "livekit-server", "udp")
    assert ready.run("--yes").status == FINE


def test_only_one_sets_up_at_a_time(router: Router) -> None:
    lock = router.root / "var" / "run" / "hearth-setup.lock"
    # One that was cut off has left its file, and nothing that stands in the way.
    lock.write_text("")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = router.run("--yes")
        assert done.status == FAILED
        assert "another run of the set-up is under way" in done.errors
        assert not router.has(TOML)
    assert router.run("--yes").status == FINE


def test_no_packages_without_network(router: Router) -> None:
    router.note("no-network", "")
    done = router.run("--yes")
    assert done.status == RUNTIME
    assert "these packages could not be installed" in done.errors
    (router.fake / "no-network").unlink()
    assert router.run("--yes").status == FINE


def test_a_server_that_does_not_answer_is_told_each_time(router: Router) -> None:
    router.note("silent", "")
    done = router.run("--yes")
    assert done.status == SILENT
    assert "logread -e hearth" in done.errors
    (router.fake / "silent").unlink()
    again = router.run("--yes")
    assert again.status == FINE
    assert "the last run was interrupted: everything is started anew" in again.output


# -- certificates -----------------------------------------------------------------------------


def with_certificate(router: Router, directory: Path, *names: str, **options: int) -> None:
    """Have the router use a certificate of this kind, and openssl to look at it."""
    made = make_certificate(directory, *names, **options)
    router.write("/etc/ssl/own.crt", made.certificate.read_text())
    router.write("/etc/ssl/own.key", made.key.read_text(), 0o600)
    router.settings(CERTIFICATE="/etc/ssl/own.crt", CERTIFICATE_KEY="/etc/ssl/own.key")
    openssl = (router.fake / "aside" / "openssl").readlink()
    (router.fake / "bin" / "openssl").symlink_to(openssl)


def test_a_certificate_of_ones_own_is_taken(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "matrix.example.org")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "certificate: /etc/ssl/own.crt, until" in done.output
    assert "ssl_certificate /etc/ssl/own.crt;" in router.read(NGINX)
    assert "acme" not in router.noted("log")
    assert "nginx -t -q -e stderr -c /etc/hearth/nginx/nginx.conf" in router.noted("log")


def test_a_certificate_for_other_names_is_refused(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "example.net", "www.example.net")
    done = router.run("--yes")
    assert done.status == CERTIFICATE
    assert "is not for matrix.example.org" in done.errors
    assert "it is for: example.net, www.example.net" in done.errors
    assert not router.has(TOML)


def test_an_expired_certificate_is_refused(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "matrix.example.org", begins_days=-30, ends_days=-1)
    done = router.run("--yes")
    assert done.status == CERTIFICATE
    assert "has expired" in done.errors


def test_a_certificate_that_begins_later_is_refused(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "matrix.example.org", begins_days=2)
    done = router.run("--yes")
    assert done.status == CERTIFICATE
    assert "begins later" in done.errors


def test_a_key_of_another_certificate_is_refused(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "matrix.example.org")
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other", "matrix.example.org")
    router.write("/etc/ssl/own.key", other.key.read_text(), 0o600)
    done = router.run("--yes")
    assert done.status == CERTIFICATE
    assert "does not belong to the certificate" in done.errors


def test_what_is_no_certificate_is_refused(router: Router, tmp_path: Path) -> None:
    with_certificate(router, tmp_path, "matrix.example.org")
    router.write("/etc/ssl/own.crt", "-----BEGIN CERTIFICATE-----\n")
    assert router.run("--yes").status == CERTIFICATE
    (router.root / "etc/ssl/own.crt").unlink()
    done = router.run("--yes")
    assert done.status == CERTIFICATE
    assert "there is no file /etc/ssl/own.crt" in done.errors


def have_acme_issue(router: Router, tmp_path: Path, name: str) -> None:
    """What acme obtains when it is asked for a certificate of this name."""
    made = make_certificate(tmp_path, name)
    issued = router.fake / "issued"
    issued.mkdir()
    shutil.copy(made.certificate, issued / f"{name}.fullchain.crt")
    shutil.copy(made.key, issued / f"{name}.key")


def test_a_certificate_that_acme_obtains_is_taken_without_a_restart(
    router: Router, tmp_path: Path
) -> None:
    have_acme_issue(router, tmp_path, "matrix.example.org")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "on its way" not in done.output
    after = router.noted("log").split("acme is asked for: matrix.example.org\n", 1)[1]
    assert after == "hearth reload\nrun reload\ncron start\n"
    again = router.run("--yes")
    assert again.status == FINE
    assert "certificate: /etc/ssl/acme/matrix.example.org.fullchain.crt" in again.output


def test_an_authority_that_gives_no_certificate_does_not_end_the_set_up(router: Router) -> None:
    router.note("refused", "")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "warning: acme has not obtained the certificate" in done.errors
    assert "The certificate is on its way" in done.output
    assert not router.has("/etc/hearth/.setup/pending")
    assert "what is to do:\n  nothing\n" in router.run("--yes").output


def test_acme_of_23_05_is_asked_by_its_start(router: Router) -> None:
    shutil.copy(router.fake / "aside" / "acme-23.05.init", router.fake / "aside" / "acme.init")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert router.noted("log").endswith(
        "acme start\nacme is asked for: matrix.example.org\ncron start\n"
    )
    assert not (router.fake / "procd" / "acme.enabled").exists()


def test_what_renews_certificates_runs(ready: Router) -> None:
    assert ready.noted("procd/cron") == "cron runs\n"


def test_a_certificate_of_acme_is_asked_for_anew_when_names_are_added(
    router: Router, tmp_path: Path
) -> None:
    have_acme_issue(router, tmp_path, "matrix.example.org")
    assert router.run("--yes").status == FINE
    kept = "/etc/acme/matrix.example.org_ecc/matrix.example.org.conf"
    router.write(
        kept,
        "Le_Domain='matrix.example.org'\nLe_Alt='no'\nLe_Webroot='/challenge'\n"
        "Le_NextRenewTime='1800000000'\n",
    )
    router.settings(SERVE_DOMAIN="yes")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert "warning: the certificate is not for example.org yet" in done.errors
    assert "acme is asked for: matrix.example.org example.org" in router.noted("log")
    assert router.read(kept) == (
        "Le_Domain='matrix.example.org'\nLe_Alt='example.org'\nLe_Webroot='/challenge'\n"
    )


def test_livekit_is_started_anew_when_the_router_has_other_addresses(ready: Router) -> None:
    told = ready.fake / "procd" / "hearth"
    assert "\n  env ADDRESSES=192.168.1.1/24,\n" in told.read_text()
    assert told.read_text().count("env ADDRESSES") == 1
    ready.note("addresses", "pppoe-wan inet 203.0.113.9\nbr-lan inet 192.168.1.1/24\n")
    ready.interface_changes("ifdown")
    assert "203.0.113.9" not in told.read_text()
    ready.interface_changes("ifup")
    assert "\n  env ADDRESSES=192.168.1.1/24,203.0.113.9,\n" in told.read_text()
    # Each time nginx reads its files anew, workers with connections stay beside the new ones.
    assert "run reload" not in ready.noted("log")
    told.unlink()
    ready.interface_changes("ifup")
    assert not told.exists()
    ready.settings(CALLS="no")
    assert ready.run("--yes").status == FINE
    assert not ready.has("/etc/hotplug.d/iface/95-hearth")
    assert "ADDRESSES" not in told.read_text()


def test_acme_is_asked_for_another_certificate_when_one_has_expired(
    ready: Router, tmp_path: Path
) -> None:
    kept = ready.root / "etc/ssl/acme"
    kept.mkdir(parents=True)
    (tmp_path / "expired").mkdir()
    expired = make_certificate(
        tmp_path / "expired", "matrix.example.org", begins_days=-90, ends_days=-1
    )
    shutil.copy(expired.certificate, kept / "matrix.example.org.fullchain.crt")
    shutil.copy(expired.key, kept / "matrix.example.org.key")
    have_acme_issue(ready, tmp_path, "matrix.example.org")
    before = ready.noted("log")
    done = ready.run("--yes")
    assert done.status == FINE, done
    assert "the certificate has expired" in done.errors
    assert done.changes[0] == "  ask for a certificate in place of the expired one"
    assert "acme renew" in ready.noted("log").removeprefix(before)
    assert "what is to do:\n  nothing\n" in ready.run("--yes").output


def test_the_service_is_started_after_another_firmware_too(ready: Router) -> None:
    kept = ready.read("/etc/sysupgrade.conf").splitlines()
    script = (REPOSITORY / "docker/openwrt/hearth.init").read_text()
    for letter, number in re.findall(r"^(S)TART=(\d+)$", script, re.MULTILINE) + [
        ("K", number) for number in re.findall(r"^STOP=(\d+)$", script, re.MULTILINE)
    ]:
        assert f"/etc/rc.d/{letter}{number}hearth" in kept


def test_validation_by_dns_goes_to_acme_with_its_credentials(router: Router) -> None:
    router.settings(
        ACME_VALIDATION="dns",
        ACME_DNS="dns_cf",
        ACME_CREDENTIALS='"CF_Token=abc CF_Zone=1"',
        HTTP_PORT="0",
    )
    assert router.run("--yes").status == FINE
    acme = router.read("/etc/config/acme")
    assert "\toption dns 'dns_cf'\n" in acme
    assert "\tlist credentials 'CF_Token=abc'\n\tlist credentials 'CF_Zone=1'\n" in acme
    assert "acme-acmesh-dnsapi" in router.noted("log")
    assert "listen 80" not in router.read(NGINX)


# -- interruptions ----------------------------------------------------------------------------


def interruptions(router: Router) -> int:
    """How often a first run changes a file: each time the power may go."""
    router.note("kill-at", "0")
    assert router.run("--yes").status == FINE
    return len(router.noted("calls").splitlines())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """What a run that is not interrupted leaves, and how many changes it makes."""
    router = Router(tmp_path_factory.mktemp("undisturbed"))
    calls = interruptions(router)
    return settled(router), calls


@pytest.mark.parametrize("part", [0.02, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.99])
def test_a_run_that_was_interrupted_is_completed_by_the_next(
    router: Router, undisturbed: tuple[dict[str, str], int], part: float
) -> None:
    whole, calls = undisturbed
    router.sync()
    router.note("kill-at", str(max(1, round(calls * part))))
    assert router.run("--yes").status != FINE
    router.lose_what_is_not_on_the_disks()
    (router.fake / "kill-at").unlink()
    before = router.noted("log")
    done = router.run("--yes")
    assert done.status == FINE, done
    assert settled(router) == whole
    secret = router.read(SECRET).strip()
    assert router.read("/etc/hearth/livekit/livekit.keys") == f"hearth: {secret}\n"
    started = "hearth restart" if "hearth start" in before else "hearth start"
    assert started in router.noted("log").removeprefix(before)
    assert "what is to do:\n  nothing\n" in router.run("--yes").output


def test_a_change_that_was_interrupted_is_not_taken_for_an_edit(ready: Router) -> None:
    for call in (3, 9, 15, 21):
        ready.settings(MAX_UPLOAD_MB=str(100 + call))
        ready.note("calls", "")
        ready.note("kill-at", str(call))
        ready.sync()
        ready.run("--yes")
        ready.lose_what_is_not_on_the_disks()
        (ready.fake / "kill-at").unlink()
    ready.settings(MAX_UPLOAD_MB="77")
    done = ready.run("--yes")
    assert done.status == FINE, done
    assert "changed by hand" not in done.output + done.errors
    assert "max_upload_mb = 77" in ready.read(TOML)
    assert "client_max_body_size 78m;" in ready.read(NGINX)


# -- the way back -----------------------------------------------------------------------------


def test_uninstalling_leaves_users_data_backups_and_what_was_edited(ready: Router) -> None:
    ready.write("/mnt/usb/hearth/data/signing.key", "ed25519 a_1 secret\n")
    ready.write(NGINX, "# mine\n")
    shown = ready.run("--uninstall", "--dry-run")
    assert "would remove firewall.hearth_https from uci" in shown.output
    assert ready.has(TOML)
    done = ready.run("--uninstall", "--yes")
    assert done.status == FINE, done
    assert "keep /etc/hearth/nginx/nginx.conf, which was changed by hand" in done.output
    assert ready.read("/mnt/usb/hearth/data/signing.key") == "ed25519 a_1 secret\n"
    assert ready.read(NGINX) == "# mine\n"
    assert list((ready.root / "mnt/usb/hearth/backups").glob("setup-*.tar.gz"))
    left = {name for name in ready.state() if name.startswith("etc/hearth")}
    assert left == {"etc/hearth", "etc/hearth/.env", "etc/hearth/nginx", NGINX.lstrip("/")}
    assert not ready.has("/etc/init.d/hearth")
    assert "hearth" not in ready.read("/etc/config/firewall")
    assert "hearth" not in ready.read("/etc/config/acme")
    assert "hearth" not in ready.read("/etc/sysupgrade.conf")
    assert not (ready.fake / "procd" / "hearth").exists()
    assert "crun" in done.output
    assert "what is to do:\n  nothing\n" in ready.run("--uninstall", "--yes").output


def test_after_uninstalling_it_can_be_set_up_again(ready: Router) -> None:
    whole = settled(ready)
    assert ready.run("--uninstall", "--yes").status == FINE
    assert ready.run("--yes").status == FINE
    # The packages are still there, so this time none was installed.
    del whole["etc/hearth/.setup/packages"]
    assert settled(ready) == whole


def test_unknown_words_are_refused_with_the_usage(router: Router) -> None:
    done = router.run("--force")
    assert done.status == USAGE
    assert "usage:" in done.errors
