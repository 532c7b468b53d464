"""Uploading and downloading as clients do it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from tests.homeserver.conftest import Client, Homes

UPLOAD = "/_matrix/media/v3/upload"
CREATE = "/_matrix/media/v1/create"
DOWNLOAD = "/_matrix/client/v1/media/download"
THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
LEGACY_DOWNLOAD = "/_matrix/media/v3/download"


@dataclass(frozen=True)
class Got:
    """An answer as bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)

    def refused(self, status: int, errcode: str) -> Any:
        assert (self.status, self.json()["errcode"]) == (status, errcode), self
        return self.json()


async def fetch(
    client: Client,
    method: str,
    path: str,
    /,
    data: bytes | AsyncIterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    **query: Any,
) -> Got:
    """A request with the user's token, whose answer is taken as it is."""
    own = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    async with client._session.request(
        method,
        client._base_url + path,
        data=data,
        params={name: str(value) for name, value in query.items()},
        headers={**own, **(headers or {})},
        skip_auto_headers=("Content-Type",),
    ) as response:
        return Got(response.status, response.headers, await response.read())


async def upload(
    client: Client,
    data: bytes | AsyncIterator[bytes],
    content_type: str | None = "image/png",
    **query: Any,
) -> str:
    """Upload and give the URI."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    got = await fetch(client, "POST", UPLOAD, data, headers, **query)
    assert got.status == 200, got
    return str(got.json()["content_uri"])


async def create(client: Client) -> str:
    """Reserve a URI."""
    got = await fetch(client, "POST", CREATE)
    assert got.status == 200, got
    return str(got.json()["content_uri"])


def path_of(uri: str) -> str:
    """Server and media ID as paths have them."""
    return uri.removeprefix("mxc:/")


async def download(
    client: Client, uri: str, name: str = "", headers: Mapping[str, str] | None = None, **query: Any
) -> Got:
    """Download."""
    suffix = f"/{quote(name)}" if name else ""
    return await fetch(client, "GET", f"{DOWNLOAD}{path_of(uri)}{suffix}", None, headers, **query)


def media_directory(homes: Homes) -> Path:
    """Where the server keeps its files."""
    return homes.services.settings.media.directory


def kept_files(homes: Homes) -> list[Path]:
    """The files in the store."""
    found = (media_directory(homes) / "content").rglob("*")
    return sorted(path for path in found if path.is_file())


def arriving_files(homes: Homes) -> list[Path]:
    """What has not got its place yet."""
    return list((media_directory(homes) / "incoming").glob("*"))
