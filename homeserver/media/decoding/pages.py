"""What children of the nursery do with pages: find what a preview can be made of.

A page may be cut off anywhere; the parser takes whatever comes, as browsers do.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from homeserver.media.decoding.charsets import decode_page, load_encodings

NO_TEXT = (
    "script", "style", "noscript", "template", "nav", "header", "footer", "aside", "form",
    "svg", "button", "select", "iframe", "object", "video", "audio", "dialog",
)  # fmt: skip
"""Elements whose text is not what a page is about."""
PROPERTIES = ("og:", "twitter:", "article:")
NAMES = {"description", "author", "image", "thumbnailurl"}
OEMBED = "application/json+oembed"
MAX_PROPERTIES = 60
MAX_VALUE = 2000
MAX_PARAGRAPHS = 40
ENOUGH_TEXT = 200
MAX_TEXT = 500
MAX_IMAGES = 200
SMALLEST_SIDE = 32
SPACES = re.compile(r"\s+")

Parser = Callable[[str], Any]
parsers: list[Parser] = []
"""The parser, once it is loaded."""


def prepare(arguments: Sequence[str]) -> None:
    """Load the parser from the folder given, and the encodings."""
    sys.path.append(arguments[0])
    from selectolax.lexbor import LexborHTMLParser

    parsers.append(LexborHTMLParser)
    LexborHTMLParser("<p>").css_first("p")
    load_encodings()


def read_page(wanted: Mapping[str, Any], files: Sequence[int]) -> Callable[[], Mapping[str, Any]]:
    """Tell what is in the first file, whose encoding the server told as `charset`."""

    def work() -> Mapping[str, Any]:
        page = os.pread(files[0], os.fstat(files[0]).st_size, 0)
        return facts_of(parsers[0](decode_page(page, wanted["charset"])))

    return work


def facts_of(tree: Any) -> dict[str, Any]:
    """What previews need to know of a page."""
    properties = list(meta_properties(tree))
    facts = {
        "properties": properties[:MAX_PROPERTIES],
        "title": text_of(tree.css_first("head title") or tree.css_first("title")),
        "base": attribute(tree.css_first("base[href]"), "href"),
        "oembed": attribute(tree.css_first(f'link[type="{OEMBED}"][href]'), "href"),
        "image": image_of(tree),
        "heading": text_of(tree.css_first("h1")),
    }
    tree.strip_tags(list(NO_TEXT))
    return facts | {"text": summary_of(tree)}


def meta_properties(tree: Any) -> Iterator[tuple[str, str]]:
    """Name and value of what <meta> elements say, in order."""
    for node in tree.css("meta"):
        attributes = node.attributes
        named = attributes.get("property") or attributes.get("name") or attributes.get("itemprop")
        name, value = (named or "").strip().lower(), clean(attributes.get("content") or "")
        if value and (name.startswith(PROPERTIES) or name in NAMES):
            yield name[:MAX_VALUE], value


def image_of(tree: Any) -> str | None:
    """Where the picture is that shows best what the page is about."""
    declared = attribute(tree.css_first('link[rel~="image_src"][href]'), "href")
    if declared:
        return declared
    sized = [(area_of(node), node) for node in tree.css("img[src]")[:MAX_IMAGES]]
    largest = max(sized, key=lambda one: one[0], default=(0, None))
    return attribute(largest[1], "src") if largest[0] else None


def area_of(image: Any) -> int:
    """The size of a picture as the page gives it; nothing for icons and what has none."""
    sides = [(image.attributes.get(side) or "").strip()[:5] for side in ("width", "height")]
    width, height = (int(side) if side.isascii() and side.isdigit() else 0 for side in sides)
    return width * height if min(width, height) >= SMALLEST_SIDE else 0


def summary_of(tree: Any) -> str | None:
    """The first paragraphs, or the first words where there are none."""
    text = ""
    for node in tree.css("p")[:MAX_PARAGRAPHS]:
        paragraph = clean(node.text(deep=True))
        text = f"{text}\n\n{paragraph}" if text and paragraph else text or paragraph
        if len(text) >= ENOUGH_TEXT:
            break
    if not text and tree.body is not None:
        text = clean(tree.body.text(deep=True, separator=" "))
    return shortened(text) or None


def shortened(text: str) -> str:
    """As many whole words as there is room for."""
    if len(text) <= MAX_TEXT:
        return text
    whole_words, space, _ = text[:MAX_TEXT].rpartition(" ")
    return (whole_words if space else text[: MAX_TEXT - 1]) + "…"


def text_of(node: Any) -> str | None:
    """The text in an element."""
    return (clean(node.text(deep=True)) or None) if node is not None else None


def attribute(node: Any, name: str) -> str | None:
    """An attribute of an element."""
    value = (node.attributes.get(name) or "").strip() if node is not None else ""
    return value[:MAX_VALUE] or None


def clean(text: str) -> str:
    """Text without needless space, and not too much of it."""
    return SPACES.sub(" ", text[: 10 * MAX_VALUE]).strip()[:MAX_VALUE]


JOBS = {"read_page": read_page}
