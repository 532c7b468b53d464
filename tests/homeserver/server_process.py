"""A server as operators run it: `hearth run` in a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from tests.patience import PATIENCE_S
from tests.ports import free_port
from tests.processes import wait_for_end

ROOT = Path(__file__).parents[2]

CONFIG = """\
[server]
name = "test"
public_baseurl = "{base_url}"
data_dir = "data"

[[listen]]
port = {port}

[database]
url = {database_url}

[registration]
enabled = true
token_required = false

[auth]
bcrypt_rounds = 4

[limits]
enabled = false

[log]
level = "warning"
"""


class ServerProcess:
    """One server process, started and ended at will; data and configuration in `directory`.

    Several may share a directory: they are then processes of the same server.
    """

    def __init__(self, directory: Path, database_url: str = "", more_config: str = "") -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._data = directory / "data"
        self.config = directory / f"hearth-{self.port}.toml"
        self.log = directory / f"hearth-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        text = CONFIG.format(
            base_url=self.base_url, port=self.port, database_url=json.dumps(database_url)
        )
        self.config.write_text(text + more_config)

    @property
    def pid(self) -> int:
        """The number of the process, which runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-P", "-m", "homeserver", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE_S):
            while not await self._answers(session):
                assert self._process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.base_url}/_matrix/client/versions") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def kill(self) -> None:
        """SIGKILL the server, and nothing else."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    def kill_postgres(self) -> None:
        """SIGKILL the postmaster of the private cluster."""
        os.kill(self._postmaster(), signal.SIGKILL)

    async def stop(self) -> None:
        """End it as an operator does; what a killed server has left behind ends too."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(wait_for_end, self._process)
        elif (self._data / "postgres" / "data" / "postmaster.pid").exists():
            os.kill(self._postmaster(), signal.SIGINT)

    def _postmaster(self) -> int:
        pid_file = self._data / "postgres" / "data" / "postmaster.pid"
        return int(pid_file.read_text().split("\n")[0])
