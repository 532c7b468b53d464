"""Making images: from the locks to files that can be loaded and run."""

import fcntl
import hashlib
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagebuilder import debian, livekit, recipe
from imagebuilder.apt import Apt
from imagebuilder.architectures import BY_MACHINE, Architecture
from imagebuilder.artifact import Store
from imagebuilder.assemble import (
    Content,
    Ingredients,
    build_contents,
    interpreter_tree,
    unpack_all,
    version_of,
)
from imagebuilder.bundle import build_bundle
from imagebuilder.bytecode import Interpreter, unpack_interpreter
from imagebuilder.layer import build_layer
from imagebuilder.lock import Lock, read_lock, write_lock
from imagebuilder.oci import BuiltImage, Running, build_archive
from imagebuilder.requirements import Requirement, applies, parse
from imagebuilder.sbom import build_sbom
from imagebuilder.sdists import Compiler
from imagebuilder.tree import Tree, matching, merged, read
from imagebuilder.wheels import Index


@dataclass(frozen=True, slots=True)
class Product:
    """An image and everything that comes with it."""

    image: BuiltImage
    tree: Tree
    lock: Lock
    """What of the architecture's lock is in it."""
    modules: tuple[livekit.GoModule, ...] = ()
    """What of it was built by Go."""

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"{self.image.name}-{self.image.version}-{self.image.architecture.name}"

    def write(self, directory: Path) -> None:
        """Write the archive, the bundle and the bill of materials."""
        directory.mkdir(parents=True, exist_ok=True)
        contents = {
            f"{self.stem}.oci.tar": build_archive(self.image),
            f"{self.stem}.bundle.tar.gz": build_bundle(self.image, self.tree),
            f"{self.stem}.cdx.json": build_sbom(self.image, self.lock, self.modules),
        }
        for name, data in contents.items():
            (directory / name).write_bytes(data)


class Workshop:
    """Makes images of the checkout in `sources`; what it fetches is kept in `cache`."""

    def __init__(self, sources: Path, cache: Path) -> None:
        self._sources = sources
        self._cache = cache
        self._store = Store(cache / "files")
        self._apts: dict[str, Apt] = {}

    def renew_lock(self, architecture: Architecture) -> Lock:
        """Lock the newest Debian packages, and the Python packages as requirements.txt has them."""
        packages = self._apt(architecture).newest(recipe.debian_packages(architecture))
        unwanted = recipe.unwanted_wheels(architecture)
        compiled = recipe.compiled_packages(architecture)
        required = self._requirements(architecture)
        index = Index(architecture, self._store)
        lock = Lock(
            tuple(packages),
            tuple(index.choose(one for one in required if one.name not in unwanted)),
            tuple(index.choose((one for one in required if one.name in compiled), source=True)),
        )
        write_lock(lock, architecture)
        return lock

    def newest(self, architecture: Architecture) -> Lock:
        """What is locked, but with the Debian packages that the mirrors have now."""
        with self._alone():
            packages = self._apt(architecture).newest(recipe.debian_packages(architecture))
        return replace(read_lock(architecture), debian=tuple(packages))

    def build(self, architecture: Architecture, names: Iterable[str], lock: Lock) -> list[Product]:
        """The images of an architecture; what they share is made once."""
        contents = self.contents(architecture, lock)
        layers = {name: build_layer(name, content.tree) for name, content in contents.items()}
        products = []
        for wanted in (recipe.IMAGES[name] for name in names):
            kept = [name for name in contents if wanted.has_postgresql or name != "postgresql"]
            image = BuiltImage(
                name=wanted.name,
                version=version_of(self._sources),
                title=wanted.title,
                architecture=architecture,
                running=RUNNING,
                layers=tuple(layers[name] for name in kept),
            )
            products.append(product_of(image, [contents[name] for name in kept], lock))
        return products

    def build_livekit(self, architecture: Architecture, lock: Lock) -> Product:
        """The image of LiveKit, with the authorities' certificates of the lock."""
        used = lock.only({"ca-certificates"})
        with self._alone():
            program = livekit.build_program(architecture, self._cache)
            ingredients = self._fetch(architecture, used)
        certificates = read(unpack_all(ingredients).tree, recipe.CERTIFICATES)
        tree = livekit.build_tree(program.read_bytes(), certificates)
        image = BuiltImage(
            name=livekit.NAME,
            version=livekit.VERSION,
            title="LiveKit, for group calls of hearth",
            architecture=architecture,
            running=livekit.RUNNING,
            layers=(build_layer(livekit.NAME, tree),),
        )
        return Product(image, tree, used, tuple(livekit.modules_of(program)))

    def contents(self, architecture: Architecture, lock: Lock) -> dict[str, Content]:
        """What the layers of the images hold."""
        with self._alone():
            ingredients = self._fetch(architecture, lock)
            interpreter = self._interpreter(lock, architecture)
        return build_contents(ingredients, self._sources, interpreter)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else uses the cache; not to be entered twice."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _fetch(self, architecture: Architecture, lock: Lock) -> Ingredients:
        index = Index(architecture, self._store)
        self._apt(architecture).fetch(lock.debian)
        index.fetch(lock.wheels)
        index.fetch(lock.sdists, source=True)
        return Ingredients(
            architecture,
            {one.name: self._store.read(one) for one in lock.debian},
            {one.name: self._store.read(one) for one in lock.wheels},
            dict(self._compile(architecture, lock)),
        )

    def _compile(self, architecture: Architecture, lock: Lock) -> Iterator[tuple[str, Tree]]:
        """The packages that there are no wheels of."""
        if not lock.sdists:
            return
        (headers,) = (one for one in lock.debian if one.name == recipe.PYTHON_HEADERS)
        tree = matching(debian.unpack(self._store.read(headers)), ("usr/include/*",))
        compiler = Compiler(architecture, tree, self._cache / "compiled")
        for sdist in lock.sdists:
            extensions = recipe.compiled_packages(architecture)[sdist.name]
            yield sdist.name, compiler.build(self._store.read(sdist), extensions)

    def _interpreter(self, lock: Lock, architecture: Architecture) -> Interpreter:
        """The images' Python for this machine, unpacked once for each build of it."""
        here = BY_MACHINE[platform.machine()]
        own = lock if here is architecture else read_lock(here)
        system = own.only(set(recipe.SYSTEM))
        digest = hashlib.sha256(repr(system).encode()).hexdigest()[:16]
        directory = self._cache / f"python-{digest}"
        if not directory.exists():
            tree = interpreter_tree(self._fetch(here, system))
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._cache) as partial:
                unpack_interpreter(tree, here, Path(partial) / "root")
                (Path(partial) / "root").rename(directory)
        return Interpreter(directory, here)

    def _apt(self, architecture: Architecture) -> Apt:
        if architecture.name not in self._apts:
            self._apts[architecture.name] = Apt(architecture, self._cache / "apt", self._store)
        return self._apts[architecture.name]

    def _requirements(self, architecture: Architecture) -> list[Requirement]:
        text = (self._sources / "requirements.txt").read_text()
        return [one for one in parse(text) if applies(one, architecture)]


def product_of(image: BuiltImage, contents: list[Content], lock: Lock) -> Product:
    """The image with what its layers hold."""
    packages = {package for content in contents for package in content.packages}
    tree = merged(*(content.tree for content in contents))
    return Product(image, tree, lock.only(packages))


RUNNING = Running(
    entrypoint=("/usr/bin/hearth",),
    arguments=("run", "--config", "/config/hearth.toml"),
    environment=recipe.ENVIRONMENT,
    user=recipe.UID,
    ports=("8008/tcp", "8448/tcp"),
    data="/data",
    health_command=("/usr/bin/hearth", "health"),
)
