"""A router to set hearth up on: a directory as its root, BusyBox, and stand-ins for OpenWRT.

What is not BusyBox's (uci, procd, opkg, fw4, crun …) are the small scripts in `openwrt/`, which
note what they are asked for. The path holds the applets that OpenWRT's BusyBox has, and nothing of
the machine that the tests run on but openssl.
"""

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BOOTSTRAP = REPOSITORY / "docker" / "openwrt" / "bootstrap.sh"
STAND_INS = Path(__file__).parent / "openwrt"
APPLETS = (
    "[ awk basename cat chmod cmp cp cut date dd df dirname du echo egrep env expr false find"
    " free grep gunzip gzip head hexdump kill ln ls md5sum mkdir mktemp mv netstat pidof printf ps"
    " pwd readlink rm rmdir sed seq sh sha256sum sort tail tar tee test touch tr true uniq wc"
    " xargs zcat"
)
"""Of what OpenWRT's BusyBox has (package/utils/busybox/Config-defaults.in); no stat, realpath,
install, timeout, comm, od or wget: its wget is uclient-fetch."""
UCI_AND_NETWORK = ("uci", "opkg", "fw4", "wget")
MACHINE = ("ip", "uname", "df", "date", "id", "chown", "sleep", "sync")
CHANGING = ("mv", "chmod", "mkdir", "ln", "cp", "tar", "rm")
"""What the power may go in the middle of."""

ENV = """\
DOMAIN=example.org
HOST=matrix.example.org
DATA=/mnt/usb/hearth
ACME_EMAIL=admin@example.org
"""
FIREWALL = """\
config defaults
\toption input\t\tREJECT
# Comments are lost when uci writes the file anew.

config zone
\toption name\t\tlan
\tlist   network\t\t'lan'

config zone guests
\toption name "guests"

config zone
\toption name\t\twan
\tlist   network\t\t'wan'
\tlist   network\t\t'wan6'
"""
"""In the ways of writing that those of OpenWRT have."""
RUNTIME_CONFIG = {
    "mounts": [
        {"destination": "/data", "source": "/srv/hearth/data"},
        {"destination": "/config", "source": "/srv/hearth/config"},
    ],
    "process": {"args": ["/usr/bin/hearth", "run"], "env": ["PATH=/usr/bin"]},
    "root": {"path": "rootfs", "readonly": True},
}
"""Of a bundle's config.json, what the set-up changes."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of the set-up has ended."""

    status: int
    output: str
    errors: str

    @property
    def changes(self) -> list[str]:
        """What it has done, as it said."""
        _, found, done = self.output.partition("doing it:\n")
        return [line for line in done.splitlines() if line.startswith("  ")] if found else []


class Router:
    """A fresh OpenWRT with a disk at /mnt/usb, LuCI out of the way and the downloads in place."""

    script = BOOTSTRAP

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.fake = directory / "fake"
        self.environment: dict[str, str] = {}
        self._make_root()
        self._make_programs()
        self.write("/etc/hearth/.env", ENV)
        self.bundle("hearth", "0.1.0")
        self.bundle("livekit", "1.13.5")

    def copy_to(self, directory: Path) -> "Router":
        """Another router on which the same has happened."""
        copy = type(self).__new__(type(self))
        copy.root, copy.fake = directory / "root", directory / "fake"
        copy.environment = dict(self.environment)
        shutil.copytree(self.root, copy.root, symlinks=True)
        shutil.copytree(self.fake, copy.fake, symlinks=True)
        return copy

    def _make_root(self) -> None:
        for name in ("etc/config", "etc/init.d", "etc/hotplug.d/iface", "mnt/usb"):
            (self.root / name).mkdir(parents=True)
        for name in ("proc/net", "var/run", "tmp"):
            (self.root / name).mkdir(parents=True)
        self.memory(244)
        self.write(
            "/proc/mounts",
            "/dev/root /rom squashfs ro,relatime 0 0\noverlayfs:/overlay / overlay rw 0 0\n"
            "tmpfs /tmp tmpfs rw 0 0\n/dev/sda1 /mnt/usb ext4 rw,relatime 0 0\n",
        )
        self.write("/proc/net/tcp", "  sl  local_address rem_address   st\n")
        self.write("/proc/net/if_inet6", "")
        self.write("/etc/sysupgrade.conf", "## This file contains files that are kept\n")
        self.write("/etc/config/firewall", FIREWALL)
        self.write("/etc/config/acme", "config acme\n\toption account_email 'email@example.org'\n")
        shutil.copy(STAND_INS / "rc.common", self.root / "etc" / "rc.common")
        for name in ("firewall", "cron"):
            shutil.copy(STAND_INS / f"{name}.init", self.root / "etc/init.d" / name)

    def _make_programs(self) -> None:
        for name in ("bin", "aside", "applets", "procd"):
            (self.fake / name).mkdir(parents=True)
        busybox = shutil.which("busybox")
        openssl = shutil.which("openssl")
        assert busybox is not None
        assert openssl is not None
        for applet in APPLETS.split():
            (self.fake / "applets" / applet).symlink_to(busybox)
        # Debian's BusyBox has none; it is used the same.
        flock = shutil.which("flock")
        assert flock is not None
        (self.fake / "bin" / "flock").symlink_to(flock)
        for name in (*UCI_AND_NETWORK, *MACHINE):
            shutil.copy(STAND_INS / name, self.fake / "bin" / name)
        for name in CHANGING:
            shutil.copy(STAND_INS / "tripwire", self.fake / "bin" / name)
        for name in ("nginx", "crun", "acme.init", "acme-23.05.init"):
            shutil.copy(STAND_INS / name, self.fake / "aside" / name)
        (self.fake / "aside" / "openssl").symlink_to(openssl)
        self.note("machine", "aarch64")
        self.note("addresses", "br-lan inet 192.168.1.1/24\n")
        self.note("free-kb", "12000000")
        self.note("log", "")

    # -- what a test changes about it ---------------------------------------------------------

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the router."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: str) -> str:
        """The text of a file of the router."""
        return (self.root / path.lstrip("/")).read_text()

    def has(self, path: str) -> bool:
        """Whether the router has this file."""
        return (self.root / path.lstrip("/")).exists()

    def mode(self, path: str) -> str:
        """The access rights of a file, in octal."""
        return f"{(self.root / path.lstrip('/')).stat().st_mode & 0o7777:o}"

    def memory(self, total_mb: int) -> None:
        """How much memory it has."""
        text = f"MemTotal: {total_mb * 1024} kB\nMemFree: 90000 kB\nSwapTotal: 0 kB\n"
        self.write("/proc/meminfo", text)

    def note(self, name: str, text: str) -> None:
        """Tell the stand-ins something."""
        (self.fake / name).write_text(text)

    def noted(self, name: str) -> str:
        """What the stand-ins have noted."""
        path = self.fake / name
        return path.read_text() if path.exists() else ""

    def settings(self, **changed: str) -> None:
        """A .env with these settings besides the usual ones."""
        lines = dict(line.split("=", 1) for line in ENV.splitlines()) | changed
        self.write("/etc/hearth/.env", "".join(f"{k}={v}\n" for k, v in lines.items()))

    def bundle(self, name: str, version: str, architecture: str = "arm64") -> Path:
        """Put a bundle where downloads are."""
        images = self.root / "mnt/usb/hearth/images"
        images.mkdir(parents=True, exist_ok=True)
        path = images / f"{name}-{version}-{architecture}.bundle.tar.gz"
        contents = io.BytesIO()
        with tarfile.open(fileobj=contents, mode="w") as archive:
            files = {"config.json": json.dumps(RUNTIME_CONFIG, indent=2), "rootfs/version": version}
            for file, text in files.items():
                entry = tarfile.TarInfo(file)
                entry.size = len(text)
                entry.mode = 0o644
                archive.addfile(entry, io.BytesIO(text.encode()))
        path.write_bytes(gzip.compress(contents.getvalue(), mtime=0))
        with (images / "SHA256SUMS").open("a") as sums:
            sums.write(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
        return path

    def listen(self, port: int, program: str, kind: str = "tcp") -> None:
        """Another program that listens on all addresses."""
        state = {"tcp": "0A", "udp": "07"}[kind]
        line = f"   0: 00000000:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 4711 1\n"
        self.write(f"/proc/net/{kind}", "  sl  local_address rem_address   st\n" + line)
        descriptors = self.root / "proc" / "812" / "fd"
        descriptors.mkdir(parents=True)
        (descriptors / "4").symlink_to("socket:[4711]")
        self.write("/proc/812/comm", f"{program}\n")

    # -- running ------------------------------------------------------------------------------

    def uci(self, *arguments: str) -> None:
        """Call uci as somebody else does, besides the set-up."""
        done = self._run_shell(self.fake / "bin" / "uci", *arguments)
        assert done.returncode == 0, done

    def sync(self) -> None:
        """Have everything on the disks."""
        assert self._run_shell(self.fake / "bin" / "sync").returncode == 0

    def lose_what_is_not_on_the_disks(self) -> None:
        """What a power cut does besides: files have their names, but nothing in them."""
        durable = set(self.noted("durable").splitlines())
        places = (self.root / "etc/hearth", self.root / "mnt")
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        files.append(self.root / "etc/init.d/hearth")
        for path in files:
            if path.exists() and not path.is_symlink():
                shown = subprocess.check_output(["stat", "-c", "%i %w", str(path)], text=True)
                if shown.strip() not in durable:
                    path.write_bytes(b"")

    def run(self, *arguments: str) -> Run:
        """Run the set-up in BusyBox's shell."""
        done = self._run_shell(self.script, "--env", str(self.root / "etc/hearth/.env"), *arguments)
        root = str(self.root)
        return Run(done.returncode, done.stdout.replace(root, ""), done.stderr.replace(root, ""))

    def interface_changes(self, action: str) -> None:
        """Do what OpenWRT does when an interface has come up or gone."""
        service = "sh $HEARTH_SETUP_ROOT/etc/rc.common $HEARTH_SETUP_ROOT/etc/init.d/hearth"
        script = self.fake / "hotplug"
        text = self.read("/etc/hotplug.d/iface/95-hearth")
        script.write_text(f"ACTION={action}\n" + text.replace("/etc/init.d/hearth", service))
        done = self._run_shell(script)
        assert done.returncode == 0, done

    def run_part(self, *arguments: str) -> Run:
        """Call /etc/hearth/run, with the places of this router in it."""
        text = self.read("/etc/hearth/run")
        for place in ("/mnt/usb", "/var/run/hearth", "/etc/hearth"):
            text = text.replace(place, f"{self.root}{place}")
        bundles = (self.root / "mnt/usb/hearth/bundles").iterdir()
        for link in [one / "config.json" for one in bundles if (one / "shipped.json").exists()]:
            own = os.readlink(link).removeprefix(str(self.root))
            link.unlink()
            link.symlink_to(f"{self.root}{own}")
        script = self.fake / "run"
        script.write_text(text)
        done = self._run_shell(script, *arguments)
        return Run(done.returncode, done.stdout, done.stderr)

    def _run_shell(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        busybox = shutil.which("busybox")
        assert busybox is not None
        return subprocess.run(
            [busybox, "ash", str(script), *arguments],
            env={
                **self.environment,
                "PATH": f"{self.fake}/bin:{self.fake}/applets",
                "HEARTH_SETUP_ROOT": str(self.root),
                "FAKE": str(self.fake),
                "HEALTH_TRIES": "2",
                "TMPDIR": str(self.root / "tmp"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.root,
            # The power goes for all of them at once.
            start_new_session=True,
        )

    def state(self) -> dict[str, str]:
        """All that is kept on its disks: contents and rights."""
        kept = {}
        for top in ("etc", "mnt", "usr"):
            for path in sorted((self.root / top).rglob("*")):
                name = str(path.relative_to(self.root))
                if path.is_symlink():
                    kept[name] = f"-> {os.readlink(path)}"
                elif path.is_file():
                    digest = sha256(path.read_bytes()).hexdigest()
                    kept[name] = f"{path.stat().st_mode:o} {digest}"
                else:
                    kept[name] = f"{path.stat().st_mode:o}"
        return kept
