"""What a thumbnail costs: processor time, and memory of the process that makes it.

Run with `python -m bench.thumbnails`. `--synapse PYTHON` names a Python that has Synapse, whose
thumbnailer (Pillow, in the server's own process) is measured on the same files.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from federation.inbound.reading_ports import Thumbnail
from homeserver.config.sections.media import Media
from homeserver.media.decoding.libvips import find_libvips
from homeserver.media.decoding.vips import Vips
from homeserver.media.decoding.workers import Workers, WorkFailed
from homeserver.media.thumbnails import thumbnail_crew
from tests.homeserver.media.pictures import png_of

TIMES = 9
SMALL, LARGE = Thumbnail(96, 96, "crop", None), Thumbnail(800, 600, "scale", None)
FILES = (
    ("photo.jpg", 4000, 3000, "vips_jpegsave_target", ("Q", 88)),
    (
        "progressive.jpg",
        4000,
        3000,
        "vips_jpegsave_target",
        ("Q", 88, "interlace", 1),
    ),
    ("picture.webp", 4000, 3000, "vips_webpsave_target", ("Q", 80, "effort", 1)),
    ("screen.png", 2560, 1440, "vips_pngsave_target", ("compression", 6)),
    ("avatar.png", 512, 512, "vips_pngsave_target", ("compression", 6)),
)
"""Name, width, height, and how it is saved."""

SYNAPSE = """
import json, sys, time
from pathlib import Path
from synapse.media.thumbnailer import Thumbnailer

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

path, width, height, method, times = sys.argv[1:]
took = []
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
for _ in range(int(times)):
    start = time.process_time()
    with Thumbnailer(path) as thumbnailer:
        if method == "crop":
            made = thumbnailer.crop(int(width), int(height), "image/jpeg")
        else:
            made = thumbnailer.scale(*thumbnailer.aspect(int(width), int(height)), "image/jpeg")
    made.close()
    took.append((time.process_time() - start) * 1000)
print(json.dumps([took, memory("VmHWM") - before]))
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--synapse", help="a Python that has Synapse")
    synapse: str | None = parser.parse_args().synapse
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        asyncio.run(measure(folder, synapse))


def make_files(folder: Path) -> None:
    """The pictures that are measured."""
    for name, width, height, saver, options in FILES:
        write_picture(folder / name, width, height, saver, options)


def write_picture(
    path: Path, width: int, height: int, saver: str, options: tuple[str | int, ...]
) -> None:
    """A picture with the grain of photographs."""
    vips = Vips(find_libvips())
    grain = bytes(96 + number // 8 for number in range(256))
    scratch = path.with_name("scratch.png")
    row_bytes = 1 + 3 * width
    rows = bytearray(random.Random(1).randbytes(row_bytes * height).translate(grain))
    rows[::row_bytes] = bytes(height)
    scratch.write_bytes(png_of(width, height, bytes(rows)))
    target = os.open(path, os.O_WRONLY | os.O_CREAT)
    picture = vips.open(vips.source(os.open(scratch, os.O_RDONLY)))
    picture.write(saver, vips.target(target), *options)


async def measure(folder: Path, synapse: str | None) -> None:
    """Time all files in both sizes."""
    await time_processes()
    columns = ("ms", "MiB", "Synapse ms", "Synapse MiB")
    print(f"{'file':16} {'KiB':>6}  {'thumbnail':14}", *(f"{name:>12}" for name in columns))
    for name, *_ in FILES:
        for wanted in (SMALL, LARGE):
            path = folder / name
            figures: tuple[float, ...] = await time_ours(path, wanted)
            if synapse:
                figures += time_synapse(synapse, path, wanted)
            shape = f"{wanted.width}x{wanted.height} {wanted.method}"
            size = path.stat().st_size // 1024
            print(f"{name:16} {size:6}  {shape:14}", *(f"{figure:12.0f}" for figure in figures))


async def time_ours(path: Path, wanted: Thumbnail) -> tuple[float, int]:
    """Milliseconds of processor time and MiB of the process that makes the thumbnail."""
    workers = Workers(thumbnail_crew(Media()))
    asked = {
        "width": wanted.width,
        "height": wanted.height,
        "method": wanted.method,
        "animated": False,
        "max_pixels": 50_000_000,
    }
    target = path.with_suffix(".thumbnail")
    costs = []
    for _ in range(TIMES):
        files = [os.open(path, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)]
        costs.append(await workers.run("make_thumbnail", asked, files))
    await workers.close()
    took = statistics.median(cost["cpu_ms"] for cost in costs)
    return took, max(cost["peak_kib"] for cost in costs) // 1024


async def time_processes() -> None:
    """Print what the process costs beside the work: its start, and a fork of it, at best."""
    first_ms, next_ms = [], []
    for _ in range(TIMES):
        workers = Workers(thumbnail_crew(Media()))
        first_ms.append(await time_no_work(workers))
        next_ms += [await time_no_work(workers) for _ in range(TIMES)]
        pss_kib, anonymous_kib = memory_of(children_of(os.getpid())[-1])
        await workers.close()
    print(f"a job without work: {min(first_ms):.0f} ms at first, then {min(next_ms):.1f} ms")
    print(f"the waiting process: {pss_kib} KiB, {anonymous_kib} KiB of them anonymous")


async def time_no_work(workers: Workers) -> float:
    """Milliseconds until an empty file is refused."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as empty, contextlib.suppress(WorkFailed):
        await workers.run("measure", {}, [os.dup(empty.fileno())])
    return (time.perf_counter() - start) * 1000


def children_of(process: int) -> list[int]:
    """The processes that a process has started."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in path.read_text().split()]


def memory_of(process: int) -> tuple[int, int]:
    """KiB of a process: its share of all, and what is anonymous."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return sizes["Pss:"], sizes["Anonymous:"]


def time_synapse(python: str, path: Path, wanted: Thumbnail) -> tuple[float, int]:
    """Milliseconds of processor time, and the MiB by which Synapse's process grows."""
    arguments = (str(path), str(wanted.width), str(wanted.height), wanted.method)
    command = [python, "-c", SYNAPSE, *arguments, str(TIMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took, grown_kib = json.loads(done.stdout)
    return statistics.median(took[1:]), grown_kib // 1024


if __name__ == "__main__":
    main()
