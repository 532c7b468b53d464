"""Rules for third-party invites, and for the invites that redeem them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.protocol.auth_rules.require import require
from federation.protocol.auth_rules.state import AuthState
from federation.protocol.errors import AuthRuleFailed, SignatureInvalid
from federation.protocol.pdu import Pdu
from federation.protocol.signatures import signatures_of, signing_bytes, verify_bytes
from federation.protocol.unpadded_base64 import decode_base64


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
    vouched = is_signed_by_any(signed, verify_keys_of(offer.content))
    require(vouched, "invite.third_party.signature", "No key of the offer signed the object")


def verify_keys_of(content: Mapping[str, Any]) -> list[bytes]:
    """The keys of a third-party invite, each of which is enough; malformed ones are left out."""
    listed = content.get("public_keys")
    entries = [content, *listed] if isinstance(listed, list) else [content]
    encoded = [entry.get("public_key") for entry in entries if isinstance(entry, Mapping)]
    decoded = [find_bytes(key) for key in encoded if isinstance(key, str)]
    return [key for key in decoded if key is not None]


@dataclass(frozen=True, slots=True)
class OfferKey:
    """A key of a third-party invite, as it is written there, and where to ask whether it counts."""

    public_key: str
    validity_url: str | None


def vouching_keys(signed: Mapping[str, Any], content: Mapping[str, Any]) -> list[OfferKey]:
    """The keys of a third-party invite's content that signed an object."""
    listed = content.get("public_keys")
    found = []
    for entry in [content, *listed] if isinstance(listed, list) else [content]:
        public_key = entry.get("public_key") if isinstance(entry, Mapping) else None
        decoded = find_bytes(public_key) if isinstance(public_key, str) else None
        if decoded is not None and is_signed_by_any(signed, [decoded]):
            url = entry.get("key_validity_url")
            found.append(OfferKey(str(public_key), url if isinstance(url, str) else None))
    return found


def find_bytes(encoded: str) -> bytes | None:
    """What the Base64 stands for, or None if it is none."""
    try:
        return decode_base64(encoded)
    except ValueError:
        return None


def is_signed_by_any(signed: Mapping[str, Any], verify_keys: list[bytes]) -> bool:
    """Whether one of its ed25519 signatures, whoever it claims to be by, fits one of the keys."""
    message = signing_bytes(signed)
    servers = signed.get("signatures")
    names = servers if isinstance(servers, Mapping) else ()
    signatures = [s for name in names for s in signatures_of(signed, name).values()]
    return any(is_signature(message, s, key) for s in signatures for key in verify_keys)


def is_signature(message: bytes, signature: object, verify_key: bytes) -> bool:
    """Whether this is the signature of the message by the key."""
    try:
        verify_bytes(message, signature, verify_key)
    except SignatureInvalid:
        return False
    return True
