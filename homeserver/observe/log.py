"""Logging: every logger of ours and of the libraries ends in one handler on standard error.

Modules log through the standard library; structlog renders, with the id of the request that the
line belongs to. A terminal gets lines for people, everything else one JSON object a line.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import orjson

from homeserver.config.settings import Log
from homeserver.http.request_id import CURRENT_REQUEST_ID

QUIET = ("asyncio", "aiohttp.access")
"""Loggers that say at lower levels what we say better, or nobody needs."""


def configure_logging(settings: Log, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error by default) as the settings say."""
    stream = sys.stderr if stream is None else stream
    is_human = settings.format == "human" or (settings.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_human_formatter(stream) if is_human else _json_formatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A log that cannot be written must not end the request that it tells of.
    logging.raiseExceptions = False


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
