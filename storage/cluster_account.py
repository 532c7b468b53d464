"""The user that the private PostgreSQL runs as, and what that user can reach.

PostgreSQL refuses to run as root. A server started as root runs it as an unprivileged user,
which owns its directory and may be unable to pass the directories above (mode 0700 on /root, or on
a temporary directory). PostgreSQL is therefore given its directory as an open descriptor,
`/proc/self/fd/N`, which every process that it forks inherits.
"""

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.cluster_errors import ClusterError
from storage.postgres_binaries import Binaries, stage

UNPRIVILEGED = ("hearth", "postgres", "nobody")
STAGE_DIR = Path("/var/cache/hearth")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that PostgreSQL runs as."""

    uid: int
    gid: int
    name: str


def find_account(run_as: str, owner: int | None, pgdata: Path) -> Account:
    """Who runs PostgreSQL: ourselves, or the owner of the data, or an unprivileged user.

    `owner` is the user id that the data belong to, None before there are any, and `run_as` names
    the unprivileged user, if the operator has chosen one. Raises `ClusterError`.
    """
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise ClusterError(
                f"{pgdata} belongs to user {_user_name(owner)}; start hearth as that "
                "user or as root."
            )
        return Account(os.geteuid(), os.getegid(), _user_name(os.geteuid()))
    if owner:
        entry = _password_entry(owner)
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    return _unprivileged_account(run_as)


@contextlib.contextmanager
def as_argument(pgdata: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The directory as PostgreSQL can open it, and the descriptors to pass on for that."""
    if can_reach(pgdata, account):
        yield str(pgdata), ()
        return
    descriptor = os.open(pgdata, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


def as_user(account: Account) -> dict[str, Any]:
    """What `subprocess` is told so that a program runs as the account; only root may say so."""
    if os.geteuid() != 0:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _unprivileged_account(run_as: str) -> Account:
    for name in [run_as] if run_as else UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise ClusterError("database.run_as must not be root: PostgreSQL refuses that.")
        return Account(entry.pw_uid, entry.pw_gid, name)
    wanted = repr(run_as) if run_as else " or ".join(UNPRIVILEGED)
    raise ClusterError(
        f"PostgreSQL does not run as root, and there is no user {wanted}; make one with "
        "`useradd --system hearth`."
    )


def _password_entry(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise ClusterError(
            f"The database belongs to user id {uid}, which has no entry in /etc/passwd; "
            "PostgreSQL needs one."
        ) from None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def can_reach(path: Path, account: Account) -> bool:
    """Whether `account` may pass every directory above `path`."""
    return all(_may_pass(parent, account) for parent in path.resolve().parents)


def _may_pass(directory: Path, account: Account) -> bool:
    status = directory.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """The installation itself, or a copy where `account` can run it."""
    if os.geteuid() != 0 or can_reach(binaries.bin_dir / "postgres", account):
        return binaries
    if binaries.library_dir is None:
        raise ClusterError(
            f"User {account.name}, which runs PostgreSQL, cannot reach {binaries.bin_dir}: a "
            "directory above it is closed; open it or name another in database.binaries."
        )
    try:
        STAGE_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        return stage(binaries, STAGE_DIR)
    except OSError as error:
        raise ClusterError(
            f"User {account.name} cannot reach {binaries.bin_dir}, and a copy in {STAGE_DIR} "
            f"failed: {error}."
        ) from error
