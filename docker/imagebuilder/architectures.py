"""The machines that images are made for, and what each is called by whom."""

from dataclasses import dataclass

NEWEST_GLIBC = 36
"""The minor version of the glibc in the images: wheels for it and older ones fit."""
OLDEST_MANYLINUX = 5
LEGACY_MANYLINUX = ("manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One kind of machine."""

    name: str
    """What we and our files call it."""
    debian: str
    triplet: str
    """The folder of its libraries below /usr/lib."""
    loader: str
    """The path of its dynamic linker, as programs name it."""
    machine: str
    """What `platform.machine()` says there, which wheels and requirements go by."""
    oci: str
    variant: str = ""
    elf_machine: int = 0

    @property
    def wheel_platforms(self) -> tuple[str, ...]:
        """The platform tags of wheels that run there, the most special one first."""
        recent = (f"manylinux_2_{minor}" for minor in range(NEWEST_GLIBC, OLDEST_MANYLINUX - 1, -1))
        return tuple(f"{tag}_{self.machine}" for tag in (*recent, *LEGACY_MANYLINUX, "linux"))

    @property
    def platform(self) -> str:
        """As container tools write it."""
        return "/".join(part for part in ("linux", self.oci, self.variant) if part)


AMD64 = Architecture(
    name="amd64",
    debian="amd64",
    triplet="x86_64-linux-gnu",
    loader="/lib64/ld-linux-x86-64.so.2",
    machine="x86_64",
    oci="amd64",
    elf_machine=62,
)
ARM64 = Architecture(
    name="arm64",
    debian="arm64",
    triplet="aarch64-linux-gnu",
    loader="/lib/ld-linux-aarch64.so.1",
    machine="aarch64",
    oci="arm64",
    variant="v8",
    elf_machine=183,
)
ARMV7 = Architecture(
    name="armv7",
    debian="armhf",
    triplet="arm-linux-gnueabihf",
    loader="/lib/ld-linux-armhf.so.3",
    machine="armv7l",
    oci="arm",
    variant="v7",
    elf_machine=40,
)
ALL = {architecture.name: architecture for architecture in (AMD64, ARM64, ARMV7)}
BY_MACHINE = {architecture.machine: architecture for architecture in ALL.values()}
