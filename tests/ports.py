"""Ports for servers that have to know theirs before they listen, or that listen there again."""

import random
import socket
from collections import deque

NUMBERS = range(20_000, 32_000)
"""Below the numbers that systems give to connections and to whoever asks for any port."""
CHANCE = random.SystemRandom()
MOST_KEPT = 200
kept: deque[socket.socket] = deque()


def free_port() -> int:
    """A port that nobody listens on, and that no other test is given for a long while.

    A datagram socket of the same number tells the other processes of the run that it is taken.
    """
    while True:
        port = CHANCE.choice(NUMBERS)
        sign = socket.socket(type=socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            sign.close()
            continue
        kept.append(sign)
        if len(kept) > MOST_KEPT:
            kept.popleft().close()
        return port


def free_ports(count: int) -> list[int]:
    """So many of them."""
    return [free_port() for _ in range(count)]
