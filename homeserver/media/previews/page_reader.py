"""What is on a page, as a process of its own reads it (`decoding/pages.py`)."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeserver.media.decoding.limits import Limits
from homeserver.media.decoding.workers import Crew, Workers, WorkFailed

JOBS = "homeserver.media.decoding.pages"
PARSER = "selectolax"
LIMITS = Limits(memory_bytes=128 * 1_048_576, seconds=5, file_bytes=0)
AT_A_TIME = 2
MAX_WAITING = 64
IDLE_S = 30.0
MAX_VALUE = 2000


@dataclass(frozen=True, slots=True)
class Page:
    """What a preview can be made of; properties by name, the first one of each counts."""

    properties: Mapping[str, str]
    title: str | None = None
    heading: str | None = None
    text: str | None = None
    image: str | None = None
    base: str | None = None
    oembed: str | None = None


EMPTY = Page({})


class PageReader:
    """Reads pages."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def read(self, page: bytes, charset: str | None) -> Page:
        """What is on a page; nothing where it cannot be read."""
        file = os.memfd_create("page")
        os.write(file, page)
        try:
            facts = await self._workers.run("read_page", {"charset": charset}, [file])
        except WorkFailed:
            return EMPTY
        return page_of(facts)

    async def close(self) -> None:
        """End the processes."""
        await self._workers.close()


def page_of(facts: Mapping[str, Any]) -> Page:
    """The facts, as far as they are what they should be: a hostile page may have made them up."""
    properties: dict[str, str] = {}
    for name, value in facts.get("properties", ()):
        if isinstance(name, str) and isinstance(value, str):
            properties.setdefault(name, value)
    texts = {name: facts.get(name) for name in Page.__slots__ if name != "properties"}
    return Page(properties, **{name: text_or_none(value) for name, value in texts.items()})


def text_or_none(value: object) -> str | None:
    """The value if it is text."""
    return value[:MAX_VALUE] if isinstance(value, str) else None


def build_page_reader() -> PageReader:
    """A reader; nothing is started before the first page."""
    spec = importlib.util.find_spec(PARSER)
    packages = str(Path(spec.origin).parents[1]) if spec and spec.origin else ""
    return PageReader(
        Workers(
            Crew(
                module=JOBS,
                arguments=(packages,),
                limits=LIMITS,
                at_a_time=AT_A_TIME,
                max_waiting=MAX_WAITING,
                idle_s=IDLE_S,
            )
        )
    )
