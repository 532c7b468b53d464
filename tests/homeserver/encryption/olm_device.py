"""A client's device that really encrypts: Olm and Megolm by vodozemac, over plain requests.

It does what the specification asks of clients ("End-to-end encryption"), and no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import vodozemac

from federation.protocol.canonical_json import encode_lax
from federation.protocol.unpadded_base64 import decode_base64, encode_base64
from tests.homeserver.conftest import Client

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
BACKUP = "m.megolm_backup.v1.curve25519-aes-sha2"
SIGNED_KEY = "signed_curve25519"
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": MEGOLM}}

Keys = Mapping[str, Any]
"""The identity keys of a device."""


@dataclass
class OlmDevice:
    """A device: its account, and the sessions that it has with others and for rooms."""

    client: Client
    account: Any = field(default_factory=vodozemac.Account)
    sessions: dict[str, Any] = field(default_factory=dict)
    """With other devices, by their identity keys."""
    outbound: dict[str, Any] = field(default_factory=dict)
    inbound: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Of rooms, by the room and the session's ID."""
    used_keys: list[str] = field(default_factory=list)
    """The keys that this device was given to begin sessions with."""
    since: str | None = None

    @property
    def identity_key(self) -> str:
        return str(self.account.curve25519_key.to_base64())

    def keys(self) -> dict[str, Any]:
        """The identity keys, signed."""
        device_id = self.client.device_id
        return self.sign(
            {
                "user_id": self.client.user_id,
                "device_id": device_id,
                "algorithms": [OLM, MEGOLM],
                "keys": {
                    f"curve25519:{device_id}": self.identity_key,
                    f"ed25519:{device_id}": self.account.ed25519_key.to_base64(),
                },
            }
        )

    def sign(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        signature = self.account.sign(signable(fields)).to_base64()
        by_key = {f"ed25519:{self.client.device_id}": signature}
        return {**fields, "signatures": {self.client.user_id: by_key}}

    async def publish(self, one_time_keys: int = 10, *, fallback: bool = False) -> None:
        """Upload the identity keys, and so many new one-time keys."""
        self.account.generate_one_time_keys(one_time_keys)
        body: dict[str, Any] = {
            "device_keys": self.keys(),
            "one_time_keys": self._signed(self.account.one_time_keys, {}),
        }
        if fallback:
            self.account.generate_fallback_key()
            body["fallback_keys"] = self._signed(self.account.fallback_key, {"fallback": True})
        (await self.client.post("v3/keys/upload", body)).ok()
        self.account.mark_keys_as_published()

    def _signed(self, keys: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        return {
            f"{SIGNED_KEY}:{key_id}": self.sign({"key": key.to_base64(), **more})
            for key_id, key in keys.items()
        }

    async def devices_of(self, *user_ids: str) -> list[Keys]:
        """All devices of users, whose keys are signed by themselves."""
        wanted: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
        answer = (await self.client.post("v3/keys/query", {"device_keys": wanted})).ok()
        found = [keys for by_id in answer["device_keys"].values() for keys in by_id.values()]
        for keys in found:
            check_signature(keys, keys)
        return found

    async def begin_sessions(self, devices: Iterable[Keys]) -> None:
        """Claim a key of each of the devices, and begin a session with it."""
        wanted: dict[str, dict[str, str]] = {}
        by_id = {}
        for keys in devices:
            if curve_key(keys) not in self.sessions and curve_key(keys) != self.identity_key:
                wanted.setdefault(keys["user_id"], {})[keys["device_id"]] = SIGNED_KEY
                by_id[keys["device_id"]] = keys
        if not wanted:
            return
        answer = (await self.client.post("v3/keys/claim", {"one_time_keys": wanted})).ok()
        assert answer["failures"] == {}
        for by_device in answer["one_time_keys"].values():
            for device_id, claimed in by_device.items():
                (key,) = claimed.values()
                check_signature(key, by_id[device_id])
                self.used_keys.append(key["key"])
                self.sessions[curve_key(by_id[device_id])] = self.account.create_outbound_session(
                    vodozemac.Curve25519PublicKey.from_base64(curve_key(by_id[device_id])),
                    vodozemac.Curve25519PublicKey.from_base64(key["key"]),
                )

    async def send_encrypted(self, devices: Iterable[Keys], kind: str, content: Any) -> None:
        """Send a message to devices, each encrypted for itself."""
        others = [keys for keys in devices if curve_key(keys) != self.identity_key]
        await self.begin_sessions(others)
        messages: dict[str, dict[str, Any]] = {}
        for keys in others:
            encrypted = self._encrypt_for(keys, kind, content)
            messages.setdefault(keys["user_id"], {})[keys["device_id"]] = encrypted
        path = f"v3/sendToDevice/m.room.encrypted/{len(self.outbound)}-{self._next()}"
        (await self.client.put(path, {"messages": messages})).ok()

    def _next(self) -> int:
        self._count = getattr(self, "_count", 0) + 1
        return self._count

    def _encrypt_for(self, keys: Keys, kind: str, content: Any) -> dict[str, Any]:
        plain = {
            "type": kind,
            "content": content,
            "sender": self.client.user_id,
            "recipient": keys["user_id"],
            "recipient_keys": {"ed25519": keys["keys"][f"ed25519:{keys['device_id']}"]},
            "keys": {"ed25519": self.account.ed25519_key.to_base64()},
        }
        message_type, ciphertext = (
            self.sessions[curve_key(keys)].encrypt(orjson.dumps(plain)).to_parts()
        )
        body = {"type": message_type, "body": encode_base64(ciphertext)}
        return {
            "algorithm": OLM,
            "sender_key": self.identity_key,
            "ciphertext": {curve_key(keys): body},
        }

    async def say(self, room_id: str, members: Iterable[Client], text: str) -> str:
        """Send an encrypted message, with the key of its session first to whom it is new."""
        session = self.outbound.get(room_id)
        if session is None:
            session = self.outbound[room_id] = vodozemac.GroupSession()
            self._learn(room_id, session.session_key.to_base64())
            room_key = {
                "algorithm": MEGOLM,
                "room_id": room_id,
                "session_id": session.session_id,
                "session_key": session.session_key.to_base64(),
            }
            devices = await self.devices_of(*(member.user_id for member in members))
            await self.send_encrypted(devices, "m.room_key", room_key)
        plain = {
            "room_id": room_id,
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": text},
        }
        content = {
            "algorithm": MEGOLM,
            "sender_key": self.identity_key,
            "device_id": self.client.device_id,
            "session_id": session.session_id,
            "ciphertext": session.encrypt(orjson.dumps(plain)).to_base64(),
        }
        path = f"v3/rooms/{quote(room_id)}/send/m.room.encrypted/{self._next()}"
        return str((await self.client.put(path, content)).ok()["event_id"])

    def _learn(self, room_id: str, session_key: str) -> None:
        session = vodozemac.InboundGroupSession(vodozemac.SessionKey(session_key))
        self.inbound[room_id, session.session_id] = session

    async def sync(self, timeout_ms: int = 0) -> Any:
        """One sync; takes in what it brings for the device."""
        answer = await self.client.sync(self.since, timeout_ms=timeout_ms)
        self.since = answer["next_batch"]
        for event in answer.get("to_device", {}).get("events", ()):
            if event["type"] == "m.room.encrypted":
                self._take(event)
        return answer

    def _take(self, event: Mapping[str, Any]) -> None:
        content = event["content"]
        sealed = content["ciphertext"][self.identity_key]
        message = vodozemac.AnyOlmMessage.from_parts(sealed["type"], decode_base64(sealed["body"]))
        plain = orjson.loads(self._open(content["sender_key"], message))
        assert (plain["sender"], plain["recipient"]) == (event["sender"], self.client.user_id)
        if plain["type"] == "m.room_key":
            self._learn(plain["content"]["room_id"], plain["content"]["session_key"])

    def _open(self, sender_key: str, message: Any) -> bytes:
        first = message.to_pre_key()
        session = self.sessions.get(sender_key)
        if session is not None and (first is None or session.session_matches(first)):
            return bytes(session.decrypt(message))
        key = vodozemac.Curve25519PublicKey.from_base64(sender_key)
        session, plain = self.account.create_inbound_session(key, first)
        self.sessions[sender_key] = session
        return bytes(plain)

    def read(self, event: Mapping[str, Any], room_id: str) -> str | None:
        """The text of an encrypted event; None without the key."""
        content = event["content"]
        session = self.inbound.get((room_id, content.get("session_id", "")))
        if session is None:
            return None
        message = vodozemac.MegolmMessage.from_base64(content["ciphertext"])
        plain = orjson.loads(bytes(session.decrypt(message).plaintext))
        assert plain["room_id"] == room_id
        return str(plain["content"]["body"])

    async def history(self, room_id: str) -> list[str | None]:
        """All encrypted messages of a room, oldest first, as far as they can be read."""
        path = f"v3/rooms/{quote(room_id)}/messages"
        chunk = (await self.client.get(path, dir="b", limit=100)).ok()["chunk"]
        encrypted = [event for event in reversed(chunk) if event["type"] == "m.room.encrypted"]
        return [self.read(event, room_id) for event in encrypted]

    async def back_up(self, recovery: Any) -> None:
        """Upload all keys of rooms, sealed for who has the recovery key, as a new backup."""
        auth_data = self.sign({"public_key": recovery.public_key.to_base64()})
        body = {"algorithm": BACKUP, "auth_data": auth_data}
        version = (await self.client.post("v3/room_keys/version", body)).ok()["version"]
        rooms: dict[str, Any] = {}
        for (room_id, session_id), session in self.inbound.items():
            kept = rooms.setdefault(room_id, {"sessions": {}})["sessions"]
            kept[session_id] = sealed_session(session, recovery.public_key)
        path = f"v3/room_keys/keys?version={version}"
        (await self.client.put(path, {"rooms": rooms})).ok()

    async def restore(self, recovery: Any) -> int:
        """Take all keys from the backup; how many there are."""
        backup = (await self.client.get("v3/room_keys/version")).ok()
        assert backup["auth_data"]["public_key"] == recovery.public_key.to_base64()
        kept = (await self.client.get("v3/room_keys/keys", version=backup["version"])).ok()
        for room_id, room in kept["rooms"].items():
            for session_id, row in room["sessions"].items():
                sealed = row["session_data"]
                message = vodozemac.Message.from_base64(
                    sealed["ciphertext"], sealed["mac"], sealed["ephemeral"]
                )
                plain = orjson.loads(bytes(recovery.decrypt(message)))
                exported = vodozemac.ExportedSessionKey(plain["session_key"])
                session = vodozemac.InboundGroupSession.import_session(exported)
                assert session.session_id == session_id
                self.inbound[room_id, session_id] = session
        return int(backup["count"])


def sealed_session(session: Any, public_key: Any) -> dict[str, Any]:
    """A session as a key backup has it."""
    first = session.first_known_index
    plain = {"algorithm": MEGOLM, "session_key": session.export_at(first).to_base64()}
    sealed = vodozemac.PkEncryption.from_key(public_key).encrypt(orjson.dumps(plain))
    return {
        "first_message_index": first,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {
            "ciphertext": encode_base64(sealed.ciphertext),
            "mac": encode_base64(sealed.mac),
            "ephemeral": encode_base64(sealed.ephemeral_key),
        },
    }


def signable(fields: Mapping[str, Any]) -> bytes:
    """What is signed of an object."""
    unsigned = ("signatures", "unsigned")
    return encode_lax({name: value for name, value in fields.items() if name not in unsigned})


def curve_key(keys: Keys) -> str:
    """By which a device is known to others' sessions."""
    return str(keys["keys"][f"curve25519:{keys['device_id']}"])


def check_signature(fields: Mapping[str, Any], device: Keys) -> None:
    """Raise what vodozemac raises unless a device has signed an object."""
    key_id = f"ed25519:{device['device_id']}"
    check_signed_by(fields, device["user_id"], key_id, device["keys"][key_id])


def check_signed_by(fields: Mapping[str, Any], user_id: str, key_id: str, key: str) -> None:
    """Raise what vodozemac raises unless a key has signed an object."""
    signature = vodozemac.Ed25519Signature.from_base64(fields["signatures"][user_id][key_id])
    vodozemac.Ed25519PublicKey.from_base64(key).verify_signature(signable(fields), signature)
