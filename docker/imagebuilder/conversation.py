"""Two people who talk: what an image must be able to do, with nothing but the standard library."""

import json
import struct
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from typing import Any

API = "/_matrix/client/v3"
TEXT = "Is anybody at home?"
SIDE, SMALL_SIDE = 600, 96
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of it."""

    received: tuple[str, ...]
    """The texts that the second one has received."""
    picture: bytes
    thumbnail: bytes
    """What the server has made of the picture that the first one has sent."""


class Client:
    """A client of a new user."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._token = ""
        account = {
            "username": name,
            "password": f"the password of {name}",
            "auth": {"type": "m.login.dummy"},
        }
        answer = self.call("POST", f"{API}/register", account)
        self.user_id: str = answer["user_id"]
        self._token = answer["access_token"]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What the server answers, from JSON. Raises `urllib.error.HTTPError`."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self.request(method, path, data, "application/json"))

    def request(self, method: str, path: str, data: bytes | None, content_type: str) -> bytes:
        """The bytes of what the server answers. Raises `urllib.error.HTTPError`."""
        headers = {"Content-Type": content_type}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - our own server
            self._url + path, data=data, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return bytes(answer.read())


def talk(url: str) -> Talk:
    """Two users register; one writes to the other, and sends a picture."""
    alice, bob = Client(url, "alice"), Client(url, "bob")
    room = alice.call("POST", f"{API}/createRoom", {"invite": [bob.user_id]})["room_id"]
    quoted = urllib.parse.quote(room)
    bob.call("POST", f"{API}/join/{quoted}", {})
    since = bob.call("GET", f"{API}/sync")["next_batch"]
    message = {"msgtype": "m.text", "body": TEXT}
    alice.call("PUT", f"{API}/rooms/{quoted}/send/m.room.message/1", message)
    news = bob.call("GET", f"{API}/sync?timeout=30000&since={since}")
    events = news["rooms"]["join"][room]["timeline"]["events"]
    received = [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
    picture = grey_png(SIDE)
    stored = alice.request("POST", "/_matrix/media/v3/upload", picture, "image/png")
    place = json.loads(stored)["content_uri"].removeprefix("mxc://")
    size = f"width={SMALL_SIDE}&height={SMALL_SIDE}&method=scale"
    small = f"/_matrix/client/v1/media/thumbnail/{place}?{size}"
    return Talk(tuple(received), picture, bob.request("GET", small, None, "application/json"))


def grey_png(side: int) -> bytes:
    """A square picture. Source: Portable Network Graphics, "Datastream structure"."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes((x ^ y) & 255 for x in range(side)) for y in range(side))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
