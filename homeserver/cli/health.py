"""`hearth health`: ask the server on this machine whether it works, as containers do all the time.

It takes nothing but a socket, so that asking costs little: neither the settings' tools nor aiohttp
are loaded. What stands in the way is said in one line.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMAND = "health"
FILE_OPTION = "--config"
DEFAULT_FILES = (Path("hearth.toml"), Path("/etc/hearth/hearth.toml"))
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 4096
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is configured, not bound
OK = 200


class Unhealthy(Exception):
    """The server does not work, or cannot be asked; the message says why."""


def is_plain(arguments: Sequence[str]) -> bool:
    """Whether the command line is one that `run` takes, without the tools of the others."""
    return arguments[:1] == [COMMAND] and (
        len(arguments) == 1 or (len(arguments) == 3 and arguments[1] == FILE_OPTION)
    )


def run(arguments: Sequence[str]) -> int:
    """Ask the server; the status to end with: 0 if it works."""
    given = Path(arguments[2]) if len(arguments) == 3 else None
    try:
        ask(listener_to_ask(given))
    except (Unhealthy, OSError, ValueError) as error:
        sys.stderr.write(f"hearth: {error}\n")
        return 1
    sys.stdout.write("ok\n")
    return 0


def listener_to_ask(given: Path | None) -> Mapping[str, Any]:
    """The listener for clients that is the least trouble to ask: one without TLS, if there is one.

    Raises `Unhealthy`.
    """
    found = [
        listener
        for listener in configured_listeners(given)
        if "client" in listener.get("serves", ["client"])
    ]
    if not found:
        raise Unhealthy("No listener serves clients.")
    return next((one for one in found if not one.get("tls_certificate")), found[0])


def configured_listeners(given: Path | None) -> Sequence[Mapping[str, Any]]:
    """The listeners in the environment or else the file, as `homeserver.config.load` reads them."""
    if in_environment := os.environ.get("HEARTH_LISTEN"):
        import json

        return json.loads(in_environment)  # type: ignore[no-any-return]
    import tomllib

    named = given or (Path(os.environ["HEARTH_CONFIG"]) if "HEARTH_CONFIG" in os.environ else None)
    path = named or next((path for path in DEFAULT_FILES if path.is_file()), None)
    if path is None:
        raise Unhealthy("There is no configuration.")
    return tomllib.loads(path.read_text()).get("listen") or [{}]


def ask(listener: Mapping[str, Any]) -> None:
    """Ask the server behind a listener. Raises `Unhealthy`, or `OSError` if nothing answers."""
    address = listener.get("address", "127.0.0.1")
    place = (EVERYWHERE.get(address, address), listener.get("port", 8008))
    with socket.create_connection(place, TIMEOUT_S) as connection:
        if listener.get("tls_certificate"):
            import ssl

            # It is this machine that is asked, by an address that no certificate is for.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(connection) as encrypted:
                answer = exchange(encrypted)
        else:
            answer = exchange(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].split(b" ")
    if len(status) < 2 or not status[1].isdigit():
        raise Unhealthy("What answers is not a web server.")
    if int(status[1]) != OK:
        raise Unhealthy(f"The server is failing: {body.decode(errors='replace')}")


def exchange(connection: socket.socket) -> bytes:
    """Send the request; what is answered."""
    connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = b""
    while len(answer) < MAX_ANSWER_BYTES and (chunk := connection.recv(MAX_ANSWER_BYTES)):
        answer += chunk
    return answer
