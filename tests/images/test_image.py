"""The image for this machine, built and run as on a router: read-only, unprivileged, by crun."""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from imagebuilder.apt import PackageMissing
from imagebuilder.architectures import BY_MACHINE
from imagebuilder.container import CannotRun, Container, check_can_run
from imagebuilder.conversation import talk
from imagebuilder.figures import check_talk
from imagebuilder.layer import sha256, write_tar
from imagebuilder.lock import read_lock
from imagebuilder.recipe import UID
from imagebuilder.workshop import Product, Workshop

SOURCES = Path(__file__).parents[2]
HERE = BY_MACHINE.get(platform.machine())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HERE is None, reason="there is no image for this machine"),
]


@pytest.fixture(scope="module")
def products() -> dict[str, Product]:
    """The images of what is in this checkout."""
    assert HERE is not None
    if not Path("/usr/bin/apt-get").exists():
        pytest.skip("images are made of Debian's packages, and there is no apt-get")
    workshop = Workshop(SOURCES, SOURCES / "docker" / ".cache")
    try:
        built = workshop.build(HERE, ["hearth", "hearth-lean"], read_lock(HERE))
    except PackageMissing:
        # Mirrors forget what has been replaced by a security update; what is there now must do.
        built = workshop.build(HERE, ["hearth", "hearth-lean"], workshop.newest(HERE))
    return {product.image.name: product for product in built}


@pytest.fixture(scope="module")
def container(
    products: dict[str, Product], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """The complete image, running."""
    assert HERE is not None
    try:
        check_can_run(HERE)
    except CannotRun as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("image")
    for parent in (directory, *directory.parents[:2]):
        parent.chmod(0o755)
    with Container(products["hearth"], directory / "container") as running:
        yield running


def test_two_users_talk_and_pictures_are_made_smaller(container: Container) -> None:
    check_talk(talk(container.url))


def test_it_says_that_it_is_well(container: Container) -> None:
    assert container.run("/usr/bin/hearth", "health") == "ok\n"


def test_commands_find_the_configuration_and_the_database(container: Container) -> None:
    assert container.run("/usr/bin/hearth", "psql", "-At", "-c", "SELECT 6 * 7") == "42\n"
    assert "is valid" in container.run("/usr/bin/hearth", "config", "check")
    assert "Run the server" in container.run("/usr/bin/hearth", "--help")


def test_everything_can_be_imported(container: Container) -> None:
    program = (
        "import importlib, pkgutil\n"
        "import aiosmtplib, dns.resolver, obstore, prometheus_client, selectolax.lexbor, yaml\n"
        "for name in ('federation', 'homeserver', 'migrations', 'storage'):\n"
        "    package = importlib.import_module(name)\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'{name}.'):\n"
        "        if not module.name.endswith('.__main__'): importlib.import_module(module.name)\n"
        "print('done')\n"
    )
    assert container.run("/usr/bin/python3", "-c", program) == "done\n"


def test_no_process_has_a_privilege(container: Container) -> None:
    processes = container.processes()
    assert len(processes) > 3
    for pid in processes:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert set(status["Uid"].split()) == {str(UID)}
        assert status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}


def test_nothing_but_the_data_can_be_written(container: Container) -> None:
    program = (
        "import os\n"
        "for place in ('/', '/usr/bin', '/config', '/etc', '/var'):\n"
        "    try: open(f'{place}/new', 'w'); print('written:', place)\n"
        "    except OSError: pass\n"
        "open('/data/new', 'w').close(); os.remove('/data/new'); print('done')\n"
    )
    assert container.run("/usr/bin/python3", "-c", program) == "done\n"


def test_it_stops_when_asked_and_starts_with_what_it_kept(container: Container) -> None:
    container.stop()
    assert json.loads(container.log.read_text().splitlines()[-1])["event"] == "stopping"
    assert not (container.data / "postgres" / "data" / "postmaster.pid").exists()
    container.start()
    assert "@alice:image.test" in container.run("/usr/bin/hearth", "user", "list")


def test_there_are_no_tools_in_it(products: dict[str, Product]) -> None:
    for product in products.values():
        programs = [path for path in product.tree if path.startswith(("usr/bin/", "usr/sbin/"))]
        assert sorted(programs) == [
            "usr/bin/hearth",
            "usr/bin/python3",
            "usr/bin/python3.11",
            "usr/bin/sh",
        ]
        assert not [path for path in product.tree if "/pip/" in path or "/ensurepip/" in path]


def test_the_same_checkout_makes_the_same_image(products: dict[str, Product]) -> None:
    assert HERE is not None
    first = products["hearth"]
    lock = read_lock(HERE)
    workshop = Workshop(SOURCES, SOURCES / "docker" / ".cache")
    try:
        contents = workshop.contents(HERE, lock)
    except PackageMissing:
        contents = workshop.contents(HERE, workshop.newest(HERE))
    diff_ids = [sha256(write_tar(content.tree)) for content in contents.values()]
    assert diff_ids == [layer.diff_id for layer in first.image.layers]


def test_only_the_complete_image_has_postgresql(products: dict[str, Product]) -> None:
    programs = {
        name: {os.path.basename(path) for path in one.tree} for name, one in products.items()
    }
    assert {"postgres", "initdb", "psql", "pg_dump"} <= programs["hearth"]
    assert not {"postgres", "initdb"} & programs["hearth-lean"]


def test_the_notices_of_all_that_is_in_it_are_in_it(products: dict[str, Product]) -> None:
    product = products["hearth"]
    documents = {path for path in product.tree if path.startswith("usr/share/doc/")}
    for package in product.lock.debian:
        assert {f"usr/share/doc/{package.name}", f"usr/share/doc/{package.name}/copyright"} & (
            documents
        ), package.name
