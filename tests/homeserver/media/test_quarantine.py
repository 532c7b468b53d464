"""Quarantine: nobody gets what was put away, under no name."""

from federation.protocol.identifiers import RoomId, UserId
from tests.homeserver.conftest import Homes
from tests.homeserver.media import pictures
from tests.homeserver.media.files import (
    THUMBNAIL,
    UPLOAD,
    create,
    download,
    fetch,
    kept_files,
    path_of,
    upload,
)

ADMIN = "@admin:test"


async def test_what_is_quarantined_is_given_to_nobody_under_no_name(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    data = pictures.png(500, 500)
    first, second = await upload(alice, data), await upload(bob, data)
    path = f"{THUMBNAIL}{path_of(first)}"
    assert (await fetch(bob, "GET", path, width=32, height=32)).status == 200
    await homes.services.media.quarantine.add_media(first, ADMIN)
    (await download(alice, first)).refused(404, "M_NOT_FOUND")
    (await download(bob, second)).refused(404, "M_NOT_FOUND")
    (await fetch(bob, "GET", path, width=32, height=32)).refused(404, "M_NOT_FOUND")
    # Uploading it again is no way around.
    (await fetch(bob, "POST", UPLOAD, data)).refused(403, "M_FORBIDDEN")
    await homes.services.media.quarantine.release(first)
    assert (await download(bob, second)).body == data
    assert (await download(alice, await upload(alice, data))).body == data


async def test_the_hash_is_remembered_after_the_file_is_gone(homes: Homes) -> None:
    alice, services = await homes.user(), homes.services.media
    uri = await upload(alice, b"bad")
    await services.quarantine.add_media(uri, ADMIN)
    await services.upkeep.delete_named(*services.quarantine.name_of(uri))
    assert await services.upkeep.delete_files(grace_ms=-1) == 1
    assert not kept_files(homes)
    (await fetch(alice, "POST", UPLOAD, b"bad")).refused(403, "M_FORBIDDEN")


async def test_a_medium_that_was_never_seen_can_be_quarantined(homes: Homes) -> None:
    alice = await homes.user()
    await homes.services.media.quarantine.add_media("mxc://far.test/abc", ADMIN)
    (await download(alice, "mxc://far.test/abc")).refused(404, "M_NOT_FOUND")


async def test_a_users_uploads_go_together_but_for_what_is_protected(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    bad, good = await upload(alice, b"bad"), await upload(alice, b"good")
    other = await upload(bob, b"other")
    reserved = await create(alice)
    quarantine = homes.services.media.quarantine
    await quarantine.protect(good, is_protected=True)
    assert await quarantine.add_user(UserId(alice.user_id), ADMIN) == 2
    (await download(bob, bad)).refused(404, "M_NOT_FOUND")
    (await download(bob, reserved, timeout_ms=0)).refused(404, "M_NOT_FOUND")
    assert (await download(bob, good)).body == b"good"
    assert (await download(bob, other)).body == b"other"


async def test_what_a_room_has_is_quarantined_wherever_it_is_from(homes: Homes) -> None:
    alice = await homes.user()
    room_id = await alice.create_room()
    pictured, thumb, outside = [await upload(alice, name.encode()) for name in "abc"]
    info = {"thumbnail_url": thumb, "h": 1}
    await alice.send(room_id, "a.png", msgtype="m.image", url=pictured, info=info)
    await alice.send(room_id, "far.png", msgtype="m.image", url="mxc://far.test/xyz")
    await alice.send(room_id, f"see {outside}")
    avatar = await upload(alice, b"avatar")
    (await alice.put(f"v3/profile/{alice.user_id}/avatar_url", {"avatar_url": avatar})).ok()
    quarantine = homes.services.media.quarantine
    assert await quarantine.add_room(RoomId(room_id), ADMIN) == 3
    for uri in (pictured, thumb, "mxc://far.test/xyz"):
        (await download(alice, uri)).refused(404, "M_NOT_FOUND")
    assert (await download(alice, outside)).body == b"c"
    assert (await download(alice, avatar)).body == b"avatar"


async def test_a_reserved_id_that_is_quarantined_takes_nothing(homes: Homes) -> None:
    alice = await homes.user()
    uri = await create(alice)
    await homes.services.media.quarantine.add_media(uri, ADMIN)
    (await fetch(alice, "PUT", f"{UPLOAD}{path_of(uri)}", b"x")).refused(404, "M_NOT_FOUND")
    (await download(alice, uri, timeout_ms=0)).refused(404, "M_NOT_FOUND")
