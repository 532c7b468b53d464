"""The set-up on a box with Debian: docker/debian/bootstrap.sh. What it has in common with the one
for routers is tried there."""

import shutil
from pathlib import Path

import pytest

from tests.packaging.certificates import make_certificate
from tests.packaging.router import REPOSITORY, Router

pytestmark = pytest.mark.skipif(shutil.which("busybox") is None, reason="BusyBox is not installed")

STAND_INS = Path(__file__).parent / "debian"
UNITS = "/etc/systemd/system"


class Box(Router):
    """A fresh Debian, with stand-ins for systemd, apt and certbot."""

    script = REPOSITORY / "docker" / "debian" / "bootstrap.sh"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        for name in ("opkg", "uci", "fw4"):
            (self.fake / "bin" / name).unlink()
        for name in ("systemctl", "apt-get"):
            shutil.copy(STAND_INS / name, self.fake / "bin" / name)
        shutil.copy(STAND_INS / "certbot", self.fake / "aside" / "certbot")
        self.write("/proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        (self.root / "etc/systemd/system").mkdir(parents=True)

    def let_authority_issue(self, directory: Path) -> None:
        """Have certbot succeed."""
        made = make_certificate(directory, "matrix.example.org")
        (self.fake / "issued").mkdir()
        shutil.copy(made.certificate, self.fake / "issued" / "fullchain.pem")
        shutil.copy(made.key, self.fake / "issued" / "privkey.pem")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A box that has everything but hearth, and an authority that gives certificates."""
    box = Box(tmp_path)
    box.let_authority_issue(tmp_path)
    return box


def test_a_run_installs_starts_and_obtains_a_certificate(box: Box) -> None:
    done = box.run("--yes")
    assert done.status == 0, done
    log = box.noted("log").splitlines()
    assert log[1].endswith(
        "install -y -qq --no-install-recommends nginx-light openssl crun certbot"
    )
    assert "systemctl disable --now nginx" in log
    assert [line for line in log if "restart" in line] == [
        "systemctl restart hearth",
        "systemctl restart hearth-livekit",
        "systemctl restart hearth-nginx",
    ]
    asked, taken = log[-2:]
    assert asked.startswith("certbot certonly --webroot --webroot-path /var/lib/hearth-acme ")
    assert " --email admin@example.org " in asked
    assert asked.endswith(" --domain matrix.example.org")
    assert taken == "systemctl reload hearth-nginx"
    assert "ExecStart=/etc/hearth/run livekit" in box.read(f"{UNITS}/hearth-livekit.service")
    assert "ExecReload=/etc/hearth/run reload" in box.read(f"{UNITS}/hearth-nginx.service")
    assert "ExecReload" not in box.read(f"{UNITS}/hearth.service")
    # Only LiveKit waits for an address: it takes those that there are, and no others later.
    waiting = "Wants=network-online.target\nAfter=network-online.target\n"
    assert waiting in box.read(f"{UNITS}/hearth-livekit.service")
    for unit in ("hearth", "hearth-nginx"):
        assert "online" not in box.read(f"{UNITS}/{unit}.service")
    hook = "/etc/letsencrypt/renewal-hooks/deploy/hearth"
    assert box.mode(hook) == "755"
    assert box.read(hook).endswith("exec /etc/hearth/run reload\n")
    assert "443/tcp 8448/tcp 80/tcp 7881/tcp 7882/udp" in done.output


def test_an_authority_that_refuses_is_told_and_can_be_asked_again(box: Box, tmp_path: Path) -> None:
    (box.fake / "issued").rename(box.fake / "later")
    done = box.run("--yes")
    assert done.status == 6
    assert "look at DNS and port forwarding" in done.errors
    (box.fake / "later").rename(box.fake / "issued")
    assert box.run("--yes").status == 0


def test_ports_are_opened_in_ufw_once_and_closed_again(box: Box) -> None:
    shutil.copy(STAND_INS / "ufw", box.fake / "bin" / "ufw")
    assert box.run("--yes").status == 0
    ports = ["443/tcp", "8448/tcp", "80/tcp", "7881/tcp", "7882/udp"]
    assert box.noted("ufw").splitlines() == [f"ufw allow {port} comment 'hearth'" for port in ports]
    box.run("--yes")
    assert len(box.noted("ufw").splitlines()) == len(ports)
    assert box.run("--uninstall", "--yes").status == 0
    assert box.noted("ufw") == ""
    assert not box.has(f"{UNITS}/hearth.service")
    assert box.has("/mnt/usb/hearth/data")


def test_a_port_that_is_not_wanted_any_more_is_closed_in_ufw(box: Box) -> None:
    shutil.copy(STAND_INS / "ufw", box.fake / "bin" / "ufw")
    assert box.run("--yes").status == 0
    own = f"{box.noted('ufw')}ufw allow 22/tcp comment 'mine'\nufw allow 7881/tcp\n"
    box.note("ufw", own)
    box.settings(CALLS="no", HTTPS_PORT="8443")
    assert box.run("--yes").status == 0
    assert box.noted("ufw").splitlines() == [
        "ufw allow 8448/tcp comment 'hearth'",
        "ufw allow 80/tcp comment 'hearth'",
        "ufw allow 22/tcp comment 'mine'",
        "ufw allow 7881/tcp",
        "ufw allow 8443/tcp comment 'hearth'",
    ]
    box.settings(HTTPS_PORT="9443")
    assert box.run("--uninstall", "--yes").status == 0
    assert box.noted("ufw") == "ufw allow 22/tcp comment 'mine'\nufw allow 7881/tcp\n"


def test_livekit_is_started_with_the_machine_again_when_calls_are_back(box: Box) -> None:
    assert box.run("--yes").status == 0
    box.settings(CALLS="no")
    assert box.run("--yes").status == 0
    assert box.run("--yes").changes == []
    box.settings()
    assert box.run("--yes").status == 0
    assert (box.fake / "procd" / "hearth-livekit.enabled").exists()
    assert box.run("--yes").changes == []


def test_the_health_is_not_asked_for_by_way_of_a_proxy(box: Box) -> None:
    box.environment["http_proxy"] = "http://proxy.example.org:3128"
    assert box.run("--yes").status == 0


def test_an_expired_certificate_is_asked_for_anew(box: Box, tmp_path: Path) -> None:
    assert box.run("--yes").status == 0
    (tmp_path / "expired").mkdir()
    expired = make_certificate(
        tmp_path / "expired", "matrix.example.org", begins_days=-90, ends_days=-1
    )
    live = box.root / "etc/letsencrypt/live/matrix.example.org"
    shutil.copy(expired.certificate, live / "fullchain.pem")
    shutil.copy(expired.key, live / "privkey.pem")
    before = box.noted("log")
    assert box.run("--yes").status == 0
    assert "certbot certonly" in box.noted("log").removeprefix(before)


def test_livekit_stops_when_calls_are_switched_off(box: Box) -> None:
    assert box.run("--yes").status == 0
    box.settings(CALLS="no")
    assert box.run("--yes").status == 0
    assert "systemctl disable --quiet --now hearth-livekit" in box.noted("log")
    assert not (box.fake / "procd" / "hearth-livekit").exists()


def test_certificates_by_dns_are_left_to_certbots_plugins(box: Box) -> None:
    box.settings(ACME_VALIDATION="dns", ACME_DNS="dns_cf")
    done = box.run("--yes")
    assert done.status == 3
    assert "plugin of certbot" in done.errors
