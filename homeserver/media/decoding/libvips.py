"""Where libvips is, without loading it: in the package `pyvips-binary`, or in the system."""

import importlib.util
from pathlib import Path

PACKAGE = "_libvips"
"""The package's only module; the library itself lies in a folder beside it."""
FOLDER = "pyvips_binary.libs"
IN_THE_SYSTEM = "libvips.so.42"


def find_libvips() -> str:
    """A path, or the name by which the system's linker knows it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return IN_THE_SYSTEM
    found = sorted((Path(spec.origin).parent / FOLDER).glob("libvips*.so*"))
    return str(found[0]) if found else IN_THE_SYSTEM
