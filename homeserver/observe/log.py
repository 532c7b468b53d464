"""Logging: every logger of ours and of the libraries ends in one handler on standard error.

Modules log through the standard library; structlog renders, with the id of the request that the
line belongs to. A terminal gets lines for people, everything else one JSON object a line.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import orjson

from homeserver.config.sections.server import Log
from homeserver.http.request_id import CURRENT_REQUEST_ID

GATE_S = 60.0
MOST_OF_A_KIND = 60
"""Lines from one place in the code in a minute."""
MAX_KINDS = 2_000
QUIET = ("asyncio", "aiohttp.access")
"""Loggers that say at lower levels what we say better, or nobody needs."""


def configure_logging(settings: Log, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error by default) as the settings say."""
    stream = sys.stderr if stream is None else stream
    is_human = settings.format == "human" or (settings.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.addFilter(FloodGate(time.monotonic))
    handler.setFormatter(_human_formatter(stream) if is_human else _json_formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A log that cannot be written must not end the request that it tells of.
    logging.raiseExceptions = False


class FloodGate(logging.Filter):
    """Lets so many lines of one kind through in a minute, and tells how many it held back.

    Other servers decide how often some things happen that are worth a line; they must not be able
    to fill the disk, or to bury what else happens. A kind is what a line of our code says; there
    are as many as the code has. What stops the server from working is never held back.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s
        self._seen: dict[tuple[str, str], Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.INFO or record.levelno >= logging.CRITICAL:
            return True
        now_s = self._now_s()
        kind = (record.name, str(record.msg))
        seen = self._seen.get(kind)
        if seen is None or now_s >= seen.until_s:
            if len(self._seen) >= MAX_KINDS:
                self._seen.clear()
            self._seen[kind] = Seen(now_s + GATE_S)
            if seen is not None and seen.held_back:
                text = f"{record.getMessage()} ({seen.held_back} more like it were not logged)"
                record.msg, record.args = text, ()
            return True
        seen.count += 1
        if seen.count <= MOST_OF_A_KIND:
            return True
        seen.held_back += 1
        return False


class Seen:
    """How often a kind of line was logged in the minute that ends at `until_s`."""

    __slots__ = ("count", "held_back", "until_s")

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.count = 1
        self.held_back = 0


def _human_formatter(stream: TextIO) -> logging.Formatter:
    with _without_rich():
        from structlog.dev import ConsoleRenderer, plain_traceback
        from structlog.processors import TimeStamper
    return _formatter(
        TimeStamper(fmt="%H:%M:%S", utc=False),
        ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=plain_traceback, pad_event_to=0
        ),
    )


def _json_formatter() -> logging.Formatter:
    with _without_rich():
        from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
    return _formatter(
        TimeStamper(fmt="iso", utc=True), format_exc_info, JSONRenderer(serializer=_dump_json)
    )


def _formatter(timestamper: Any, *processors: Any) -> logging.Formatter:
    with _without_rich():
        from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
    return ProcessorFormatter(
        foreign_pre_chain=[
            timestamper,
            add_log_level,
            add_logger_name,
            ExtraAdder(),
            _add_request_id,
        ],
        processors=[ProcessorFormatter.remove_processors_meta, *processors],
    )


@contextmanager
def _without_rich() -> Iterator[None]:
    """Hide rich from structlog, which imports it for tracebacks that we print plainly (4 MB)."""
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["rich"]


def _add_request_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if request_id := CURRENT_REQUEST_ID.get():
        event["request_id"] = request_id
    return event


def _dump_json(event: dict[str, Any], **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
