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
