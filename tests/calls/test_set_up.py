"""LiveKit takes the configuration that the set-up of routers writes for it."""

import shutil
from pathlib import Path

import pytest

from tests.calls.conftest import NEAR, two_networks
from tests.calls.livekit_server import LiveKitServer
from tests.federation.links.namespaces import NoNamespaces
from tests.packaging.router import Router

pytestmark = pytest.mark.calls


@pytest.mark.skipif(shutil.which("busybox") is None, reason="BusyBox is not installed")
@pytest.mark.parametrize("changed", [{}, {"TURN": "yes", "ADDRESS": NEAR}])
async def test_livekit_starts_with_what_is_written(tmp_path: Path, changed: dict[str, str]) -> None:
    router = Router(tmp_path)
    router.settings(**changed)
    assert router.run("--yes").status == 0
    keys = router.root / "etc/hearth/livekit/livekit.keys"
    written = router.read("/etc/hearth/livekit/livekit.yaml")
    config = written.replace("/config/livekit.keys", str(keys))
    try:
        with two_networks() as (near, _):
            livekit = LiveKitServer(tmp_path, config, ("127.0.0.1", 7880), near.entered)
            try:
                await livekit.start()
            finally:
                await livekit.stop()
    except NoNamespaces as reason:
        pytest.skip(f"no networks can be made here: {reason}")
