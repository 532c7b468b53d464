"""The query string of a request."""

from urllib.parse import unquote_to_bytes

from federation.protocol.errors import InvalidParam

MAX_FIELDS = 200


def parse_query(query: str) -> dict[str, list[str]]:
    """The values of each name, in order; a name without `=` has the value "".

    Raises `InvalidParam` for too many fields and for what is not UTF-8.
    """
    values: dict[str, list[str]] = {}
    if not query:
        return values
    fields = query.split("&", MAX_FIELDS)
    if len(fields) > MAX_FIELDS:
        raise InvalidParam("Too many query parameters")
    for field in fields:
        if not field:
            continue
        name, _, value = field.partition("=")
        values.setdefault(_decode_field(name), []).append(_decode_field(value))
    return values


def percent_decode(text: str) -> str:
    """`text` with its percent escapes undone.

    Raises `InvalidParam` for what is not UTF-8, and for a NUL character, which no parameter may
    hold and PostgreSQL cannot keep.
    """
    if "%" not in text:
        return text
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError as error:
        raise InvalidParam("The request target is not valid UTF-8") from error
    if "\0" in decoded:
        raise InvalidParam("The request target must not contain a NUL character")
    return decoded


def _decode_field(text: str) -> str:
    return percent_decode(text.replace("+", " "))
