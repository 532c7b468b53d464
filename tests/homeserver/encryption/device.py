"""A device with keys, as a client keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.signatures import SigningKey, sign_json, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from tests.homeserver.conftest import Answer, Client

MEGOLM = "m.megolm.v1.aes-sha2"
CURVE = "signed_curve25519"


@dataclass
class Device:
    """The keys of a client's device."""

    client: Client

    @property
    def key(self) -> SigningKey:
        """The key that signs for the device."""
        return signing_key_from_seed(
            self.client.device_id, self.client.device_id.encode()[:32].ljust(32, b".")
        )

    def keys(self, algorithm: str = MEGOLM) -> dict[str, Any]:
        """The identity keys, signed."""
        keys = {
            "user_id": self.client.user_id,
            "device_id": self.client.device_id,
            "algorithms": [algorithm],
            "keys": {self.key.key_id: encode_base64(self.key.verify_key)},
        }
        return self.sign(keys)

    def sign(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same, signed by the device."""
        return sign_json(fields, self.client.user_id, self.key)

    async def upload(self, **parts: Any) -> Answer:
        """Publish keys."""
        return await self.client.post("v3/keys/upload", parts)


async def device_of(client: Client) -> Device:
    """The client's device, with its identity keys published."""
    device = Device(client)
    (await device.upload(device_keys=device.keys())).ok()
    return device


def one_time_keys(*numbers: int, algorithm: str = CURVE) -> dict[str, Any]:
    """Keys by their IDs."""
    return {f"{algorithm}:{n}": {"key": f"key {n}"} for n in numbers}


async def query(client: Client, *users: Client, **more: Any) -> Any:
    """What the client is told of the users' keys."""
    wanted: dict[str, list[str]] = {user.user_id: [] for user in users}
    return (await client.post("v3/keys/query", {"device_keys": wanted, **more})).ok()


async def claim(client: Client, *devices: Client, algorithm: str = CURVE) -> dict[str, Any]:
    """The keys that the client is given, by device."""
    wanted: dict[str, dict[str, str]] = {}
    for device in devices:
        wanted.setdefault(device.user_id, {})[device.device_id] = algorithm
    answer = (await client.post("v3/keys/claim", {"one_time_keys": wanted})).ok()
    return {
        device_id: keys
        for by_device in answer["one_time_keys"].values()
        for device_id, keys in by_device.items()
    }
