"""Files that users send."""

from dataclasses import dataclass
from pathlib import Path

from homeserver.config.sections.ranges import Positive


@dataclass(frozen=True, slots=True)
class Media:
    """Files that users send."""

    directory: Path = Path("media")
    """Where they are kept. Relative to `server.data_dir`."""
    max_upload_mb: Positive = 50
    """The largest file that may be uploaded."""
    url_previews: bool = False
    """Fetch pages that messages link to, to show what is there."""
    max_megapixels: Positive = 50
    """Of a picture that a thumbnail is made of."""
    thumbnail_memory_mb: Positive = 192
    """What decoding one picture may take. More, and there is no thumbnail of it."""
    thumbnail_timeout_s: Positive = 30
    """How long it may take."""
    thumbnails_at_a_time: Positive = 2
    """How many are made side by side; up to 64 more wait."""
