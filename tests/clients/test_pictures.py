"""Pictures, in the clear and encrypted, as browsers send and show them."""

import pytest

from tests.clients.conftest import Household
from tests.homeserver.media.pictures import png

pytestmark = pytest.mark.clients

PICTURE = png(800, 600)


async def test_a_picture_is_sent_and_shown_small_and_whole(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    room_id = await alice.do("createRoom", {"name": "Album", "invite": [bob.user_id]})
    await bob.do("acceptInvitation", room_id)
    assert await alice.do("uploadLimit") >= len(PICTURE)
    url = await alice.do("sendPicture", room_id, list(PICTURE), "image/png")
    assert bytes(await bob.do("seePicture", room_id, "a picture")) == PICTURE
    assert await bob.do("seeThumbnail", url, 320, 240, "scale") == [320, 240]
    assert await bob.do("seeThumbnail", url, 96, 96, "crop") == [96, 96]


async def test_an_avatar_is_seen_by_others(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    room_id = await alice.do("createRoom", {"name": "Album", "invite": [bob.user_id]})
    await bob.do("acceptInvitation", room_id)
    url = await alice.do("setAvatar", list(PICTURE), "image/png")
    assert await bob.do("seeAvatar", room_id, alice.user_id) == url
    assert await bob.do("seeThumbnail", url, 96, 96, "crop") == [96, 96]


async def test_an_encrypted_picture_is_seen_by_who_has_the_key(household: Household) -> None:
    alice, bob = await household.user("alice"), await household.user("bob")
    wanted = {"name": "Album", "encrypted": True, "invite": [bob.user_id]}
    room_id = await alice.do("createRoom", wanted)
    await bob.do("acceptInvitation", room_id)
    await alice.do("members", room_id, 2)
    await alice.do("sendEncryptedPicture", room_id, list(PICTURE), "image/png")
    assert bytes(await bob.do("seePicture", room_id, "a secret picture")) == PICTURE
