"""Searching for users.

Source: client-server API, "User directory".
"""

from typing import Any

from homeserver.config.sections.accounts import UserDirectory as DirectorySettings
from storage.database import Database
from storage.user_directory import FoundUser, search_users

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_TERM_LENGTH = 200
MAX_WORDS = 10


class UserDirectory:
    """Finds users for users."""

    __slots__ = ("_db", "_settings")

    def __init__(self, db: Database, settings: DirectorySettings) -> None:
        self._db = db
        self._settings = settings

    async def search(self, searcher_nid: int, term: str, limit: int) -> dict[str, Any]:
        """The users found, and whether there are more than `limit`."""
        wanted = " ".join(term[:MAX_TERM_LENGTH].split()[:MAX_WORDS])
        if not wanted or not self._settings.enabled:
            return {"results": [], "limited": False}
        limit = min(limit, MAX_LIMIT)
        found = await search_users(
            self._db,
            searcher_nid,
            wanted,
            limit + 1,
            all_local=self._settings.search_all_users,
        )
        return {
            "results": [render_found_user(user) for user in found[:limit]],
            "limited": len(found) > limit,
        }


def render_found_user(user: FoundUser) -> dict[str, str]:
    """A result as clients see it."""
    fields = {
        "user_id": user.user_id,
        "display_name": user.display_name,
        "avatar_url": user.avatar_url,
    }
    return {name: value for name, value in fields.items() if value is not None}
