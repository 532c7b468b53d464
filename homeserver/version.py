"""Which version of hearth this is."""

from functools import cache


@cache
def hearth_version() -> str:
    """The version that is installed, or `(not installed)` where it runs from its source."""
    # Loaded by the first who asks: with what it loads in turn it takes 1 MB.
    import importlib.metadata

    try:
        return importlib.metadata.version("hearth")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
