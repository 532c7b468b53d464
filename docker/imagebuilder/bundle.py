"""An image unpacked, with the file that says how it runs: for crun, runc and OpenWRT's uxc.

Source: OCI runtime specification, "Filesystem Bundle", "Configuration".
"""

import gzip
import json
from typing import Any

from imagebuilder.layer import TIME, write_tar
from imagebuilder.oci import BuiltImage, environment_lines
from imagebuilder.tree import Directory, File, Tree, below

ROOTFS = "rootfs"
NAMESPACES = ("pid", "ipc", "uts", "mount", "cgroup")
"""Without one for the network: it is the machine's, so nothing is translated on the way."""
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
MOST_FILES = 4096
SAFE = ("nosuid", "noexec", "nodev")


def build_bundle(image: BuiltImage, tree: Tree) -> bytes:
    """The bundle as a compressed tar. `tree` is all that is in the image."""
    config = json.dumps(runtime_config(image), indent=2, sort_keys=True).encode()
    contents: Tree = {"config.json": File(config), ROOTFS: Directory(), **below(ROOTFS, tree)}
    return gzip.compress(write_tar(contents), compresslevel=9, mtime=TIME)


def runtime_config(image: BuiltImage) -> dict[str, Any]:
    """How the image runs; the sources of its mounts are for whoever unpacks it to change."""
    running = image.running
    return {
        "ociVersion": "1.0.2",
        "hostname": image.name,
        "root": {"path": ROOTFS, "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": running.user, "gid": running.user},
            "args": [*running.entrypoint, *running.arguments],
            "env": environment_lines(running.environment),
            "cwd": running.data or "/",
            "capabilities": {
                kind: []
                for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": MOST_FILES, "soft": MOST_FILES}],
        },
        "mounts": [*system_mounts(), *own_mounts(image)],
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 128}},
        },
    }


def system_mounts() -> list[dict[str, Any]]:
    """What every container has."""
    return [
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64k"),
        mount("/dev/shm", "tmpfs", "shm", *SAFE, "mode=1777", "size=16m"),  # noqa: S108
        mount("/sys", "sysfs", "sysfs", *SAFE, "ro"),
        mount("/run", "tmpfs", "tmpfs", *SAFE, "mode=755", "size=1m"),
        mount("/tmp", "tmpfs", "tmpfs", *SAFE, "mode=1777", "size=32m"),  # noqa: S108
    ]


def own_mounts(image: BuiltImage) -> list[dict[str, Any]]:
    """The directories of this machine that the container sees, and how names are looked up."""
    read_only = ("rbind", "ro", *SAFE)
    places = f"/srv/{image.name}"
    found = [mount("/config", "bind", f"{places}/config", *read_only)]
    if image.running.data:
        found.append(mount(image.running.data, "bind", f"{places}/data", "rbind", "rw", *SAFE))
    found += [mount(file, "bind", file, *read_only) for file in ("/etc/hosts", "/etc/resolv.conf")]
    return found


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    """One mount."""
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }
