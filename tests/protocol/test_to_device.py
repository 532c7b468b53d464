from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from federation.protocol.edu import DeviceMessages, DirectToDevice, build_direct_to_device
from federation.protocol.identifiers import UserId
from federation.protocol.to_device import (
    MAX_EDU_BYTES,
    MAX_EDU_DEVICES,
    content_for,
    split_messages,
)

user_ids = st.integers(0, 20).map(lambda n: UserId(f"@user{n}:hs"))
device_ids = st.text(st.sampled_from("ABCDE*"), min_size=1, max_size=4)
contents = st.integers(0, MAX_EDU_BYTES // 2).map(lambda n: {"body": "x" * n})
messages = st.dictionaries(user_ids, st.dictionaries(device_ids, contents, max_size=5))


def pairs(part: Mapping[UserId, Mapping[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(user, device, c) for user, by in part.items() for device, c in by.items()]


@given(messages)
def test_the_parts_hold_every_message_once_and_in_order(
    sent: dict[UserId, dict[str, dict[str, Any]]],
) -> None:
    parts = split_messages(sent)
    assert [pair for part in parts for pair in pairs(part)] == pairs(sent)


@given(messages)
def test_a_part_fits_into_an_edu_unless_a_single_message_does_not(
    sent: dict[UserId, dict[str, dict[str, Any]]],
) -> None:
    for part in split_messages(sent):
        assert pairs(part)
        edu = build_direct_to_device(DirectToDevice(UserId("@a:hs"), "m.test", "id", part))
        assert len(edu.encode()) < 65_536 or len(pairs(part)) == 1


def test_a_part_is_for_a_limited_number_of_devices() -> None:
    sent: DeviceMessages = {UserId("@a:hs"): {f"D{n}": {} for n in range(2 * MAX_EDU_DEVICES + 1)}}
    assert [len(pairs(part)) for part in split_messages(sent)] == [
        MAX_EDU_DEVICES,
        MAX_EDU_DEVICES,
        1,
    ]


def test_a_devices_own_message_goes_before_the_one_for_all() -> None:
    by_device: dict[str, dict[str, Any]] = {"*": {"n": 0}, "A": {"n": 1}}
    assert content_for(by_device, "A") == {"n": 1}
    assert content_for(by_device, "B") == {"n": 0}
    assert content_for({"A": {}}, "B") is None
