import asyncio

from homeserver.rooms.typing import Typing
from tests.patience import PATIENCE_S


def listening() -> tuple[Typing, list[tuple[int, str, bool]]]:
    heard: list[tuple[int, str, bool]] = []
    typing = Typing()
    typing.listen(lambda room, user, is_typing: heard.append((room, user, is_typing)))
    return typing, heard


async def test_those_who_type_are_listed_until_they_stop() -> None:
    typing, heard = listening()
    typing.start(1, "@alice:hs1")
    typing.start(1, "@bob:hs1")
    typing.stop(1, "@alice:hs1")
    assert typing.users_typing(1) == ["@bob:hs1"]
    typing.stop(1, "@bob:hs1")
    assert typing.users_typing(1) == []
    assert heard == [
        (1, "@alice:hs1", True),
        (1, "@bob:hs1", True),
        (1, "@alice:hs1", False),
        (1, "@bob:hs1", False),
    ]


async def test_going_on_typing_is_no_change() -> None:
    typing, heard = listening()
    typing.start(1, "@alice:hs1")
    typing.start(1, "@alice:hs1")
    typing.stop(2, "@alice:hs1")
    assert len(heard) == typing.serial == 1
    typing.stop(1, "@alice:hs1")


async def test_typing_ends_by_itself() -> None:
    typing, heard = listening()
    stopped = asyncio.Event()
    typing.listen(lambda room, user, is_typing: None if is_typing else stopped.set())
    typing.start(1, "@alice:hs1", timeout_ms=1)
    async with asyncio.timeout(PATIENCE_S):
        await stopped.wait()
    assert typing.users_typing(1) == []
    assert heard[-1] == (1, "@alice:hs1", False)


async def test_rooms_that_changed_are_told_by_serial() -> None:
    typing, _ = listening()
    typing.start(1, "@alice:hs1")
    between = typing.serial
    typing.start(2, "@alice:hs1")
    assert typing.changed_after(0, [1, 2, 3]) == [1, 2]
    assert typing.changed_after(between, [1, 2, 3]) == [2]
    assert typing.changed_after(typing.serial, [1, 2, 3]) == []
    assert typing.changed_after(typing.serial + 9, [1, 2, 3]) == [1, 2]
    typing.stop(1, "@alice:hs1")
    typing.stop(2, "@alice:hs1")
