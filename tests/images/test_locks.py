"""What images are made of is what the lock files say, and nothing else."""

import hashlib
import re
from pathlib import Path

import pytest
from imagebuilder import recipe
from imagebuilder.architectures import ALL, ARM64, ARMV7, Architecture
from imagebuilder.artifact import Artifact, Store, WrongContent
from imagebuilder.lock import LOCKS, read_lock
from imagebuilder.requirements import applies, parse

REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
IN_LOCK_FILE = {one.name: one for one in parse(REQUIREMENTS.read_text())}


@pytest.mark.parametrize("architecture", ALL.values(), ids=ALL)
def test_images_have_the_python_packages_of_the_servers_own_lock(
    architecture: Architecture,
) -> None:
    lock = read_lock(architecture)
    for locked in (*lock.wheels, *lock.sdists):
        required = IN_LOCK_FILE[locked.name]
        assert locked.version == required.version, "renew the locks with `make images-lock`"
        assert locked.sha256 in required.hashes


@pytest.mark.parametrize("architecture", ALL.values(), ids=ALL)
def test_no_python_package_is_forgotten(architecture: Architecture) -> None:
    needed = {name for name, one in IN_LOCK_FILE.items() if applies(one, architecture)}
    lock = read_lock(architecture)
    assert {one.name for one in lock.wheels} == needed - recipe.unwanted_wheels(architecture)
    assert {one.name for one in lock.sdists} == recipe.compiled_packages(architecture).keys()


@pytest.mark.parametrize("architecture", ALL.values(), ids=ALL)
def test_debian_packages_are_those_of_the_recipe(architecture: Architecture) -> None:
    names = {one.name for one in read_lock(architecture).debian}
    assert names == set(recipe.debian_packages(architecture))


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.json")), ids=lambda path: path.stem)
def test_locks_have_hashes_and_no_addresses(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert text.count('"name"') == len(re.findall(r'"sha256": "[0-9a-f]{64}"', text))


def test_conditions_of_the_lock_file_are_asked_of_the_machine_that_the_image_is_for() -> None:
    wheel = IN_LOCK_FILE[recipe.WHEEL_WITH_POSTGRESQL]
    assert applies(wheel, ARM64)
    assert not applies(wheel, ARMV7)


def test_a_file_that_was_changed_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.add(b"what was locked")
    artifact = Artifact("package", "1", digest)
    assert store.read(artifact) == b"what was locked"
    (tmp_path / digest).write_bytes(b"something else")
    with pytest.raises(WrongContent, match=hashlib.sha256(b"something else").hexdigest()):
        store.read(artifact)
