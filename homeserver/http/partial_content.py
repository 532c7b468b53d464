"""Files as answers: the whole, a part, or only that the client has it already.

Source: RFC 9110, sections 13 (conditions) and 14 (ranges). More than one range at a time is not
offered; such a request gets the whole.
"""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from federation.protocol.response import Response, StreamedBody

_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*")


@dataclass(frozen=True, slots=True)
class File:
    """Something to be given out; `read` yields a part from a position on, of some length."""

    size: int
    etag: str
    """Stands for the content: the same one always has the same; in quotes."""
    content_type: str
    headers: Mapping[str, str]
    read: Callable[[int, int], AsyncGenerator[bytes, None]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file."""

    start: int
    length: int


class Unsatisfiable(Exception):
    """The range begins behind the end of the file."""


def build_file_response(request: Mapping[str, str], file: File) -> Response:
    """The answer with a file, according to the request's headers."""
    headers = {**file.headers, "ETag": file.etag, "Accept-Ranges": "bytes"}
    if is_known(request.get("If-None-Match"), file.etag):
        return Response(304, headers=headers, content_type=file.content_type)
    try:
        part = find_part(request, file)
    except Unsatisfiable:
        headers["Content-Range"] = f"bytes */{file.size}"
        return Response(416, headers=headers, content_type=file.content_type)
    status = 200
    if part is None:
        part = Part(0, file.size)
    else:
        status = 206
        end = part.start + part.length - 1
        headers["Content-Range"] = f"bytes {part.start}-{end}/{file.size}"
    body = StreamedBody(part.length, file.read(part.start, part.length))
    return Response(status, body, headers, file.content_type)


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has the content already."""
    if if_none_match is None:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return etag in known or "*" in known


def find_part(request: Mapping[str, str], file: File) -> Part | None:
    """The part that is asked for; None where none is, or not in a way that we serve.

    Raises `Unsatisfiable`.
    """
    # A part of something that has changed since is of no use: then the whole is wanted.
    if request.get("If-Range", file.etag).strip() != file.etag:
        return None
    match = _RANGE.fullmatch(request.get("Range", ""))
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), file.size)
        if not length:
            raise Unsatisfiable
        return Part(file.size - length, length)
    start, end = int(first), min(int(last or file.size), file.size - 1)
    if last and int(last) < start:
        return None
    if start >= file.size:
        raise Unsatisfiable
    return Part(start, end - start + 1)
