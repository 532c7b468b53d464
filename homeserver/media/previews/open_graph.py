"""From what a page says to what clients are shown. Pure.

Source: The Open Graph protocol; client-server API, GET /media/preview_url.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeserver.media.previews.page_reader import Page

KEPT = ("og:", "article:")
IMAGE = "og:image"
FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "og:title": ("twitter:title",),
    "og:description": ("twitter:description", "description"),
    "og:site_name": ("twitter:site",),
}
"""Properties that say nearly the same, the best one first."""
IMAGES = (
    "og:image",
    "og:image:secure_url",
    "og:image:url",
    "twitter:image",
    "twitter:image:src",
    "image",
    "thumbnailurl",
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is shown, and where the picture is; its URL is as the page has it."""

    fields: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None

    def completed_by(self, other: "Preview") -> "Preview":
        """With what is missing here and is there."""
        return Preview({**other.fields, **self.fields}, self.image or other.image)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing that clients show."""
        return self.image is not None and {"og:title", "og:description"} <= self.fields.keys()


def preview_of(page: Page) -> Preview:
    """What a page shows of itself."""
    said = page.properties
    fields = {
        name: value
        for name, value in said.items()
        if name.startswith(KEPT) and not name.startswith(IMAGE)
    }
    for name, others in FALLBACKS.items():
        found = next((said[other] for other in (name, *others) if other in said), None)
        if found is not None:
            fields[name] = found
    for name, text in (
        ("og:title", page.title or page.heading),
        ("og:description", page.text),
    ):
        if text is not None:
            fields.setdefault(name, text)
    image = next((said[name] for name in IMAGES if name in said), page.image)
    return Preview(fields, image)
