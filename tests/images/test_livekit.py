"""The program that carries group calls: what it is built of."""

import os
import re
import shutil
import subprocess

import pytest
from imagebuilder import livekit


def test_the_version_that_is_told_is_the_one_that_is_built() -> None:
    modules = (livekit.MODULES / "go.mod").read_text()
    (version,) = re.findall(r"^\tgithub\.com/livekit/livekit-server v(\S+)", modules, re.MULTILINE)
    assert version == livekit.VERSION
    assert f"\ntool {livekit.PACKAGE}\n" in modules


def test_every_module_that_is_fetched_has_its_hash() -> None:
    modules = (livekit.MODULES / "go.mod").read_text()
    known = (livekit.MODULES / "go.sum").read_text().splitlines()
    hashed = {tuple(line.split()[:2]) for line in known if "/go.mod " not in line}
    replaced = set(re.findall(r"^replace (\S+) =>", modules, re.MULTILINE))
    wanted = {
        (path, version)
        for path, version in re.findall(r"^\t(\S+) (v\S+)", modules, re.MULTILINE)
        if path not in replaced
    }
    assert len(wanted) > 100
    assert wanted <= hashed


def test_browsers_are_told_apart() -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go")
    module = livekit.MODULES / "useragent"
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go, "test", "./..."],
        cwd=module,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
