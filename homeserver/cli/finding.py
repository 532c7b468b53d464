"""What a check of `hearth doctor` has found."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; the message is a sentence, for what is wrong also the cure."""

    subject: str
    state: State
    message: str
