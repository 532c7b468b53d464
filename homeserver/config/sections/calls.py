"""Calls."""

from dataclasses import dataclass
from typing import Annotated, Literal

from homeserver.config.sections.ranges import Count, Positive, Range


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


@dataclass(frozen=True, slots=True)
class Calls:
    """Group calls: MatrixRTC by way of a LiveKit server. docs/calls.md has both configurations."""

    livekit_url: str = ""
    """Where clients reach LiveKit: its public WebSocket URL, for instance
    "wss://matrix.example.org/livekit/sfu". Empty: there are no group calls."""
    livekit_api_url: str = ""
    """Where this server reaches LiveKit's API, for instance "http://127.0.0.1:7880". Empty: at
    `livekit_url`, by https."""
    api_key: str = ""
    """The name of the key that LiveKit and this server share."""
    api_secret: str = ""
    """The secret that belongs to the key, of 32 characters at least."""
    api_secret_file: str = ""
    """The path of a file that holds the secret and nothing else, in place of `api_secret`."""
    service_url: str = ""
    """Where clients ask for tokens, told to them as `livekit_service_url`. Requests that come there
    must arrive here below /livekit/jwt. Empty: /livekit/jwt at `server.public_baseurl`."""
    full_access_servers: tuple[str, ...] = ()
    """Other servers whose users may begin calls on this LiveKit server as our own may, "*" for all.
    Everybody else's can join the calls that one of them has begun."""
    membership_check: Literal["own", "all", "none"] = "own"
    """Whose tokens at the service URL are for rooms only that they have joined: those of our own
    users, those of all users (who may have to wait until this server has heard of their joining,
    and who need a room that it is in), or nobody's. Tokens that the homeserver is asked for
    (MSC4195) always are."""
    token_lifetime_s: Annotated[int, Range(60, 86_400)] = 3_600
    """How long a token can be used to connect; who is connected stays so."""


@dataclass(frozen=True, slots=True)
class DelayedEvents:
    """Events that clients have sent later. Calls use them to notice who has dropped out."""

    max_delay_s: Annotated[int, Range(3_600, 31_536_000)] = 86_400
    """How long an event may be delayed. Element Call asks for an hour."""
    max_scheduled: Count = 100
    """How many a user may have scheduled at once. 0: nothing can be delayed."""
