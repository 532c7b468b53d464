"""Pushers as clients set them.

Source: client-server API, "Push notifications", POST /pushers/set.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from yarl import URL

from federation.protocol.errors import InvalidParam, MissingParam
from homeserver.clock import Clock
from storage.database import Pool
from storage.pushers import Pusher, delete_pusher, pushers_of, set_pusher
from storage.third_party_ids import EMAIL, third_party_ids_of

MAX_PUSHKEY_BYTES = 512
MAX_APP_ID_LENGTH = 64
MAX_PUSHER_BYTES = 16_384
NOTIFY_PATH = "/_matrix/push/v1/notify"
PUSHERS = "pushers"
"""The topic on which processes tell each other whose pushers were set."""
HTTP = "http"
MAIL = "email"
MAIL_APP_ID = "m.email"
ENABLED = "org.matrix.msc3881.enabled"
DEVICE_ID = "org.matrix.msc3881.device_id"

REQUIRED = ("app_display_name", "device_display_name", "lang")


class Pushers:
    """The pushers of this server's users."""

    __slots__ = ("_announce", "_clock", "_db", "_sends_mail", "_set_here")

    def __init__(
        self,
        db: Pool,
        clock: Clock,
        announce: Callable[[str], Awaitable[None]],
        set_here: Callable[[int], None],
        *,
        sends_mail: bool,
    ) -> None:
        self._db = db
        self._clock = clock
        self._announce = announce
        self._set_here = set_here
        self._sends_mail = sends_mail

    async def list(self, user_nid: int) -> list[dict[str, Any]]:
        """The user's pushers as clients see them."""
        return [show(pusher) for pusher in await pushers_of(self._db, user_nid)]

    async def set(self, user_nid: int, device_nid: int, body: Mapping[str, Any]) -> None:
        """Add, change or (with a `kind` of null) remove a pusher, as the body says.

        Raises `MissingParam`, `InvalidParam`.
        """
        if "kind" not in body:
            raise MissingParam("Missing parameters: kind")
        app_id, pushkey = _text(body, "app_id"), _text(body, "pushkey")
        if len(app_id) > MAX_APP_ID_LENGTH or len(pushkey.encode()) > MAX_PUSHKEY_BYTES:
            raise InvalidParam("'app_id' or 'pushkey' is too long")
        if body["kind"] is None:
            await delete_pusher(self._db, user_nid, app_id, pushkey)
            return
        if body["kind"] == MAIL:
            await self._check_mail(user_nid, app_id, pushkey)
            # Mails come whatever device asked for them, and go on when it has logged out.
            device_nid = 0
        json = orjson.dumps(parse_pusher(body))
        if len(json) > MAX_PUSHER_BYTES:
            raise InvalidParam("The pusher is too large")
        enabled = read_enabled(body)
        pusher = Pusher(
            user_nid,
            device_nid or None,
            app_id,
            pushkey,
            json,
            self._clock(),
            body["kind"],
            enabled is not False,
        )
        await set_pusher(
            self._db,
            pusher,
            keep_others=body.get("append") is True,
            # Who says whether it is enabled may be another device that switches it on or off.
            keep_device=enabled is not None,
        )
        await self._tell(user_nid)

    async def _check_mail(self, user_nid: int, app_id: str, address: str) -> None:
        """Raise `InvalidParam` unless mails may go to an address: it is one of the user's."""
        if not self._sends_mail:
            raise InvalidParam("This server sends no notifications by mail")
        if app_id != MAIL_APP_ID:
            raise InvalidParam(f"'app_id' of a pusher by mail must be {MAIL_APP_ID}")
        own = await third_party_ids_of(self._db, user_nid)
        if not any((one.medium, one.address) == (EMAIL, address) for one in own):
            raise InvalidParam("'pushkey' must be an e-mail address of your account")

    async def _tell(self, user_nid: int) -> None:
        self._set_here(user_nid)
        await self._announce(str(user_nid))


def show(pusher: Pusher) -> dict[str, Any]:
    """A pusher as clients see it; in the names of MSC3881 whether it is on, and whose it is."""
    body: dict[str, Any] = orjson.loads(pusher.json)
    body[ENABLED] = pusher.enabled
    if pusher.device_id is not None:
        body[DEVICE_ID] = pusher.device_id
    return body


def read_enabled(body: Mapping[str, Any]) -> bool | None:
    """Whether a pusher is to be on, if the client says. Raises `InvalidParam`."""
    enabled = body.get(ENABLED)
    if not isinstance(enabled, bool | None):
        raise InvalidParam(f"'{ENABLED}' must be true or false")
    return enabled


def parse_pusher(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a pusher; raises `MissingParam`, `InvalidParam`."""
    missing = [name for name in (*REQUIRED, "data") if body.get(name) is None]
    if missing:
        raise MissingParam(f"Missing parameters: {', '.join(missing)}")
    if body["kind"] not in (HTTP, MAIL):
        raise InvalidParam("'kind' must be http, email or null")
    data = body["data"]
    if not isinstance(data, Mapping):
        raise InvalidParam("'data' must be an object")
    if body["kind"] == HTTP:
        check_gateway(data.get("url"))
    names = ("kind", "app_id", "pushkey", *REQUIRED)
    pusher: dict[str, Any] = {name: _text(body, name) for name in names}
    if body.get("profile_tag") is not None:
        pusher["profile_tag"] = _text(body, "profile_tag")
    return {**pusher, "data": dict(data)}


def check_gateway(url: object) -> None:
    """Raise unless this is where a push gateway may be reached."""
    if url is None:
        raise MissingParam("Missing parameters: data.url")
    if not isinstance(url, str):
        raise InvalidParam("'url' must be a string")
    try:
        parts = URL(url)
    except ValueError as error:
        raise InvalidParam("'url' is not a URL") from error
    if parts.scheme not in {"https", "http"} or not parts.host:
        raise InvalidParam("'url' must be an HTTPS URL")
    if parts.path != NOTIFY_PATH:
        raise InvalidParam(f"'url' must have the path {NOTIFY_PATH}")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise MissingParam(f"Missing parameters: {name}")
    if not isinstance(value, str) or "\0" in value:
        raise InvalidParam(f"'{name}' must be a string")
    return value
