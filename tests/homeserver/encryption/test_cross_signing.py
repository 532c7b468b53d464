"""Cross-signing keys: who may replace them, what they sign, and who sees that."""

from dataclasses import dataclass
from typing import Any

from federation.protocol.signatures import SigningKey, sign_json, signing_key_from_seed
from federation.protocol.unpadded_base64 import encode_base64
from tests.homeserver.conftest import Answer, Client, Homes
from tests.homeserver.encryption.device import device_of, query


@dataclass
class Identity:
    """A user's cross-signing keys; each `generation` has others."""

    client: Client
    generation: int = 0

    def signing_key(self, usage: str) -> SigningKey:
        seed = f"{self.client.user_id} {usage} {self.generation}".encode().ljust(32, b".")[-32:]
        public_key = encode_base64(signing_key_from_seed("x", seed).verify_key)
        return signing_key_from_seed(public_key, seed)

    def public_key(self, usage: str) -> str:
        return self.signing_key(usage).version

    def published(self, usage: str) -> dict[str, Any]:
        key = self.signing_key(usage)
        fields: dict[str, Any] = {
            "user_id": self.client.user_id,
            "usage": [usage],
            "keys": {key.key_id: key.version},
        }
        if usage == "master":
            return fields
        return sign_json(fields, self.client.user_id, self.signing_key("master"))

    def all_keys(self) -> dict[str, Any]:
        usages = ("master", "self_signing", "user_signing")
        return {f"{usage}_key": self.published(usage) for usage in usages}

    def sign(self, fields: dict[str, Any], usage: str) -> dict[str, Any]:
        return sign_json(fields, self.client.user_id, self.signing_key(usage))


async def upload(client: Client, keys: dict[str, Any]) -> Answer:
    return await client.post("v3/keys/device_signing/upload", keys)


async def test_older_clients_publish_keys_under_the_unstable_name(homes: Homes) -> None:
    alice = await homes.user("alice")
    keys = Identity(alice).all_keys()
    (await alice.post("unstable/keys/device_signing/upload", keys)).ok()
    answer = await alice.post("v3/keys/query", {"device_keys": {alice.user_id: []}})
    assert answer.ok()["master_keys"][alice.user_id] == keys["master_key"]


async def upload_confirmed(client: Client, keys: dict[str, Any]) -> None:
    session = (await upload(client, keys)).body["session"]
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": client.user_id},
        "password": "a password that is long",
        "session": session,
    }
    (await upload(client, {**keys, "auth": auth})).ok()


async def identity_of(client: Client) -> Identity:
    identity = Identity(client)
    (await upload(client, identity.all_keys())).ok()
    return identity


async def upload_signatures(client: Client, signed: dict[str, Any]) -> Any:
    return (await client.post("v3/keys/signatures/upload", signed)).ok()["failures"]


def signers(fields: dict[str, Any]) -> dict[str, set[str]]:
    """Who has signed something, and by which keys."""
    return {user: set(by_key) for user, by_key in fields.get("signatures", {}).items()}


async def test_everybody_sees_the_keys_but_the_user_signing_key(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    identity = await identity_of(bob)
    seen = await query(alice, bob)
    assert seen["master_keys"] == {bob.user_id: identity.published("master")}
    assert seen["self_signing_keys"] == {bob.user_id: identity.published("self_signing")}
    assert seen["user_signing_keys"] == {}
    seen = await query(bob, bob)
    assert seen["user_signing_keys"] == {bob.user_id: identity.published("user_signing")}


async def test_the_first_keys_and_the_same_again_need_no_confirmation(homes: Homes) -> None:
    alice = await homes.user()
    identity = Identity(alice)
    (await upload(alice, {"master_key": identity.published("master")})).ok()
    (await upload(alice, {"master_key": identity.published("master")})).ok()
    assert "flows" in (await upload(alice, identity.all_keys())).body
    await upload_confirmed(alice, identity.all_keys())
    for keys in (identity.all_keys(), {"self_signing_key": identity.published("self_signing")}):
        (await upload(alice, keys)).ok()


async def test_other_keys_need_confirmation_and_replace_the_former(homes: Homes) -> None:
    alice = await homes.user()
    first, second = await identity_of(alice), Identity(alice, 1)
    answer = await upload(alice, second.all_keys())
    assert (answer.status, "flows" in answer.body) == (401, True)
    assert (await query(alice, alice))["master_keys"][alice.user_id] == first.published("master")
    await upload_confirmed(alice, second.all_keys())
    assert (await query(alice, alice))["master_keys"][alice.user_id] == second.published("master")


async def test_keys_that_are_not_signed_by_the_master_key_are_refused(homes: Homes) -> None:
    alice = await homes.user()
    identity, other = Identity(alice), Identity(alice, 1)
    body = {"self_signing_key": identity.published("self_signing")}
    (await upload(alice, body)).refused(400, "M_MISSING_PARAM")
    body = {
        "master_key": other.published("master"),
        "self_signing_key": identity.published("self_signing"),
    }
    (await upload(alice, body)).refused(400, "M_INVALID_SIGNATURE")


async def test_what_is_no_key_is_refused(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    master = Identity(alice).published("master")
    foreign = Identity(bob).published("master")
    (await upload(alice, {"master_key": foreign})).refused(400, "M_INVALID_PARAM")
    changes: tuple[dict[str, Any], ...] = (
        {"usage": ["self_signing"]},
        {"usage": "master"},
        {"keys": {}},
        {"keys": {"ed25519:abc": "abc"}},
        {"keys": {"ed25519:abc": Identity(alice).public_key("master")}},
        {"keys": {**master["keys"], "ed25519:abc": "abc"}},
    )
    for change in changes:
        (await upload(alice, {"master_key": {**master, **change}})).refused(400, "M_BAD_JSON")
    (await upload(alice, {"master_key": 7})).refused(400, "M_BAD_JSON")


async def test_no_device_has_the_id_of_a_cross_signing_key(homes: Homes) -> None:
    alice = await homes.user("alice")
    device_id = Identity(alice).public_key("master")
    login = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "a password that is long",
        "device_id": device_id,
    }
    (await homes.nobody().post("v3/login", login)).ok()
    (await upload(alice, Identity(alice).all_keys())).refused(403, "M_FORBIDDEN")
    identity = Identity(alice, 1)
    (await upload(alice, identity.all_keys())).ok()
    login["device_id"] = identity.public_key("self_signing")
    (await homes.nobody().post("v3/login", login)).refused(403, "M_FORBIDDEN")


async def test_everybody_sees_which_devices_their_user_has_signed(homes: Homes) -> None:
    alice, bob = await homes.user(), await homes.user()
    device, identity = await device_of(bob), await identity_of(bob)
    signed = identity.sign(device.keys(), "self_signing")
    assert await upload_signatures(bob, {bob.user_id: {bob.device_id: signed}}) == {}
    shown = (await query(alice, bob))["device_keys"][bob.user_id][bob.device_id]
    by = {device.key.key_id, identity.signing_key("self_signing").key_id}
    assert signers(shown) == {bob.user_id: by}
    (await device.upload(device_keys=device.keys("m.other"))).ok()
    shown = (await query(alice, bob))["device_keys"][bob.user_id][bob.device_id]
    assert signers(shown) == {bob.user_id: {device.key.key_id}}, "it was for other keys"


async def test_everybody_sees_the_signature_of_a_device_on_its_users_master_key(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    device, identity = await device_of(bob), await identity_of(bob)
    signed = device.sign(identity.published("master"))
    key_id = identity.public_key("master")
    assert await upload_signatures(bob, {bob.user_id: {key_id: signed}}) == {}
    shown = (await query(alice, bob))["master_keys"][bob.user_id]
    assert signers(shown) == {bob.user_id: {device.key.key_id}}


async def test_only_the_signer_sees_a_signature_on_somebody_elses_master_key(
    homes: Homes,
) -> None:
    alice, bob, carol = await homes.user(), await homes.user(), await homes.user()
    mine, theirs = await identity_of(alice), await identity_of(bob)
    signed = mine.sign(theirs.published("master"), "user_signing")
    key_id = theirs.public_key("master")
    since = (await alice.sync())["next_batch"]
    assert await upload_signatures(alice, {bob.user_id: {key_id: signed}}) == {}
    shown = (await query(alice, bob))["master_keys"][bob.user_id]
    assert signers(shown) == {alice.user_id: {mine.signing_key("user_signing").key_id}}
    for other in (bob, carol):
        assert signers((await query(other, bob))["master_keys"][bob.user_id]) == {}
    assert (await alice.sync(since))["device_lists"] == {"changed": [bob.user_id], "left": []}
    assert "device_lists" not in await bob.sync(since)


async def test_signatures_that_are_wrong_or_for_nothing_are_told_one_by_one(
    homes: Homes,
) -> None:
    alice, bob = await homes.user(), await homes.user()
    device, mine, theirs = await device_of(alice), await identity_of(alice), await identity_of(bob)
    good = mine.sign(device.keys(), "self_signing")
    changed = mine.sign({**device.keys(), "algorithms": ["m.forged"]}, "self_signing")
    forged = {**good, "signatures": {alice.user_id: dict(good["signatures"][alice.user_id])}}
    forged["signatures"][alice.user_id][mine.signing_key("self_signing").key_id] = "A" * 86
    for bad in (changed, forged, device.keys(), mine.sign(device.keys(), "user_signing")):
        failures = await upload_signatures(alice, {alice.user_id: {alice.device_id: bad}})
        error = failures[alice.user_id][alice.device_id]
        assert error["errcode"] == "M_INVALID_SIGNATURE"
    master = theirs.published("master")
    signed = {
        alice.user_id: {"GONE": good, alice.device_id: good, "x": 1},
        bob.user_id: {
            theirs.public_key("master"): mine.sign(master, "self_signing"),
            theirs.public_key("self_signing"): mine.sign(
                theirs.published("self_signing"), "user_signing"
            ),
        },
    }
    failures = await upload_signatures(alice, signed)
    codes = {
        (user_id, key_id): error["errcode"]
        for user_id, by_key in failures.items()
        for key_id, error in by_key.items()
    }
    assert codes == {
        (alice.user_id, "GONE"): "M_NOT_FOUND",
        (alice.user_id, "x"): "M_BAD_JSON",
        (bob.user_id, theirs.public_key("master")): "M_INVALID_SIGNATURE",
        (bob.user_id, theirs.public_key("self_signing")): "M_NOT_FOUND",
    }
    shown = (await query(bob, alice))["device_keys"][alice.user_id][alice.device_id]
    assert mine.signing_key("self_signing").key_id in signers(shown)[alice.user_id]
