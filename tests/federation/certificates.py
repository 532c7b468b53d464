"""A certificate authority for a test run, made with the openssl program."""

import ssl
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """Issues certificates; `certificate` is what those trust who trust it."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS with a certificate for host names and IP addresses."""
        certificate, key = self.issue(*names)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context

    def issue(self, *names: str) -> tuple[Path, Path]:
        """A certificate and its key; the same ones for the same names."""
        stem = "_".join(names).replace(":", "-")
        certificate, key = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        if not certificate.exists():
            alternatives = ",".join(f"{kind_of(name)}:{name}" for name in names)
            openssl("req", "-x509", *KEY, "-subj", "/O=peer", "-days", "2",
                    "-addext", f"subjectAltName={alternatives}",
                    "-addext", "basicConstraints=critical,CA:FALSE",
                    "-CA", self.certificate, "-CAkey", self.directory / "ca.key",
                    "-keyout", key, "-out", certificate)  # fmt: skip
        return certificate, key


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(directory: Path) -> Authority:
    """A new authority."""
    openssl("req", "-x509", *KEY, "-subj", "/CN=Test CA", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", directory / "ca.key", "-out", directory / "ca.crt")  # fmt: skip
    return Authority(directory)


def kind_of(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


def openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
