"""What encrypting clients need of the other server: device lists, keys, one-time keys."""

import asyncio
from typing import Any

import pytest
from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

from tests.homeserver.conftest import Client
from tests.interop.conftest import Cast
from tests.interop.homeservers import PASSWORD
from tests.interop.inbox import WITHIN_S
from tests.interop.rooms import share_a_room

pytestmark = pytest.mark.interop


async def upload_device_keys(client: Client) -> dict[str, Any]:
    """Publish keys of the client's device, and a one-time key; the device's keys."""
    device = client.device_id
    key = generate_signing_key(device)
    curve = encode_base64(b"\x01" * 32)
    keys = {f"ed25519:{device}": encode_base64(get_verify_key(key).encode())}
    published: dict[str, Any] = sign_json(
        {
            "user_id": client.user_id,
            "device_id": device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {**keys, f"curve25519:{device}": curve},
        },
        client.user_id,
        key,
    )
    one_time = sign_json({"key": curve}, client.user_id, key)
    body = {"device_keys": published, "one_time_keys": {"signed_curve25519:AAAA": one_time}}
    (await client.post("v3/keys/upload", body)).ok()
    return published


async def query(client: Client, user_id: str) -> Any:
    """What the client's server tells of a user's keys.

    Its `failures` say nothing: Synapse names a server there, beside the keys that it got from it,
    when an update of the user's devices arrives just then.
    """
    return (await client.post("v3/keys/query", {"device_keys": {user_id: []}})).ok()


async def test_keys_of_a_device_are_found_and_its_one_time_key_is_claimed_once(cast: Cast) -> None:
    await share_a_room(cast.alice, cast.bob, cast.host.name)
    published = await upload_device_keys(cast.bob)
    user, device = cast.bob.user_id, cast.bob.device_id
    found = (await query(cast.alice, user))["device_keys"][user][device]
    assert {key: found[key] for key in published} == published
    claim = {"one_time_keys": {user: {device: "signed_curve25519"}}}
    first = (await cast.alice.post("v3/keys/claim", claim)).ok()
    assert list(first["one_time_keys"][user][device]) == ["signed_curve25519:AAAA"]
    second = (await cast.alice.post("v3/keys/claim", claim)).ok()
    assert not second["one_time_keys"].get(user, {}).get(device)


async def follow_devices(cast: Cast, wanted: set[str]) -> None:
    """Have Alice ask for Bob's devices whenever they have changed, until they are these."""
    user = cast.bob.user_id
    found: set[str] = set()
    async with asyncio.timeout(WITHIN_S):
        while found != wanted:
            await cast.alices.until(lambda: user in cast.alices.changed_devices)
            cast.alices.changed_devices.clear()
            answer = await query(cast.alice, user)
            found = set(answer["device_keys"].get(user, {}))


async def test_new_devices_new_keys_and_the_end_of_a_device_are_told(cast: Cast) -> None:
    await share_a_room(cast.alice, cast.bob, cast.host.name)
    await upload_device_keys(cast.bob)
    await follow_devices(cast, {cast.bob.device_id})
    second = await cast.guest.second_device(cast.bob)
    await upload_device_keys(second)
    await follow_devices(cast, {cast.bob.device_id, second.device_id})
    (await second.post("v3/logout")).ok()
    await follow_devices(cast, {cast.bob.device_id})


async def test_cross_signing_keys_are_found(cast: Cast) -> None:
    await share_a_room(cast.alice, cast.bob, cast.host.name)
    user = cast.bob.user_id
    master = generate_signing_key("master")
    public = encode_base64(get_verify_key(master).encode())
    master.version = public
    body: dict[str, Any] = {"master_key": cross_signing_key(user, "master", public)}
    own = encode_base64(get_verify_key(generate_signing_key("own")).encode())
    signed = sign_json(cross_signing_key(user, "self_signing", own), user, master)
    body |= {"self_signing_key": signed, "auth": password_auth(cast.bob)}
    answer = await cast.bob.post("v3/keys/device_signing/upload", body)
    if answer.status == 401:
        body["auth"]["session"] = answer.body["session"]
        answer = await cast.bob.post("v3/keys/device_signing/upload", body)
    answer.ok()
    found: dict[str, Any] = {}
    async with asyncio.timeout(WITHIN_S):
        while user not in found.get("self_signing_keys", {}):
            await cast.alices.until(lambda: user in cast.alices.changed_devices)
            cast.alices.changed_devices.clear()
            found = await query(cast.alice, user)
    assert found["master_keys"][user]["keys"] == {f"ed25519:{public}": public}
    assert found["self_signing_keys"][user]["keys"] == {f"ed25519:{own}": own}


def cross_signing_key(user_id: str, usage: str, public: str) -> dict[str, Any]:
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}


def password_auth(client: Client) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": client.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
