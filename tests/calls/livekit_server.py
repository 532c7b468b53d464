"""A real LiveKit server as a process."""

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

KEY, SECRET = "hearth", secrets.token_hex(24)
STARTED_WITHIN_S = 60

CONFIG = """
port: {port}
rtc:
  udp_port: {udp_port}
  tcp_port: {tcp_port}
  use_external_ip: false
  node_ip: {address}
  enable_loopback_candidate: {is_loopback}
  stun_servers: ["{address}:3478"]
room:
  auto_create: false
keys:
  {key}: {secret}
webhook:
  api_key: {key}
  urls: ["{service_url}/sfu_webhook"]
logging:
  level: info
"""


def livekit_config(address: str, port: int, service_url: str) -> str:
    """The configuration of a server at an address, which uses the two ports after its own too."""
    return CONFIG.format(
        address=address,
        port=port,
        tcp_port=port + 1,
        udp_port=port + 2,
        is_loopback=str(address.startswith("127.")).lower(),
        key=KEY,
        secret=SECRET,
        service_url=service_url,
    )


class LiveKitServer:
    """LiveKit, as a program that can be stopped and started; `entered` leads into its network."""

    def __init__(
        self,
        directory: Path,
        config: str,
        listens_at: tuple[str, int],
        entered: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._entered = entered
        self._listens_at = listens_at
        self._config = directory / "livekit.yaml"
        self._config.write_text(config)
        self._log = directory / "livekit.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process, which runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [os.environ["LIVEKIT_SERVER"], "--config", str(self._config)]
        with self._log.open("ab") as log, self._entered():
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        async with asyncio.timeout(STARTED_WITHIN_S):
            while not await self._listens():
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        with self._entered():
            probe = socket.socket()
        with probe:
            probe.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(probe, self._listens_at)
            except OSError:
                return False
        return True

    async def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None
