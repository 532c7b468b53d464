"""Ending notifications by mail with the link in the mail, without a login.

The link proves itself: it holds a signature over user and address that only this server can make.
Source: RFC 8058.
"""

import hashlib
import hmac
from urllib.parse import urlencode

from federation.protocol.errors import Forbidden
from federation.protocol.signatures import SigningKey
from homeserver.push.pushers import MAIL_APP_ID
from storage.database import Database
from storage.names import Names
from storage.pushers import delete_pusher

PATH = "/_matrix/client/unstable/email/unsubscribe"
PURPOSE = b"hearth unsubscribe"


class Unsubscribing:
    """Makes the links and honours them."""

    def __init__(self, db: Database, names: Names, key: SigningKey, base_url: str) -> None:
        self._db = db
        self._names = names
        self._secret = hashlib.sha256(PURPOSE + key.seed).digest()
        self._base_url = base_url.rstrip("/")

    def link(self, user_id: str, address: str) -> str:
        """The link that ends a user's mails to an address."""
        query = {"user_id": user_id, "address": address, "token": self._sign(user_id, address)}
        return f"{self._base_url}{PATH}?{urlencode(query)}"

    async def unsubscribe(self, user_id: str, address: str, token: str) -> None:
        """End them; safe to repeat. Raises `Forbidden`."""
        if not hmac.compare_digest(token.encode(), self._sign(user_id, address).encode()):
            raise Forbidden("The link is not complete")
        user_nid = await self._names.users.find_nid(user_id)
        if user_nid is not None:
            await delete_pusher(self._db, user_nid, MAIL_APP_ID, address)

    def _sign(self, user_id: str, address: str) -> str:
        text = f"{user_id}\0{address}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
