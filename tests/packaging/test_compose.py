"""docker/compose: what the containers may do, and what they are given."""

import os
import re
import shutil
import subprocess
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.config.load import load_settings
from tests.packaging.certificates import make_certificate
from tests.packaging.proxy import NGINX_PROGRAM, http2_directive

COMPOSE = Path(__file__).parents[2] / "docker" / "compose"
FILE: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ENV = """\
DOMAIN=example.org
HOST=matrix.example.org
ADDRESS=203.0.113.5
CERTIFICATE={certificate}
CERTIFICATE_KEY={key}
COMPOSE_PROFILES={profiles}
"""
NOTING = '#!/bin/sh\necho "$@" >> "${0%/*}/owners"\n'
MARKED_PROGRAMS = {"coturn": ["NET_BIND_SERVICE"]}
"""Images whose program has capabilities in its file: Linux does not run such a program where the
container can never have them."""
POOLS_OF_DOCKER = ("172.16.0.0/12", "192.168.0.0/16")
"""Docker takes subnets for other networks from here, whichever comes next."""

each = pytest.mark.parametrize("name", SERVICES)


def megabytes(size: str) -> int:
    """A size of compose's, such as "300m"."""
    assert size.endswith("m")
    return int(size[:-1])


@each
def test_images_are_pinned(name: str) -> None:
    _, _, version = SERVICES[name]["image"].partition(":")
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-alpine)?(@sha256:[0-9a-f]{64})?", version)


def test_hearth_is_this_version() -> None:
    project = tomllib.loads((COMPOSE.parents[1] / "pyproject.toml").read_text())["project"]
    assert SERVICES["hearth"]["image"] == f"hearth:{project['version']}"


@each
def test_nobody_has_more_rights_than_needed(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add") == MARKED_PROGRAMS.get(name)
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)


@each
def test_everybody_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert 0 < megabytes(service["mem_limit"]) <= 300
    assert 0 < service["pids_limit"] <= 200
    assert service["logging"]["options"]["max-size"] == "10m"
    assert service["restart"] == "unless-stopped"


@each
def test_what_is_mounted_is_ours_and_read_only_but_for_data(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, rest = mount.partition(":")
        if source.startswith("./"):
            assert rest.endswith(":ro"), mount
            assert source.startswith("./etc/") or (COMPOSE / source).exists(), mount
        else:
            assert source in FILE["volumes"], mount


def test_networks_are_separate() -> None:
    on = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert on["coturn"] == {"relay"}
    assert on["postgresql"] == {"database"}
    assert on["prometheus"] == {"watching"}
    assert {name for name in on if "database" in on[name]} == {"hearth", "postgresql"}
    assert {name for name in on if "watching" in on[name]} == {"hearth", "prometheus", "grafana"}
    for network in ("front", "database", "watching"):
        assert FILE["networks"][network]["internal"] is True
    assert {name for name in on if "front" in on[name]} == {"nginx", "hearth", "livekit"}


def test_what_nginx_asks_for_has_one_address_that_stays() -> None:
    networks = {name: service["networks"] for name, service in SERVICES.items()}
    for name in ("hearth", "livekit"):
        assert set(networks[name]) & set(networks["nginx"]) == {"front"}
    subnet = ip_network(FILE["networks"]["front"]["ipam"]["config"][0]["subnet"])
    gateway, *free = subnet.hosts()
    addresses = [
        ip_address(networks[name]["front"]["ipv4_address"])
        for name in networks
        if "front" in networks[name]
    ]
    assert len(set(addresses)) == len(addresses) == 3
    assert set(addresses) <= set(free), gateway
    assert not any(subnet.overlaps(ip_network(pool)) for pool in POOLS_OF_DOCKER)


def test_who_is_published_is_on_a_network_that_leads_outside() -> None:
    for service in SERVICES.values():
        leading = [name for name in service["networks"] if not FILE["networks"][name]]
        assert leading or "ports" not in service


def test_hearth_waits_for_a_postgresql_that_runs_beside_it() -> None:
    waiting = SERVICES["hearth"]["depends_on"]["postgresql"]
    assert waiting == {"condition": "service_healthy", "required": False}
    # While the image makes the database, its server listens at a socket only.
    assert "--host=127.0.0.1" in SERVICES["postgresql"]["healthcheck"]["test"]


def test_only_what_is_for_outside_is_published() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"livekit", "nginx", "coturn", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["grafana"]["ports"])


def test_what_is_optional_has_a_profile() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"hearth", "livekit", "nginx"}


def configure(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run configure.sh with this .env; owners stay as they are, as tests may not change them."""
    stubs = directory / "stubs"
    stubs.mkdir(exist_ok=True)
    for name, script in (("chown", NOTING), ("id", "#!/bin/sh\necho 0\n")):
        (stubs / name).write_text(script)
        (stubs / name).chmod(0o755)
    (directory / ".env").write_text(text)
    return subprocess.run(
        ["sh", COMPOSE / "configure.sh", "--env", directory / ".env", *arguments],
        env={
            "PATH": f"{stubs}:{os.environ['PATH']}:/usr/sbin",
            "HEARTH_COMPOSE_ETC": str(directory / "etc"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def env_with_certificate(directory: Path, profiles: str = "") -> str:
    """A complete .env."""
    made = make_certificate(directory, "matrix.example.org")
    return ENV.format(certificate=made.certificate, key=made.key, profiles=profiles)


def test_everything_that_is_mounted_is_made(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path, "coturn,postgresql,monitoring")
    done = configure(tmp_path, text, "--yes")
    assert done.returncode == 0, done
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            if mount.startswith("./etc/"):
                assert (tmp_path / mount.partition(":")[0]).is_dir(), mount
    for secret in FILE["secrets"].values():
        made = tmp_path / secret["file"]
        assert made.stat().st_mode & 0o777 == 0o600
        assert len(made.read_text().strip()) == 64
    assert (tmp_path / "etc/tls/privkey.pem").stat().st_mode & 0o777 == 0o600
    password = (tmp_path / "etc/secrets/coturn").read_text().strip()
    assert (
        f"static-auth-secret={password}\n" in (tmp_path / "etc/coturn/turnserver.conf").read_text()
    )


def test_what_is_secret_belongs_to_the_user_of_its_container(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path, "coturn,postgresql,monitoring")
    assert configure(tmp_path, text, "--yes").returncode == 0
    noted = [line.split() for line in (tmp_path / "stubs" / "owners").read_text().splitlines()]
    owners = {path.removesuffix(".part"): owner for owner, path in noted}
    etc = tmp_path / "etc"
    for file, service in (
        ("secrets/postgresql", "postgresql"),
        ("secrets/grafana", "grafana"),
        ("config/livekit.secret", "hearth"),
        ("livekit/livekit.keys", "livekit"),
        ("coturn/turnserver.conf", "coturn"),
        ("tls", "nginx"),
        ("tls/privkey.pem", "nginx"),
    ):
        assert owners[str(etc / file)] == SERVICES[service]["user"], file


def test_copies_of_the_configuration_stay_beside_it(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path)
    assert configure(tmp_path, text, "--yes").returncode == 0
    done = configure(tmp_path, text + "MAX_UPLOAD_MB=20\n", "--yes")
    assert done.returncode == 0, done
    (copy,) = (tmp_path / "backups").iterdir()
    assert f"backed up {tmp_path}/etc to {copy}" in done.stdout


def test_a_full_disk_ends_it_and_leaves_what_was_there(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path)
    assert configure(tmp_path, text, "--yes").returncode == 0
    before = (tmp_path / "etc/config/hearth.toml").read_text()
    full = tmp_path / "stubs" / "cp"
    full.write_text('#!/bin/sh\necho half >"$2"\nexit 1\n')
    full.chmod(0o755)
    done = configure(tmp_path, text + "MAX_UPLOAD_MB=20\n", "--yes")
    assert done.returncode == 1, done
    assert "done:" not in done.stdout
    assert (tmp_path / "etc/config/hearth.toml").read_text() == before


def test_hearth_takes_what_is_written_for_it(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path, "coturn,postgresql,monitoring")
    assert configure(tmp_path, text, "--yes").returncode == 0
    written = (tmp_path / "etc/config/hearth.toml").read_text()
    secret = tmp_path / "etc/config/livekit.secret"
    config = tmp_path / "hearth.toml"
    config.write_text(written.replace("/config/livekit.secret", str(secret)))
    settings = load_settings(config)
    (listener,) = settings.listen
    nginx = SERVICES["nginx"]["networks"]["front"]["ipv4_address"]
    assert listener.trusted_proxies == (nginx,)
    assert settings.metrics.enabled
    assert settings.calls.livekit_api_url == "http://livekit:7880"
    assert settings.turn.shared_secret == (tmp_path / "etc/secrets/coturn").read_text().strip()
    password = (tmp_path / "etc/secrets/postgresql").read_text().strip()
    assert settings.database.url == f"postgresql://hearth:{password}@postgresql/hearth"


def test_livekit_is_told_where_it_is(tmp_path: Path) -> None:
    assert configure(tmp_path, env_with_certificate(tmp_path), "--yes").returncode == 0
    livekit = yaml.safe_load((tmp_path / "etc/livekit/livekit.yaml").read_text())
    assert livekit["rtc"]["node_ip"] == "203.0.113.5"
    assert livekit["room"]["auto_create"] is False
    assert livekit["webhook"]["urls"] == ["http://hearth:8008/livekit/jwt/sfu_webhook"]


@pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed")
def test_nginx_takes_what_is_written_for_it(tmp_path: Path) -> None:
    assert NGINX_PROGRAM is not None
    assert configure(tmp_path, env_with_certificate(tmp_path), "--yes").returncode == 0
    text = (tmp_path / "etc/nginx/nginx.conf").read_text()
    # Outside of compose nobody has these names, and Debian's nginx is an older one.
    for name, place in (
        ("/tls/", f"{tmp_path}/etc/tls/"),
        ("/run/nginx", str(tmp_path)),
        ("server hearth:", "server 127.0.0.1:"),
        ("server livekit:", "server 127.0.0.1:"),
    ):
        text = text.replace(name, place)
    if http2_directive() == "no":
        text = text.replace("ssl;", "ssl http2;").replace("http2 on;", "")
    (tmp_path / "nginx.conf").write_text(text)
    command = [NGINX_PROGRAM, "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    subprocess.run(command, check=True)
    assert "_synapse/admin" not in text


def test_a_renewed_certificate_is_copied_and_nothing_else_changes(tmp_path: Path) -> None:
    text = env_with_certificate(tmp_path)
    assert configure(tmp_path, text, "--yes").returncode == 0
    assert "  nothing\n" in configure(tmp_path, text, "--yes").stdout
    renewed = make_certificate(tmp_path, "matrix.example.org")
    done = configure(tmp_path, text, "--yes")
    assert done.stdout.count("  copy ") == 2
    assert "replace" not in done.stdout
    copied = (tmp_path / "etc/tls/fullchain.pem").read_text()
    assert copied == renewed.certificate.read_text()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ADDRESS=", "ADDRESS is missing"),
        ("TURN=yes", "TURN is LiveKit's own relay"),
        ("CALLS=no", "CALLS is no"),
        ("HTTP_PORT=0", "HTTP_PORT is 0"),
        ("FEDERATION_PORT=0", "FEDERATION_PORT is 0"),
    ],
)
def test_settings_that_compose_cannot_follow_are_refused(
    tmp_path: Path, line: str, complaint: str
) -> None:
    name = line.partition("=")[0]
    lines = env_with_certificate(tmp_path).splitlines()
    kept = [other for other in lines if other.partition("=")[0] != name]
    done = configure(tmp_path, "\n".join([*kept, line, ""]), "--yes")
    assert done.returncode == 3
    assert complaint in done.stderr
    assert not (tmp_path / "etc").exists()


def test_docker_compose_takes_the_file() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    command = ["docker", "compose", "-f", str(COMPOSE / "compose.yaml")]
    if subprocess.run([*command[:2], "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose")
    profiles = [
        word for name in ("coturn", "postgresql", "monitoring") for word in ("--profile", name)
    ]
    subprocess.run([*command, *profiles, "config", "--quiet"], check=True)
