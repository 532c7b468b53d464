"""The checks of `hearth doctor` that ask the network."""

import json
import ssl
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from homeserver.cli.finding import Finding, State
from homeserver.config.sections.server import Listener
from homeserver.config.settings import Settings

TIMEOUT_S = 6
MAX_BYTES = 65_536
CLOCK_TOLERANCE_S = 30
RENEW_BEFORE_DAYS = 14
NOT_BEFORE = 1_767_225_600
"""2026: a clock before this has never been set, as on a router without a battery."""


def is_local(name: str) -> bool:
    """Whether a server name or host means this machine or network only."""
    host = urlsplit(f"//{name}").hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".lan", ".test"))


def fetch(url: str, settings: Settings, expected_status: int = 200) -> tuple[dict[str, str], bytes]:
    """Headers and the start of the body. Raises `OSError` with a reason for the operator."""
    context = ssl.create_default_context()
    for file in settings.outgoing.extra_ca_files:
        context.load_verify_locations(file)
    request = Request(url, headers={"User-Agent": "hearth doctor"})  # noqa: S310 - http(s) only
    try:
        with urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
            return dict(answer.headers), answer.read(MAX_BYTES)
    except HTTPError as error:
        if error.code == expected_status:
            return dict(error.headers), error.read(MAX_BYTES)
        raise OSError(f"it answers {error.code}") from error
    except URLError as error:
        reason = error.reason
        text = getattr(reason, "verify_message", "") or getattr(reason, "strerror", "") or reason
        raise OSError(str(text)) from error


def check_clock(settings: Settings) -> list[Finding]:
    """Our time is that of other servers, which refuse events and certificates otherwise."""
    subject = "clock"
    if time.time() < NOT_BEFORE:
        message = "The clock has not been set; start an NTP client before the server."
        return [Finding(subject, State.FAIL, message)]
    for server in settings.federation.trusted_key_servers:
        try:
            headers, _ = fetch(f"https://{server}/.well-known/matrix/server", settings)
            theirs = parsedate_to_datetime(headers["Date"]).timestamp()
        except (OSError, KeyError, ValueError):
            continue
        off_s = round(time.time() - theirs)
        if abs(off_s) > CLOCK_TOLERANCE_S:
            message = f"It is {off_s} s off the clock of {server}; start an NTP client."
            return [Finding(subject, State.FAIL, message)]
        return [Finding(subject, State.OK, f"It agrees with that of {server}.")]
    message = "No trusted key server could be asked for the time; make sure that NTP runs."
    return [Finding(subject, State.WARN, message)]


def check_public_url(settings: Settings) -> list[Finding]:
    """Clients find the server where we tell them to."""
    subject, url = "public URL", settings.server.public_baseurl
    host = urlsplit(url).hostname or ""
    try:
        _, body = fetch(f"{url}/_matrix/client/versions", settings)
        versions = json.loads(body)["versions"]
    except OSError as error:
        state = State.WARN if is_local(host) else State.FAIL
        message = f"{url} does not lead to a running server: {error}."
        return [Finding(subject, state, f"{message} Start it, or check the reverse proxy.")]
    except (ValueError, KeyError, TypeError):
        message = f"What answers at {url} is no Matrix server; check the reverse proxy."
        return [Finding(subject, State.FAIL, message)]
    if url.startswith("http://") and not is_local(host):
        message = f"{url} is not encrypted; clients send passwords: use https."
        return [Finding(subject, State.WARN, message)]
    return [Finding(subject, State.OK, f"{url} answers, up to {versions[-1]}.")]


def check_well_known(settings: Settings) -> list[Finding]:
    """The server's name leads clients and other servers here."""
    name = settings.server.name
    if is_local(name):
        message = f"{name} is a local name: other servers cannot reach it, clients need the URL."
        return [Finding("well-known", State.OK, message)]
    return [_check_client_file(settings, name), _check_server_file(settings, name)]


def _check_client_file(settings: Settings, name: str) -> Finding:
    subject, url = "well-known", f"https://{name}/.well-known/matrix/client"
    content = _fetch_object(url, settings)
    if isinstance(content, str):
        message = f"{url} cannot be read: {content}. Serve it there, or clients need the full URL."
        return Finding(subject, State.WARN, message)
    homeserver = content.get("m.homeserver")
    base_url = homeserver.get("base_url") if isinstance(homeserver, dict) else None
    if not isinstance(base_url, str) or base_url.rstrip("/") != settings.server.public_baseurl:
        message = f"{url} says {base_url!r}, server.public_baseurl says otherwise; correct one."
        return Finding(subject, State.FAIL, message)
    return Finding(subject, State.OK, f"{url} leads clients here.")


def _check_server_file(settings: Settings, name: str) -> Finding:
    subject, url = "well-known", f"https://{name}/.well-known/matrix/server"
    if not settings.federation.enabled:
        return Finding(subject, State.OK, "Federation is off: other servers need no file.")
    content = _fetch_object(url, settings)
    target = name if isinstance(content, str) else str(content.get("m.server"))
    host, port = urlsplit(f"//{target}").hostname, urlsplit(f"//{target}").port or 8448
    try:
        fetch(f"https://{host}:{port}/_matrix/federation/v1/version", settings)
    except OSError as error:
        message = (
            f"Other servers look for us at {host} port {port}, where they find nothing: {error}. "
            "Open that port, or set well_known.server to where the server is."
        )
        return Finding("federation", State.FAIL, message)
    return Finding("federation", State.OK, f"Other servers reach us at {host} port {port}.")


def _fetch_object(url: str, settings: Settings) -> dict[str, Any] | str:
    """The JSON object behind a URL, or what is wrong with it."""
    try:
        content = json.loads(fetch(url, settings)[1])
    except OSError as error:
        return str(error)
    except ValueError:
        return "it is not JSON"
    return content if isinstance(content, dict) else "it is not an object"


def check_certificates(settings: Settings) -> list[Finding]:
    """The certificates of our own listeners fit, and last for a while."""
    return list(_check_listeners(settings.listen))


def _check_listeners(listeners: Iterable[Listener]) -> Iterable[Finding]:
    for listener in listeners:
        if listener.tls_certificate is not None and listener.tls_key is not None:
            yield _check_certificate(listener.tls_certificate, listener.tls_key)


def _check_certificate(certificate: Path, key: Path) -> Finding:
    subject = "certificate"
    try:
        details = read_certificate(certificate, key)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", None) or error.reason or str(error)
        message = f"{certificate} cannot be used with {key}: {reason}; renew it."
        return Finding(subject, State.FAIL, message)
    except OSError as error:
        return Finding(
            subject, State.FAIL, f"{error.filename}: {error.strerror}; correct [[listen]]."
        )
    names = ", ".join(str(value) for _, value in details.get("subjectAltName", ()))
    days = int((ssl.cert_time_to_seconds(details["notAfter"]) - time.time()) / 86_400)
    if days < RENEW_BEFORE_DAYS:
        message = f"{certificate} ({names}) ends in {days} days; renew it."
        return Finding(subject, State.WARN, message)
    return Finding(subject, State.OK, f"{certificate} is for {names}, for {days} more days.")


def read_certificate(certificate: Path, key: Path) -> dict[str, Any]:
    """What a certificate says, found out by showing it to ourselves in memory.

    Raises `ssl.SSLError` if it does not fit its key or is not valid now, `OSError` if a file
    cannot be read.
    """
    for file in (certificate, key):
        file.open("rb").close()  # a missing file has no name in what ssl raises
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate, key)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    # Whoever signed it: only the certificate itself is of interest.
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return dict(client.getpeercert() or {})
