"""A bar that shows how far a long command has got, on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


@contextmanager
def progress_bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """What is to be told of each step; nothing is shown where nobody looks."""
    if not sys.stderr.isatty() or length <= 0:
        yield lambda _step: None
        return
    with typer.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
        # The length was an estimate.
        bar.update(max(length - bar.pos, 0))
