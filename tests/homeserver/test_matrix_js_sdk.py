"""matrix-js-sdk with its Rust crypto, the library of Element, gets along with a running server.

It is not from Python: `HEARTH_JS_SDK` names a directory in which `npm install matrix-js-sdk@43` was
run, and `node` has to be there.
"""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.homeserver.conftest import Homes

SCRIPT = Path(__file__).parent / "js" / "talk.mjs"
MODULES = Path(os.environ.get("HEARTH_JS_SDK", "")) / "node_modules"
WITHIN_S = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
    pytest.mark.skipif(
        not os.environ.get("HEARTH_JS_SDK"),
        reason="needs matrix-js-sdk: HEARTH_JS_SDK names where it was installed by npm",
    ),
]


async def test_what_element_does_with_encryption_works(homes: Homes, tmp_path: Path) -> None:
    directory = tmp_path / "js"
    directory.mkdir()
    shutil.copy(SCRIPT, directory)
    (directory / "node_modules").symlink_to(MODULES.resolve())
    process = await asyncio.create_subprocess_exec(
        "node",
        "talk.mjs",
        homes.base_url,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN_S):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{out.decode()}\n{err.decode()}"
    assert out.decode().splitlines()[-1].startswith("a new dehydrated device")
