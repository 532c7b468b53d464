"""Rules for third-party invites, and for the invites that redeem them."""

import binascii
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from unpaddedbase64 import decode_base64

from federation.protocol import canonical_json
from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed
from federation.protocol.pdu import Pdu

VERIFY_KEY_BYTES = 32
SIGNATURE_BYTES = 64


def check_third_party_invite(event: Pdu, state: AuthState) -> None:
    """Authorise inviting somebody by e-mail address or telephone number.

    Source: room version 12, authorisation rule 7.
    Raises `AuthRuleFailed`.
    """
    power = state.power
    may_invite = power.of(event.sender) >= power.invite
    require(may_invite, "third_party_invite.level", f"{event.sender} may not invite")


def check_redeemed_invite(event: Pdu, target: str, state: AuthState) -> None:
    """Authorise an invite by an identity server's word that the invited address is the target's.

    Source: room version 12, authorisation rule 5.4.1.
    Raises `AuthRuleFailed`.
    """
    require(state.membership(target) != "ban", "invite.third_party.banned", f"{target} is banned")
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, Mapping) else None
    if not isinstance(signed, Mapping):
        raise AuthRuleFailed("invite.third_party.signed", "The invite carries no signed object")
    mxid, token = signed.get("mxid"), signed.get("token")
    if not isinstance(mxid, str) or not isinstance(token, str):
        raise AuthRuleFailed("invite.third_party.signed", "The signed object lacks mxid or token")
    require(mxid == target, "invite.third_party.mxid", f"{mxid} was signed for, not {target}")
    offer = state.find("m.room.third_party_invite", token)
    if offer is None:
        raise AuthRuleFailed("invite.third_party.token", "No third-party invite has this token")
    same_sender = event.sender == offer.sender
    require(same_sender, "invite.third_party.sender", f"{event.sender} did not make the offer")
    unsigned = {k: v for k, v in signed.items() if k not in ("signatures", "unsigned")}
    message = canonical_json.encode_for(unsigned, event.room_version)
    signatures = ed25519_signatures(signed.get("signatures"))
    keys = verify_keys_of(offer.content)
    vouched = any(is_signature_by(key, message, s) for s in signatures for key in keys)
    require(vouched, "invite.third_party.signature", "No key of the offer signed the object")


def verify_keys_of(content: Mapping[str, Any]) -> list[VerifyKey]:
    """The well-formed keys of a third-party invite, each of which is enough."""
    listed = content.get("public_keys")
    entries = [content, *listed] if isinstance(listed, list) else [content]
    encoded_keys = [e.get("public_key") for e in entries if isinstance(e, Mapping)]
    keys = [decode_bytes(encoded, VERIFY_KEY_BYTES) for encoded in encoded_keys]
    return [VerifyKey(key) for key in keys if key is not None]


def ed25519_signatures(signatures: object) -> list[bytes]:
    """The well-formed ed25519 signatures in a `signatures` object."""
    by_server = signatures.values() if isinstance(signatures, Mapping) else ()
    by_key_id = [item for keys in by_server if isinstance(keys, Mapping) for item in keys.items()]
    encoded = [value for key_id, value in by_key_id if key_id.startswith("ed25519:")]
    decoded = [decode_bytes(value, SIGNATURE_BYTES) for value in encoded]
    return [signature for signature in decoded if signature is not None]


def is_signature_by(key: VerifyKey, message: bytes, signature: bytes) -> bool:
    """Whether the key made the signature of the message."""
    try:
        key.verify(message, signature)
    except BadSignatureError:
        return False
    return True


def decode_bytes(encoded: object, length: int) -> bytes | None:
    """So many bytes from Base64 of either alphabet, or None."""
    if not isinstance(encoded, str):
        return None
    try:
        decoded = decode_base64(encoded)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(decoded) == length else None
