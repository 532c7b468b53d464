"""What we depend on is pinned by hash, explained, and does not take our packages' names."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
TEST = PROJECT["optional-dependencies"]["test"]
LOCKS = ("requirements.txt", "requirements-test.txt")
LOCKS_OF_OTHERS = ("requirements-interop.txt", "requirements-s3.txt", "requirements-calls.txt")
"""What programs of others need, each in an environment of its own; none need agree with ours."""
OURS = {"homeserver", "federation", "storage", "migrations"}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pinned(lock: str) -> dict[str, str]:
    """Version by name."""
    text = (ROOT / lock).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("requirement", [*RUNTIME, *TEST])
def test_every_dependency_is_explained(requirement: str) -> None:
    assert f"`{name_of(requirement)}`" in (ROOT / "docs/dependencies.md").read_text()


def test_the_locks_hold_what_the_project_names() -> None:
    assert {name_of(requirement) for requirement in RUNTIME} <= pinned(LOCKS[0]).keys()
    assert {name_of(requirement) for requirement in [*RUNTIME, *TEST]} <= pinned(LOCKS[1]).keys()


def test_the_locks_agree() -> None:
    runtime, everything = (pinned(lock) for lock in LOCKS)
    assert {n: v for n, v in everything.items() if n in runtime} == {
        n: v for n, v in runtime.items() if n in everything
    }


@pytest.mark.parametrize("lock", [*LOCKS, *LOCKS_OF_OTHERS])
def test_the_locks_pin_by_hash_and_name_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|--index-url|--find-links|--trusted-host", text)


def test_no_other_package_takes_our_names() -> None:
    for name, distributions in importlib.metadata.packages_distributions().items():
        assert name not in OURS or distributions == ["hearth"]
