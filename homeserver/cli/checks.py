"""What `hearth doctor` looks at: one function for each thing that a server stands on."""

import asyncio
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from federation.protocol.identifiers import ServerName
from homeserver.appservices.registrations import (
    RegistrationError,
    find_risks,
    load_registrations,
)
from homeserver.cli.call_checks import check_calls
from homeserver.cli.database import database_of
from homeserver.cli.finding import Finding, State
from homeserver.cli.media_checks import check_media
from homeserver.cli.network_checks import (
    check_certificates,
    check_clock,
    check_public_url,
    check_well_known,
)
from homeserver.cli.upgrade_checks import pending_migrations
from homeserver.config.keys import KeyFileError, load_signing_keys
from homeserver.config.sections.server import Listener
from homeserver.config.settings import Settings
from migrations.apply import MigrationError
from storage.backups import find_last_backup
from storage.cluster_errors import ClusterError
from storage.postgres_binaries import OLDEST_MAJOR, BinariesNotFound

__all__ = ["Finding", "State", "check_everything"]

LITTLE_SPACE_MB = 1_000
OLD_BACKUP_DAYS = 7
NO_SPACE_MB = 100


async def check_everything(settings: Settings, path: Path) -> list[Finding]:
    """All findings, in the order in which they are best mended."""
    found = [Finding("configuration", State.OK, f"{path} is valid.")]
    try:
        found += check_permissions(settings, path)
    except PermissionError as error:
        # Nearly all else is about what is in the same place.
        return [*found, Finding("permissions", State.FAIL, describe_closed(error))]
    found += check_appservices(settings)
    found.append(check_disk(settings.server.data_dir))
    found += await check_database(settings)
    found += check_ports(settings.listen)
    found += await check_mail(settings)
    found.append(await check_pictures(settings))
    found += await check_calls(settings)
    over_the_network = [
        asyncio.to_thread(check_clock, settings),
        asyncio.to_thread(check_dns, settings),
        asyncio.to_thread(check_certificates, settings),
        asyncio.to_thread(check_public_url, settings),
        asyncio.to_thread(check_well_known, settings),
    ]
    for findings in await asyncio.gather(*over_the_network):
        found += findings
    return found


def check_permissions(settings: Settings, path: Path) -> Iterator[Finding]:
    """Secrets are for the server alone, and it can write where it must.

    Raises `PermissionError` for who may not even look.
    """
    subject = "permissions"
    data_dir = settings.server.data_dir
    if not data_dir.exists():
        yield Finding(subject, State.OK, f"{data_dir} will be made on the first run.")
    elif not os.access(data_dir, os.W_OK | os.X_OK):
        yield Finding(
            subject, State.FAIL, f"{data_dir} cannot be written; give it to the server's user."
        )
    else:
        yield Finding(subject, State.OK, f"{data_dir} can be written.")
    if _is_open_to_others(path) and _has_secrets(settings):
        yield Finding(
            subject,
            State.WARN,
            f"{path} holds secrets and others can read it; run `chmod 600 {path}`.",
        )
    yield from _check_signing_key(settings.server.signing_key_path)


def describe_closed(error: PermissionError) -> str:
    """Whom somebody has to be to look at what they may not."""
    return f"You may not look at {error.filename}; run this as the server's user, or as root."


def check_appservices(settings: Settings) -> Iterator[Finding]:
    """Registrations can be used, are for the server alone, and reserve no more than they need."""
    subject, name = "appservices", ServerName(settings.server.name)
    try:
        services = load_registrations(settings.appservices.files, name)
    except RegistrationError as error:
        yield from (Finding(subject, State.FAIL, problem) for problem in error.problems)
        return
    if services:
        ids = ", ".join(service.service_id for service in services)
        yield Finding(subject, State.OK, f"The registrations can be used: {ids}.")
    for file in settings.appservices.files:
        if file.stat().st_mode & stat.S_IROTH:
            hint = f"{file} holds tokens and others can read it; run `chmod o-r {file}`."
            yield Finding(subject, State.WARN, hint)
    for risk in find_risks(services, name):
        yield Finding(subject, State.WARN, risk)


def _check_signing_key(path: Path) -> Iterator[Finding]:
    subject = "signing key"
    if not path.exists():
        yield Finding(subject, State.OK, f"{path} will be made on the first run.")
        return
    try:
        key = load_signing_keys(path)[0]
    except KeyFileError as error:
        yield Finding(subject, State.FAIL, f"{error} Restore it from a backup.")
        return
    if _is_open_to_others(path):
        yield Finding(subject, State.FAIL, f"Others can read {path}; run `chmod 600 {path}`.")
        return
    yield Finding(subject, State.OK, f"{path} holds {key.key_id}; keep a copy of it elsewhere.")


def _is_open_to_others(path: Path) -> bool:
    status = path.stat()
    # Where the file is root's, its group is how the server reads it; where it is the server's own,
    # whoever reads it by the group is somebody else.
    others = stat.S_IRGRP | stat.S_IROTH if status.st_uid == os.geteuid() else stat.S_IROTH
    return bool(status.st_mode & others)


def _has_secrets(settings: Settings) -> bool:
    return any(
        [
            settings.registration.shared_secret,
            settings.auth.pepper,
            settings.turn.shared_secret,
            settings.turn.password,
            settings.calls.api_secret and not settings.calls.api_secret_file,
            settings.mail.password,
            urlsplit(settings.database.url).password,
        ]
    )


def check_disk(data_dir: Path) -> Finding:
    """There is room for what people send."""
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free_mb = shutil.disk_usage(existing).free // 2**20
    message = f"{free_mb} MB are free where {data_dir} is"
    if free_mb < NO_SPACE_MB:
        return Finding("disk", State.FAIL, f"{message}; PostgreSQL is about to stop: make room.")
    if free_mb < LITTLE_SPACE_MB:
        return Finding("disk", State.WARN, f"{message}; make room or move server.data_dir.")
    return Finding("disk", State.OK, f"{message}.")


async def check_database(settings: Settings) -> list[Finding]:
    """The database answers, has a known shape, was backed up of late, and media are there."""
    subject = "database"
    try:
        async with database_of(settings) as dsn:
            connection = await asyncpg.connect(dsn, timeout=10)
            try:
                return [
                    await _check_connection(connection),
                    await check_media(settings, connection),
                    *await _check_backup(connection),
                ]
            finally:
                await connection.close()
    except (ClusterError, BinariesNotFound) as error:
        return [Finding(subject, State.FAIL, str(error))]
    except MigrationError as error:
        return [Finding(subject, State.FAIL, f"{error}.")]
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        message = f"{error or 'no answer'}; check database.url and the server there."
        return [Finding(subject, State.FAIL, message)]


async def _check_backup(connection: asyncpg.Connection) -> list[Finding]:
    """The last backup is not old; nothing is said of a server that nobody uses yet."""
    last = await find_last_backup(connection)
    if last is not None:
        days = (time.time() - last.finished_ts / 1000) / 86_400
        state = State.WARN if days > OLD_BACKUP_DAYS else State.OK
        cure = "; make one with `hearth backup`" if state is State.WARN else ""
        return [Finding("backup", state, f"The last one is {days:.1f} days old{cure}.")]
    if await connection.fetchval("SELECT to_regclass('accounts')") is None:
        return []
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM accounts)"):
        return []
    return [Finding("backup", State.WARN, "There never was one; make one with `hearth backup`.")]


async def _check_connection(connection: asyncpg.Connection) -> Finding:
    subject = "database"
    version = connection.get_server_version()
    if version.major < OLDEST_MAJOR:
        message = f"PostgreSQL {version.major} is too old; {OLDEST_MAJOR} is the oldest."
        return Finding(subject, State.FAIL, message)
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        message = f"Its encoding is {encoding}; make a database with ENCODING 'UTF8'."
        return Finding(subject, State.FAIL, message)
    pending = len(await pending_migrations(connection))
    shape = f"{pending} changes of its shape come with the next start" if pending else "up to date"
    return Finding(subject, State.OK, f"PostgreSQL {version.major} answers, {shape}.")


async def check_mail(settings: Settings) -> list[Finding]:
    """The mail server, if there is one, takes our connection and login."""
    from homeserver.mail.mailer import MailNotSent, build_mailer

    mailer = build_mailer(settings)
    if not mailer.is_configured:
        return [Finding("mail", State.OK, "No mail server is configured; no mail is sent.")]
    try:
        await mailer.check()
    except MailNotSent as error:
        message = f"{error.reason}; check the section [mail] and the server there."
        return [Finding("mail", State.FAIL, message)]
    return [Finding("mail", State.OK, f"{settings.mail.host} takes mail of this server.")]


async def check_pictures(settings: Settings) -> Finding:
    """Pictures can be decoded, by a process that can do nothing else."""
    from homeserver.media.thumbnails import NoThumbnail, build_thumbnailer

    subject, thumbnailer = "pictures", build_thumbnailer(settings.media)
    try:
        is_confined = await thumbnailer.try_out()
    except NoThumbnail:
        message = "There are no thumbnails: libvips cannot be loaded; install pyvips-binary."
        return Finding(subject, State.WARN, message)
    finally:
        await thumbnailer.close()
    if not is_confined:
        message = "They are decoded, but this kernel cannot filter system calls (seccomp)."
        return Finding(subject, State.WARN, message)
    return Finding(subject, State.OK, "They are decoded by a process that can do nothing else.")


def check_ports(listeners: Iterable[Listener]) -> Iterator[Finding]:
    """Each address is free for the server, or the server has it."""
    for listener in listeners:
        yield _check_port(listener)


def _check_port(listener: Listener) -> Finding:
    subject, where = "port", f"{listener.address} port {listener.port}"
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address, listener.port))
        except PermissionError:
            message = f"{where} is for root only; use a port from 1024 on behind a reverse proxy."
            return Finding(subject, State.FAIL, message)
        except OSError as error:
            if not _is_answered(listener, family):
                message = f"{where} cannot be used: {error.strerror}; correct [[listen]]."
                return Finding(subject, State.FAIL, message)
            message = f"{where} is in use; that is right if the server runs."
            return Finding(subject, State.OK, message)
    return Finding(subject, State.OK, f"{where} is free.")


def _is_answered(listener: Listener, family: socket.AddressFamily) -> bool:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        address = anywhere.get(listener.address, listener.address)
        return probe.connect_ex((address, listener.port)) == 0


def check_dns(settings: Settings) -> list[Finding]:
    """The names that others know us by lead somewhere."""
    hosts = [urlsplit(f"//{settings.server.name}").hostname]
    hosts.append(urlsplit(settings.server.public_baseurl).hostname)
    return [_check_host(host) for host in dict.fromkeys(hosts) if host and not _is_address(host)]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _check_host(host: str) -> Finding:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        message = f"{host} has no address; add an A or AAAA record for it."
        return Finding("DNS", State.FAIL, message)
    return Finding("DNS", State.OK, f"{host} is {', '.join(sorted(map(str, found)))}.")
