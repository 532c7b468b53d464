"""Programs and libraries: what they need, and that less of them does the same."""

import subprocess
import sys
from pathlib import Path

import asyncpg.protocol.protocol
import pytest
from imagebuilder.closure import LibraryMissing, libraries_for
from imagebuilder.elf import is_elf, needs_of, stripped
from imagebuilder.tree import File, Link, Tree

MODULE = Path(asyncpg.protocol.protocol.__file__)


def test_what_a_module_needs_is_read() -> None:
    assert "libc.so.6" in needs_of(MODULE.read_bytes()).libraries


def test_a_stripped_module_is_smaller_and_needs_the_same() -> None:
    whole = MODULE.read_bytes()
    less = stripped(whole)
    assert len(less) < len(whole) / 2
    assert needs_of(less) == needs_of(whole)
    assert stripped(less) == less


def test_a_stripped_program_runs(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(stripped(Path("/bin/true").read_bytes()))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == 0


def test_a_stripped_module_is_loaded(tmp_path: Path) -> None:
    package = tmp_path / MODULE.name
    package.write_bytes(stripped(MODULE.read_bytes()))
    loaded = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.PyDLL({str(package)!r})"], check=False
    )
    assert loaded.returncode == 0


def test_text_is_no_program() -> None:
    assert not is_elf(b"#!/bin/sh\n" + b" " * 100)


def test_libraries_are_followed_through_links_and_no_further() -> None:
    library = File(stripped(Path("/lib64/ld-linux-x86-64.so.2").resolve().read_bytes()))
    needed = {name: Link(f"real-{name}") for name in needs_of(MODULE.read_bytes()).libraries}
    tree: Tree = {f"usr/lib/here/{name}": link for name, link in needed.items()}
    tree |= {f"usr/lib/here/real-{name}": library for name in needed}
    tree["usr/lib/here/unused.so"] = library
    tree["module.so"] = File(MODULE.read_bytes())
    kept = libraries_for(["module.so"], tree, ["/lib/here"])
    assert kept == tree.keys() - {"module.so", "usr/lib/here/unused.so"}


def test_a_library_that_nobody_brings_is_told() -> None:
    with pytest.raises(LibraryMissing, match=r"module\.so needs lib"):
        libraries_for(["module.so"], {"module.so": File(MODULE.read_bytes())}, ["/usr/lib"])
