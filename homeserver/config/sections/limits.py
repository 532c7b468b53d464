"""What is too much."""

from dataclasses import dataclass
from typing import Annotated

from homeserver.config.sections.ranges import Positive, Range, Rate


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket."""

    per_second: Rate = 1.0
    """How many requests a second are let through in the long run."""
    burst: Positive = 10
    """How many may come at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user or one address may ask for; beyond it the answer is 429 with Retry-After."""

    enabled: bool = True
    """Limit rates at all. Turn it off for tests and benchmarks only."""
    request: Allowance = Allowance(per_second=50, burst=500)
    """Reads and small writes."""
    message: Allowance = Allowance(per_second=5, burst=50)
    """Sending events."""
    delayed_event: Allowance = Allowance(per_second=20, burst=200)
    """Restarting, sending and cancelling delayed events. Everybody in a call restarts one every few
    seconds; who does so without a token shares this with others at the same address."""
    login: Allowance = Allowance(per_second=0.1, burst=10)
    """Attempts to log in."""
    registration: Allowance = Allowance(per_second=0.05, burst=5)
    """Attempts to register."""
    join: Allowance = Allowance(per_second=0.5, burst=20)
    """Joining rooms."""
    room_creation: Allowance = Allowance(per_second=0.1, burst=10)
    """Creating rooms."""
    invite: Allowance = Allowance(per_second=0.5, burst=20)
    """Inviting."""
    search: Allowance = Allowance(per_second=1, burst=20)
    """Searching messages, rooms and users."""
    report: Allowance = Allowance(per_second=0.1, burst=10)
    """Reporting rooms, events and users."""
    upload: Allowance = Allowance(per_second=2, burst=50)
    """Uploading media, and reserving IDs for it."""
    preview: Allowance = Allowance(per_second=2, burst=50)
    """Asking for previews of URLs."""
    call: Allowance = Allowance(per_second=2, burst=50)
    """Asking for tokens of calls: a user, an address, or another server."""
    device_inbox_mb: Positive = 64
    """How much may wait for a device that does not fetch it, in MiB: about 40,000 keys for
    messages. Of more, the oldest is deleted every hour."""
    mail: Allowance = Allowance(per_second=0.002, burst=4)
    """Mails to one address that verify it."""
    max_body_bytes: Annotated[int, Range(65_536)] = 8_388_608
    """The largest request body of any endpoint but uploads of media. Most endpoints take less; this
    much is taken of keys for a room's devices, all of which some bridges send at once."""
    request_timeout_s: Positive = 60
    """How long a client may take to send a request. An upload of media may last longer, as long as
    it makes progress."""
