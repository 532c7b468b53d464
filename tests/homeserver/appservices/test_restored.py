"""A bridge remembers what the server has forgotten that was restored from a backup."""

from pathlib import Path

from tests.homeserver.appservices.bridge import Bridge, bridged
from tests.homeserver.backup.saving import back_up, restore


async def test_a_bridge_does_not_take_new_transactions_for_old_ones(
    database_url: str, tmp_path: Path, bridge: Bridge
) -> None:
    path = tmp_path / "backup.tar"
    async with bridged(database_url, tmp_path, bridge) as homes:
        alice, ghost = await homes.user("alice"), await homes.ghost(bridge, "bob")
        room_id = await alice.create_room(preset="public_chat")
        await ghost.join(room_id)
        await bridge.wait_for_event(await alice.send(room_id, "kept"))
        settings = homes.services.settings
        await back_up(settings, path)
        for number in range(5):
            await bridge.wait_for_event(await alice.send(room_id, f"lost {number}"))
    known = len(bridge.seen_ids)
    await restore(path, settings, overwrite=True)
    async with bridged(database_url, tmp_path, bridge) as homes:
        alice = homes.again(alice)
        for number in range(5):
            await bridge.wait_for_event(await alice.send(room_id, f"after {number}"))
    assert len(bridge.seen_ids) >= known + 5
