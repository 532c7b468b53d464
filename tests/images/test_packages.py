"""Packages of Debian: fetched through the machine's apt, taken apart without dpkg."""

import shutil
import subprocess
from pathlib import Path

import pytest
from imagebuilder.apt import records
from imagebuilder.artifact import Artifact
from imagebuilder.debian import NotAPackage, unpack
from imagebuilder.tree import File, Link
from imagebuilder.wheels import locked_line, name_of

SHOWN = """\
Package: libc6
Version: 2.36-9
Description: the C library
 with a longer text: that looks like a field
SHA256: {0}

Package: without-a-hash
Version: 1
"""


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb to make one")
@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_a_package_is_taken_apart(tmp_path: Path, compression: str) -> None:
    (tmp_path / "DEBIAN").mkdir()
    (tmp_path / "DEBIAN" / "control").write_text(
        "Package: try\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: try\n"
    )
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "library.so.1").write_bytes(b"library")
    (tmp_path / "lib" / "library.so.1").chmod(0o755)
    (tmp_path / "lib" / "library.so").symlink_to("library.so.1")
    (tmp_path / "lib" / "same").hardlink_to(tmp_path / "lib" / "library.so.1")
    built = tmp_path.with_suffix(".deb")
    subprocess.run(["dpkg-deb", f"-Z{compression}", "--build", tmp_path, built], check=True)
    assert unpack(built.read_bytes()) == {
        "usr/lib/library.so": Link("library.so.1"),
        "usr/lib/library.so.1": File(b"library", executable=True),
        "usr/lib/same": File(b"library", executable=True),
    }


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(NotAPackage):
        unpack(b"<html>404</html>")


def test_versions_and_hashes_are_read_from_what_apt_shows() -> None:
    assert list(records(SHOWN.format("a" * 64))) == [Artifact("libc6", "2.36-9", "a" * 64)]


def test_wheels_are_named_as_in_the_lock_file() -> None:
    assert name_of(Path("pydantic_core-2.50.4-cp311-cp311-linux_x86_64.whl")) == "pydantic-core"
    assert locked_line("a", "1", ("b", "c")) == "a==1 --hash=sha256:b --hash=sha256:c\n"
