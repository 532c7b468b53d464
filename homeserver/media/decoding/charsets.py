"""In which encoding a page is, and its text.

What the first bytes, the server and the page itself say counts, in this order; else it is UTF-8,
or Windows-1252 if it cannot be that. Source: HTML, "Determining the character encoding"; Encoding,
"Names and labels".
"""

import codecs
import re

ENCODINGS = {
    **{name: name for name in ("utf-8", "utf-16-le", "utf-16-be", "gbk", "gb18030", "euc_jp")},
    **{f"cp{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (*range(2, 9), 10, *range(13, 17))},
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "cp874": "cp874",
    "cp866": "cp866",
    "koi8-r": "koi8-r",
    "koi8-u": "koi8-u",
    "mac-roman": "mac-roman",
    "mac-cyrillic": "mac-cyrillic",
    "gb2312": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "cp932": "cp932",
    "iso2022_jp": "iso2022_jp",
    "euc_kr": "cp949",
    "cp949": "cp949",
}  # fmt: skip
"""By Python's name: as what browsers read it."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
DECLARED_WITHIN = 4096
DECLARATION = re.compile(
    rb"""<(?:meta[^>]*?charset|\?xml[^>]*?encoding)\s*=\s*["']?([\w.:-]{2,40})""", re.IGNORECASE
)


def load_encodings() -> None:
    """Load all encodings while files can still be read."""
    for name in {*ENCODINGS, *ENCODINGS.values()}:
        codecs.lookup(name)


def decode_page(page: bytes, told: str | None) -> str:
    """The text of a page, of which the server told the encoding, or did not."""
    for mark, name in MARKS:
        if page.startswith(mark):
            return page[len(mark) :].decode(name, "replace")
    encoding = known_encoding(told) or declared_encoding(page)
    if encoding is not None:
        return page.decode(encoding, "replace")
    try:
        # The page may have been cut in the middle of a character.
        return codecs.getincrementaldecoder("utf-8")().decode(page)
    except UnicodeDecodeError:
        return page.decode("cp1252", "replace")


def declared_encoding(page: bytes) -> str | None:
    """What the page says of itself; that it does so in ASCII rules UTF-16 out."""
    found = DECLARATION.search(page, 0, DECLARED_WITHIN)
    name = known_encoding(found[1].decode("ascii", "replace")) if found else None
    return "utf-8" if name in {"utf-16-le", "utf-16-be"} else name


def known_encoding(label: str | None) -> str | None:
    """The encoding that a label stands for, None if pages are not written in it."""
    try:
        name = codecs.lookup(label.strip("\"' ")).name if label else None
    except (LookupError, ValueError):
        return None
    return ENCODINGS.get(name) if name else None
