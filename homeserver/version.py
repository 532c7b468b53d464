"""Which version of hearth this is."""

import importlib.metadata
from functools import cache


@cache
def hearth_version() -> str:
    """The version that is installed, or `(not installed)` where it runs from its source."""
    try:
        return importlib.metadata.version("hearth")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
