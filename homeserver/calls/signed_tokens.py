"""JSON Web Tokens signed with a shared secret (HS256), the only kind that LiveKit takes and makes.

Source: RFC 7519 and RFC 7515; LiveKit, "Tokens & grants".
"""

import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from federation.protocol.unpadded_base64 import decode_base64, encode_urlsafe_base64

LEEWAY_S = 60
"""How far the clocks of LiveKit and this server may be apart."""
ALGORITHM = "HS256"
HEADER = encode_urlsafe_base64(orjson.dumps({"alg": ALGORITHM, "typ": "JWT"}))


class BadToken(Exception):
    """The token was not made with the key, or not for now; says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What LiveKit and this server share: a name, and the secret that belongs to it."""

    name: str
    secret: str = field(repr=False)

    def sign(self, claims: Mapping[str, Any], *, now_s: int, lifetime_s: int) -> str:
        """A token with these claims that is good from now on."""
        common = {"iss": self.name, "iat": now_s, "nbf": now_s, "exp": now_s + lifetime_s}
        payload = encode_urlsafe_base64(orjson.dumps({**claims, **common}))
        signed = f"{HEADER}.{payload}"
        return f"{signed}.{encode_urlsafe_base64(self._mac(signed))}"

    def verify(self, token: str, now_s: int) -> Mapping[str, Any]:
        """The claims of a token. Raises `BadToken`."""
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            mac = decode_base64(signature)
        except (ValueError, binascii.Error) as error:
            raise BadToken("its signature is not Base64") from error
        if not hmac.compare_digest(mac, self._mac(signed)):
            raise BadToken("its signature is wrong")
        if _decode_object(header).get("alg") != ALGORITHM:
            raise BadToken("it is not signed with HS256")
        claims = _decode_object(payload)
        if claims.get("iss") != self.name:
            raise BadToken("it is made with another key")
        if now_s > _number(claims, "exp", 0) + LEEWAY_S:
            raise BadToken("it has expired")
        if now_s < _number(claims, "nbf", 0) - LEEWAY_S:
            raise BadToken("it is not good yet")
        return claims

    def _mac(self, signed: str) -> bytes:
        return hmac.digest(self.secret.encode(), signed.encode("utf-8", "replace"), hashlib.sha256)


def _decode_object(part: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(decode_base64(part))
    except ValueError as error:
        raise BadToken("it is not JSON") from error
    if not isinstance(value, dict):
        raise BadToken("it is not an object")
    return value


def _number(claims: Mapping[str, Any], name: str, default: int) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"its {name} is not a number")
    return value
