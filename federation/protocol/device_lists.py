"""Following the updates of a user's device list, as the user's server sends them.

Source: server-server API, "Device Management".
"""

from collections.abc import Sequence
from enum import Enum


class Update(Enum):
    """What an update means for somebody who has the list up to some update."""

    NEXT = "next"
    """It may be applied: everything that it rests on is known."""
    KNOWN = "known"
    """It came before."""
    GAP = "gap"
    """Something is missing, or the order is not what it should be: the list has to be fetched."""


def judge_update(known_stream_id: int, stream_id: int, prev_ids: Sequence[int]) -> Update:
    """How an update follows what is known.

    An update need not name the last one that is known: a list that was fetched may be newer than
    all that its server has sent. One that names none begins anew, so what came before is in doubt.
    """
    if not prev_ids:
        return Update.GAP
    if stream_id == known_stream_id:
        return Update.KNOWN
    if stream_id < known_stream_id or max(prev_ids) > known_stream_id:
        return Update.GAP
    return Update.NEXT
