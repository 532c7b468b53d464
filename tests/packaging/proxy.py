"""A real nginx with the configuration of the template, before whatever listens on loopback."""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.certificates import make_certificate
from tests.ports import free_ports
from tests.processes import wait_for_end

DOCKER = Path(__file__).parents[2] / "docker"
TEMPLATE = DOCKER / "nginx" / "nginx.conf.template"
RENDER = DOCKER / "setup" / "render.sh"
HOST = "matrix.example.org"
NGINX_PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running nginx."""

    https: int
    federation: int
    http: int
    directory: Path
    certificate: Path
    pid: int

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://127.0.0.1:{self.https}"

    def tls(self, *protocols: str) -> ssl.SSLContext:
        """A client's side of TLS that trusts it."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def render(values: dict[str, str]) -> str:
    """The template with these values."""
    return subprocess.run(
        ["sh", str(RENDER), str(TEMPLATE)],
        env={"PATH": os.environ["PATH"], **values},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def http2_directive() -> str:
    """Whether this nginx wants HTTP/2 switched on by a directive of its own, "yes" or "no"."""
    assert NGINX_PROGRAM is not None
    said = subprocess.run([NGINX_PROGRAM, "-v"], capture_output=True, text=True, check=True).stderr
    version = tuple(int(part) for part in said.split("/")[1].split()[0].split("."))
    return "yes" if version >= (1, 25, 1) else "no"


def template_values(directory: Path, **changed: str) -> dict[str, str]:
    """What the template wants, for a proxy that keeps its things in `directory`."""
    return {
        "NGINX_OPEN_FILES": "1024",
        "NGINX_RUN": str(directory),
        "NGINX_CONNECTIONS": "256",
        "NGINX_WEBROOT": str(directory / "challenges"),
        "NGINX_HTTP2_DIRECTIVE": http2_directive(),
        "CLIENT_RATE": "1000",
        "CLIENT_BURST": "1000",
        "FEDERATION_RATE": "1000",
        "FEDERATION_BURST": "1000",
        "CONNECTIONS_PER_ADDRESS": "100",
        "HTTPS_SUFFIX": "",
        "SERVER_NAMES": HOST,
        "MAX_BODY_MB": "16",
        "MAX_UPLOAD_BODY_MB": "51",
        "CALLS": "yes",
        "TLS": "yes",
        "ADMIN_API": "yes",
        # Directories of tests are for nobody else.
        "NGINX_USER": "root" if os.geteuid() == 0 else "",
        **changed,
    }


@asynccontextmanager
async def proxied(
    directory: Path,
    hearth: int,
    livekit: int = 1,
    *,
    program: str | Path | None = NGINX_PROGRAM,
    **changed: str,
) -> AsyncIterator[Proxy]:
    """nginx before a hearth and a LiveKit at these ports."""
    assert program is not None
    directory = directory / "nginx"
    (directory / "challenges").mkdir(parents=True)
    made = make_certificate(directory, HOST)
    https, federation, http = free_ports(3)
    values = template_values(
        directory,
        HEARTH_UPSTREAM=f"127.0.0.1:{hearth}",
        LIVEKIT_UPSTREAM=f"127.0.0.1:{livekit}",
        HTTPS_PORT=str(https),
        FEDERATION_PORT=str(federation),
        HTTP_PORT=str(http),
        CERTIFICATE_PATH=str(made.certificate),
        CERTIFICATE_KEY_PATH=str(made.key),
        **changed,
    )
    config = directory / "nginx.conf"
    config.write_text(render(values))
    # In the foreground, so that it ends when we end it.
    process = subprocess.Popen(
        [program, "-e", "stderr", "-p", directory, "-c", config, "-g", "daemon off;"],
        stderr=(directory / "log").open("wb"),
    )
    try:
        await listening(https, process, directory / "log")
        yield Proxy(https, federation, http, directory, made.certificate, process.pid)
    finally:
        process.terminate()
        wait_for_end(process)


async def listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until somebody listens there; nginx has bound all its ports then."""
    while True:
        assert process.poll() is None, log.read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
