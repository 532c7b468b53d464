"""Base64 without its padding, as Matrix writes bytes into JSON.

Source: appendices, "Unpadded Base64".
"""

from binascii import Error, a2b_base64, b2a_base64

_TO_STANDARD = str.maketrans("-_", "+/")
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")


def encode_base64(data: bytes) -> str:
    """The standard alphabet, without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").decode()


def encode_urlsafe_base64(data: bytes) -> str:
    """The URL-safe alphabet, without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URLSAFE).decode()


def decode_base64(text: str) -> bytes:
    """The bytes of either alphabet, with or without padding; raises ValueError."""
    standard = text.rstrip("=").translate(_TO_STANDARD)
    try:
        return a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)
    except Error as error:
        raise ValueError("Not Base64") from error
