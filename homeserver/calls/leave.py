"""A delayed leave that is in our hands: what is to be done when, as functions of plain data.

A client that has entered a call schedules the event by which it leaves it, and lets us look after
it: as long as LiveKit has the participant, the event is put off again and again, and when the
participant is gone, it is sent at once.

    waiting ──seen──► connected ──webhook: gone──► doubted ──not there──► leaving ──sent──► nothing
       │                  └──────── not there ────────────────────────────────▲
       └────── never came ────────────────────────────────────────────────────┘

A webhook that somebody is gone is looked into before it is believed: LiveKit also says so of the
older connection of a participant who has connected anew.

Source: MSC4195, "Optional delegated delayed leave events". Times are milliseconds since 1970.
"""

from dataclasses import dataclass, replace
from enum import Enum, IntEnum

LONGEST_WAIT_MS = 3_600_000
"""How long somebody who asked for it may take to connect, if the delay is not shorter."""
FIRST_LOOK_MS, LOOK_FACTOR, LAST_LOOK_MS = 1_000, 1.5, 60_000
LOOK_EVERY_MS = 60_000
"""How often LiveKit is asked after somebody who is connected: webhooks may get lost."""
RESTART_PART = 0.8
"""The part of the delay after which the event is put off again."""
RETRY_MS, LAST_RETRY_MS = 1_000, 30_000
SHORTEST_DEADLINE_MS, LONGEST_DEADLINE_MS = 1_000, 3_600_000
"""How long sending is tried, if the event does not go out by itself in between."""


class Phase(IntEnum):
    """How far it is; the numbers are in the database."""

    WAITING = 1
    CONNECTED = 2
    DOUBTED = 3
    LEAVING = 4


class Act(Enum):
    """What is to be done next."""

    LOOK = "look"
    """Ask LiveKit whether the participant is there."""
    RESTART = "restart"
    """Put the event off."""
    SEND = "send"
    """Send the event."""


@dataclass(frozen=True, slots=True)
class Leave:
    """A delayed leave at some moment."""

    delay_id: str
    delay_ms: int
    phase: Phase
    since_ts: int
    """Since when it is in this phase."""
    expires_ts: int
    """When the event goes out by itself, as far as we know."""
    look_ts: int
    """When LiveKit is to be asked next."""
    act_ts: int
    """When the event is to be put off or sent next."""
    attempts: int = 0
    """What was done in vain, one after the other."""

    @property
    def given_up_ts(self) -> int:
        """When somebody who has not come is taken for gone."""
        return self.since_ts + min(LONGEST_WAIT_MS, self.delay_ms)

    @property
    def next_step(self) -> tuple[int, Act]:
        """What is to be done next, and when."""
        match self.phase:
            case Phase.WAITING if self.given_up_ts <= self.look_ts:
                return self.given_up_ts, Act.SEND
            case Phase.CONNECTED if self.act_ts <= self.look_ts:
                return self.act_ts, Act.RESTART
            case Phase.LEAVING:
                return self.act_ts, Act.SEND
        return self.look_ts, Act.LOOK


def begin(delay_id: str, delay_ms: int, now_ts: int) -> Leave:
    """Somebody is about to connect."""
    return Leave(
        delay_id=delay_id,
        delay_ms=delay_ms,
        phase=Phase.WAITING,
        since_ts=now_ts,
        expires_ts=now_ts + delay_ms,
        look_ts=now_ts + FIRST_LOOK_MS,
        act_ts=now_ts + delay_ms,
    )


def resume(leave: Leave, now_ts: int) -> Leave:
    """What to go on with after a pause in which nobody looked after it."""
    act_ts = min(leave.act_ts, now_ts) if leave.phase is Phase.CONNECTED else now_ts
    return replace(leave, look_ts=now_ts, act_ts=act_ts, attempts=0)


def put_off(leave: Leave, until_ts: int) -> Leave:
    """Let it rest for a while."""
    return replace(leave, look_ts=until_ts, act_ts=until_ts)


def seen(leave: Leave, now_ts: int) -> Leave:
    """The participant is there."""
    match leave.phase:
        case Phase.WAITING:
            return replace(
                leave,
                phase=Phase.CONNECTED,
                since_ts=now_ts,
                look_ts=now_ts + LOOK_EVERY_MS,
                act_ts=now_ts,
                attempts=0,
            )
        case Phase.CONNECTED | Phase.DOUBTED:
            return replace(leave, phase=Phase.CONNECTED, look_ts=now_ts + LOOK_EVERY_MS)
    return leave


def told_gone(leave: Leave, now_ts: int) -> Leave:
    """A webhook says that the participant has gone."""
    if leave.phase is Phase.LEAVING:
        return leave
    return replace(leave, phase=Phase.DOUBTED, look_ts=now_ts)


def told_broken_off(leave: Leave, now_ts: int) -> Leave | None:
    """A webhook says that the connection came to nothing; who never came needs no leave."""
    return None if leave.phase is Phase.WAITING else told_gone(leave, now_ts)


def looked(leave: Leave, now_ts: int, is_there: bool | None) -> Leave:
    """LiveKit has said whether the participant is there; None if it could not be asked."""
    if is_there:
        return seen(leave, now_ts)
    match leave.phase:
        case Phase.WAITING:
            wait_ms = min(FIRST_LOOK_MS * LOOK_FACTOR ** (leave.attempts + 1), LAST_LOOK_MS)
            return replace(leave, look_ts=now_ts + int(wait_ms), attempts=leave.attempts + 1)
        case Phase.CONNECTED if is_there is None:
            return replace(leave, look_ts=now_ts + LOOK_EVERY_MS)
        case Phase.LEAVING:
            return leave
    return _leaving(leave, now_ts)


def restarted(leave: Leave, now_ts: int, exists: bool | None) -> Leave | None:
    """The event was put off; `exists` is False if there is none, None if it could not be tried.

    None if nothing is left to be looked after.
    """
    if exists:
        expires_ts = now_ts + leave.delay_ms
        act_ts = now_ts + int(RESTART_PART * leave.delay_ms)
        return replace(leave, expires_ts=expires_ts, act_ts=act_ts, attempts=0)
    if exists is False or now_ts >= leave.expires_ts:
        return None
    return _tried_in_vain(leave, now_ts)


def sent(leave: Leave, now_ts: int, is_done: bool) -> Leave | None:
    """The event was sent, or could not be; None if nothing is left to be looked after."""
    if is_done:
        return None
    later = _tried_in_vain(_leaving(leave, now_ts), now_ts)
    remaining_ms = later.expires_ts - later.since_ts
    deadline_ms = min(max(remaining_ms, SHORTEST_DEADLINE_MS), LONGEST_DEADLINE_MS)
    return later if later.act_ts <= later.since_ts + deadline_ms else None


def _leaving(leave: Leave, now_ts: int) -> Leave:
    if leave.phase is Phase.LEAVING:
        return leave
    return replace(leave, phase=Phase.LEAVING, since_ts=now_ts, act_ts=now_ts, attempts=0)


def _tried_in_vain(leave: Leave, now_ts: int) -> Leave:
    wait_ms = min(RETRY_MS * 2**leave.attempts, LAST_RETRY_MS)
    return replace(leave, act_ts=now_ts + wait_ms, attempts=min(leave.attempts + 1, 10))
