"""Policy servers: whose word a room wants for its events, and whether an event has it.

Source: server-server API, "Policy Servers".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from federation.protocol.canonical_json import decode
from federation.protocol.errors import MatrixError, SignatureInvalid
from federation.protocol.event_format import parse_pdu
from federation.protocol.event_id import reference_bytes
from federation.protocol.identifiers import KeyId, ServerName, is_valid_server_name
from federation.protocol.pdu import Pdu, StateKey
from federation.protocol.signatures import add_signature, signatures_of, verify_bytes
from federation.protocol.unpadded_base64 import decode_base64

POLICY: Final[StateKey] = ("m.room.policy", "")
KEY_ID: Final = KeyId("ed25519:policy_server")


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """The policy server that a room names; `verify_key` is empty where it cannot be read."""

    name: ServerName
    verify_key: bytes


class PolicyRefusal(MatrixError):
    """A policy server does not want an event in its room.

    What it answered is handed on as it is.
    """

    errcode = "M_FORBIDDEN"

    def __init__(self, message: str, status: int = 400, answer: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.answer_status = status
        self.answer = answer or {}

    def body(self) -> dict[str, Any]:
        """What the policy server said, as far as it said something."""
        return {**super().body(), **self.answer}


def read_policy(content: Mapping[str, Any]) -> PolicyServer | None:
    """The policy server that an `m.room.policy` event names; None if the event is not valid."""
    via, keys = content.get("via"), content.get("public_keys")
    encoded = keys.get("ed25519") if isinstance(keys, Mapping) else None
    if not isinstance(via, str) or not isinstance(encoded, str) or not is_valid_server_name(via):
        return None
    try:
        key = decode_base64(encoded)
    except ValueError:
        key = b""
    return PolicyServer(ServerName(via), key)


def is_subject_to_policy(pdu: Pdu) -> bool:
    """Whether policy servers are asked about an event: all but the one that names them."""
    return (pdu.type, pdu.state_key) != POLICY


def has_policy_signature(pdu: Pdu, policy: PolicyServer) -> bool:
    """Whether the policy server recommends the event for inclusion in the room."""
    fields = decode(pdu.encoded)
    signature = signatures_of(fields, policy.name).get(KEY_ID)
    try:
        verify_bytes(reference_bytes(fields, pdu.room_version), signature, policy.verify_key)
    except SignatureInvalid:
        return False
    return True


def with_policy_signature(pdu: Pdu, policy: PolicyServer, answer: Mapping[str, Any]) -> Pdu:
    """The event with the signature that a policy server answered, right or wrong.

    Signatures that the event had are kept. Raises `MatrixError` for one that cannot be added.
    """
    signature = signatures_of({"signatures": answer}, policy.name).get(KEY_ID)
    if not isinstance(signature, str):
        raise SignatureInvalid(f"{policy.name} answered without a signature")
    signed = add_signature(decode(pdu.encoded), policy.name, KEY_ID, signature)
    return parse_pdu(signed, pdu.room_version, event_id=pdu.event_id)
