"""Calls."""

from dataclasses import dataclass

from homeserver.config.sections.ranges import Positive


@dataclass(frozen=True, slots=True)
class Turn:
    """The TURN server for calls between two people."""

    uris: tuple[str, ...] = ()
    """Its URIs, for instance "turn:turn.example.org?transport=udp"."""
    shared_secret: str = ""
    """The secret that the TURN server knows too (coturn's static-auth-secret)."""
    username: str = ""
    """A fixed user name, for a TURN server without shared secret."""
    password: str = ""
    """The password of that user."""
    ttl_s: Positive = 86_400
    """How long credentials that a client is given are valid."""
    allow_guests: bool = True
    """Give credentials to guests too."""
