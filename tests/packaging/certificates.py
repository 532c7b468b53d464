"""Certificates for tests, made by openssl."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CONFIG = """\
[ca]
default_ca = own
[own]
new_certs_dir = {directory}
database = {directory}/index
serial = {directory}/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and its key."""

    certificate: Path
    key: Path


def make_certificate(
    directory: Path, *names: str, begins_days: int = -1, ends_days: int = 90
) -> Made:
    """A self-signed certificate for these names, with dates counted from today."""
    key, request, certificate = (directory / f"made.{kind}" for kind in ("key", "csr", "crt"))
    alternatives = ",".join(f"DNS:{name}" for name in names)
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    subject = ["-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}"]
    openssl("req", "-new", "-key", key, "-out", request, *subject)
    config = directory / "ca.cnf"
    config.write_text(CONFIG.format(directory=directory))
    (directory / "index").write_text("")
    (directory / "serial").write_text("01\n")
    begin, end = (stamp(days) for days in (begins_days, ends_days))
    dates = ["-startdate", begin, "-enddate", end]
    signing = ["-selfsign", "-keyfile", str(key), "-in", str(request), "-out", str(certificate)]
    openssl("ca", "-batch", "-config", config, *signing, "-notext", *dates)
    return Made(certificate, key)


def stamp(days: int) -> str:
    """A day from today, as openssl writes it."""
    return f"{datetime.now(UTC) + timedelta(days=days):%Y%m%d%H%M%S}Z"


def openssl(*arguments: str | Path) -> None:
    """Run it, quietly."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
