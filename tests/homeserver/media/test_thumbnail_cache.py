"""Thumbnails over HTTP: made once, kept, and given with the right headers."""

import asyncio
from typing import Any

from tests.homeserver.conftest import Client, Homes
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    DOWNLOAD,
    THUMBNAIL,
    Got,
    arriving_files,
    fetch,
    kept_files,
    path_of,
    upload,
)


async def thumbnail(client: Client, uri: str, width: int, height: int, **query: Any) -> Got:
    path = f"{THUMBNAIL}{path_of(uri)}"
    return await fetch(client, "GET", path, width=width, height=height, **query)


async def test_a_thumbnail_is_made_once_and_kept(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, pictures.png(1000, 500))
    got, again = await asyncio.gather(*(thumbnail(alice, uri, 90, 50) for _ in range(2)))
    assert got.status == again.status == 200
    assert got.body == again.body
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Disposition"] == "inline; filename=thumbnail.png"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["ETag"] == again.headers["ETag"]
    assert len(kept_files(homes)) == 2
    assert not arriving_files(homes)
    # Sizes that are nearly the same are the same.
    assert (await thumbnail(alice, uri, 96, 96)).body == got.body
    assert (await thumbnail(alice, uri, 96, 96, method="crop")).body != got.body


async def test_the_same_picture_under_another_name_has_the_same_thumbnail(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    data = pictures.png(1000, 500)
    first, second = await upload(alice, data), await upload(bob, data)
    got = await thumbnail(alice, first, 32, 32)
    assert (await thumbnail(bob, second, 32, 32)).body == got.body
    assert len(kept_files(homes)) == 2


async def test_a_small_picture_is_given_as_it_is(homes: Homes) -> None:
    alice = await homes.user()
    data = pictures.png(20, 20)
    uri = await upload(alice, data)
    for _ in range(2):
        got = await thumbnail(alice, uri, 320, 240)
        assert (got.status, got.body) == (200, data)
        assert got.headers["Content-Disposition"] == "inline; filename=thumbnail.png"


async def test_what_is_called_a_picture_by_one_user_only_is_none_for_the_other(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    data = pictures.png(20, 20)
    await thumbnail(alice, await upload(alice, data), 320, 240)
    uri = await upload(bob, data, "text/html")
    (await thumbnail(bob, uri, 320, 240)).refused(400, "M_UNKNOWN")


async def test_what_is_no_picture_has_no_thumbnail(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"no picture", "text/plain")
    (await thumbnail(alice, uri, 32, 32)).refused(400, "M_UNKNOWN")
    uri = await upload(alice, b"no picture", "image/png")
    (await thumbnail(alice, uri, 32, 32)).refused(400, "M_UNKNOWN")
    assert not arriving_files(homes)


async def test_width_and_height_are_required(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"x")
    path = f"{THUMBNAIL}{path_of(uri)}"
    (await fetch(alice, "GET", path)).refused(400, "M_MISSING_PARAM")
    (await thumbnail(alice, uri, 0, 1)).refused(400, "M_INVALID_PARAM")
    (await thumbnail(alice, uri, 1, 1, method="stretch")).refused(400, "M_INVALID_PARAM")
    assert (await fetch(alice, "GET", f"{DOWNLOAD}{path_of(uri)}")).status == 200


async def test_what_could_not_be_decoded_is_not_tried_again_at_once(homes: Homes) -> None:
    alice = await homes.user()
    uri = await upload(alice, b"no picture at all")
    assert (await thumbnail(alice, uri, 32, 32)).status == 400
    (kept,) = kept_files(homes)
    kept.write_bytes(pictures.png(100, 100))
    assert (await thumbnail(alice, uri, 32, 32)).status == 400
    assert (await thumbnail(alice, uri, 96, 96)).status == 200
