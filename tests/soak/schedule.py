"""What goes wrong, and when: drawn from the seed alone, before the run begins.

Every one to three seconds something happens to each line (a feed behind its own proxy): its network changes,
the exchange does something wrong to its frames, its answers or itself, and its user does something. Where a
fault meets the traffic is up to the threads and the network: the same seed gives the same faults at the same
times, but not the same run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["EXCHANGE", "NETWORK", "USER", "Strike", "schedule"]

# kind -> weight
NETWORK: Final = {
    "calm": 4.0,
    "latency": 2.0,
    "jitter": 2.0,
    "bandwidth": 2.0,
    "slices": 2.0,
    "black hole": 2.0,
    "reset": 2.0,
    "cut": 2.0,
    "cut after n bytes": 1.0,
    "byte flip": 2.0,
    "refusing": 1.0,
}
EXCHANGE: Final = {
    "lose": 4.0,
    "duplicate": 2.0,
    "swap": 2.0,
    "corrupt number": 2.0,
    "corrupt seq": 1.0,
    "corrupt sid": 1.0,
    "no seq": 1.0,
    "no sid": 0.5,
    "binary frame": 0.5,
    "bad frame": 0.5,
    "not UTF-8": 0.5,
    "garbage": 1.0,
    "impossible delta": 1.0,
    "extra snapshot": 1.0,
    "lose snapshot": 2.0,
    "error 25": 1.0,
    "error 10": 1.0,
    "unsubscribed": 1.0,
    "ignore command": 1.0,
    "refuse command": 1.0,
    "refuse handshake": 1.0,
    "close": 1.0,
    "freeze": 1.0,
    "silence": 1.0,
    "restart": 1.0,
}
USER: Final = {
    "quick callbacks": 3.0,
    "slow callbacks": 2.0,
    "callback raises": 1.0,
    "delete markets": 2.0,
    "add markets": 2.0,
    "ask for snapshots": 1.0,
    "trades off or on": 1.0,
    "subscribe again": 0.5,
}


@dataclass(frozen=True, order=True)
class Strike:
    """One event, ``at`` seconds after the start. ``line``: -1 is the exchange. ``dice``: from 0 to 1, for its
    size."""

    at: float
    line: int
    kind: str
    dice: float


def schedule(seed: int, seconds: float, lines: int) -> list[Strike]:
    """Return all strikes of a run, ordered by time."""
    strikes: list[Strike] = []
    for line, kinds in [
        (-1, EXCHANGE),
        *((line, kinds) for line in range(lines) for kinds in (NETWORK, USER)),
    ]:
        dice = random.Random(f"{seed} {line} {len(kinds)}")
        at = dice.uniform(0.5, 1.5)
        while at < seconds:
            kind = dice.choices(list(kinds), list(kinds.values()))[0]
            strikes.append(Strike(at, line, kind, dice.random()))
            at += dice.uniform(1.0, 3.0)
    return sorted(strikes)
