"""The Content-Disposition header: how media are to be shown, and the name of the file.

Source: client-server API, "Serving inline content"; RFC 6266; RFC 8187.
"""

import re
from urllib.parse import quote, unquote_to_bytes

DEFAULT_TYPE = "application/octet-stream"
MAX_TYPE_LENGTH = 255
MAX_NAME_LENGTH = 255

INLINE_TYPES = frozenset(
    {
        "text/css",
        "text/plain",
        "text/csv",
        "application/json",
        "application/ld+json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/apng",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        "audio/mp4",
        "audio/webm",
        "audio/aac",
        "audio/mpeg",
        "audio/ogg",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/flac",
        "audio/x-flac",
    }
)
"""What a browser only ever renders as what it is called, whatever it really is."""

WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TOKEN = re.compile(WORD)
_TYPE = re.compile(rf"{WORD}/{WORD}(?:[ \t]*;[\t -~]*)?")
_PARAMETER = re.compile(rf';\s*({WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def build_content_disposition(content_type: str, name: str | None) -> str:
    """`inline` for what is safe to show, else `attachment`; with the name if there is one."""
    kind = "inline" if media_type_of(content_type) in INLINE_TYPES else "attachment"
    if not name:
        return kind
    if _TOKEN.fullmatch(name):
        return f"{kind}; filename={name}"
    if name.isascii() and name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{escaped}"'
    return f"{kind}; filename*=utf-8''{quote(name, safe='')}"


def find_file_name(content_disposition: str) -> str | None:
    """The name in a header; None if it has none. `filename*` goes before `filename`."""
    plain: str | None = None
    for parameter, quoted, bare in _PARAMETER.findall(content_disposition):
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted else bare.strip()
        if parameter.lower() == "filename*":
            extended = _decode_extended(value)
            if extended is not None:
                return clean_name(extended)
        elif parameter.lower() == "filename" and plain is None:
            plain = value
    return clean_name(plain)


def media_type_of(content_type: str) -> str:
    """Type and subtype in small letters, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def clean_type(content_type: str | None) -> str:
    """A content type as it can be kept and sent; what is none becomes `DEFAULT_TYPE`."""
    kept = (content_type or "").strip()
    if len(kept) > MAX_TYPE_LENGTH or not _TYPE.fullmatch(kept):
        return DEFAULT_TYPE
    return kept


def clean_name(name: str | None) -> str | None:
    """A file's name as it can be kept and sent; None if nothing remains of it."""
    return _CONTROL.sub("", name or "")[:MAX_NAME_LENGTH].strip() or None


def _decode_extended(value: str) -> str | None:
    """What RFC 8187 encodes; None for what is not encoded so."""
    charset, first, rest = value.partition("'")
    _language, second, encoded = rest.partition("'")
    if not (first and second) or charset.lower() not in ("utf-8", "iso-8859-1"):
        return None
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        return None
