"""A dehydrated device, as a client uploads it."""

from typing import Any

from tests.homeserver.conftest import Answer, Client
from tests.homeserver.encryption.device import Device, one_time_keys

PATH = "unstable/org.matrix.msc3814.v1/dehydrated_device"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "sealed", "nonce": "n"}


class Dehydrated(Client):
    """Stands for the device: it has an ID but never a token."""

    def __init__(self, client: Client, device_id: str) -> None:
        self.owner = client
        self.user_id = client.user_id
        self.device_id = device_id

    def body(self, **more: Any) -> dict[str, Any]:
        device = Device(self)
        return {
            "device_id": self.device_id,
            "device_data": DATA,
            "device_keys": device.sign({**unsigned(device), "dehydrated": True}),
            "one_time_keys": one_time_keys(1),
            "fallback_keys": one_time_keys(9),
            "initial_device_display_name": "Dehydrated device",
            **more,
        }

    async def upload(self, **more: Any) -> Answer:
        return await self.owner.request("PUT", PATH, self.body(**more))


def unsigned(device: Device) -> dict[str, Any]:
    return {name: value for name, value in device.keys().items() if name != "signatures"}


async def dehydrated_of(client: Client, device_id: str = "DRY") -> Dehydrated:
    """The client's dehydrated device, newly uploaded."""
    device = Dehydrated(client, device_id)
    assert (await device.upload()).ok() == {"device_id": device_id}
    return device


async def waiting(client: Client, device_id: str, **query: Any) -> Any:
    """A page of what waits for the dehydrated device."""
    return (await client.get(f"{PATH}/{device_id}/events", **query)).ok()
