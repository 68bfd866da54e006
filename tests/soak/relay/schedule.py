"""What goes wrong with a relay, and for how long: drawn from the seed alone, before the run begins.

Faults come one after the other, so that each recovery has its cause; sometimes two come at once. All kinds
come once, in random order, before any of them comes again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ALONE", "TWO_AT_ONCE", "WITH_STANDBY", "Episode", "episodes"]

# kind -> seconds that the fault lasts, from and to; (0, 0) for what happens in a moment
ALONE: Final = {
    "relay killed": (0.0, 0.0),
    "relay ended": (0.0, 0.0),
    "relay frozen": (0.3, 2.0),
    "relay frozen past its lease": (3.5, 6.0),
    "second relay": (0.0, 0.0),
    "Redis killed, data kept": (0.0, 2.0),
    "Redis killed, data lost": (0.0, 2.0),
    "Redis killed, older data": (0.0, 2.0),
    "Redis frozen": (0.3, 1.5),
    "Redis frozen long": (2.5, 5.0),
    "relay's network cut": (0.0, 0.0),
    "relay's network down": (0.5, 4.0),
    "relay's network silent": (0.5, 6.0),
    "consumer's network cut": (0.0, 0.0),
    "consumer's network down": (0.5, 4.0),
    "consumer's network silent": (0.5, 6.0),
    "consumer stopped": (0.3, 4.0),
    "consumer stopped beyond MAXLEN": (2.5, 8.0),
    "consumer killed": (0.0, 0.0),
    "exchange resets": (0.0, 0.0),
    "exchange restarts": (0.0, 1.0),
    "exchange loses frames": (0.0, 0.0),
}
"""Faults with one relay."""

WITH_STANDBY: Final = {
    "leader killed": (0.0, 0.0),
    "leader ended": (0.0, 0.0),
    "leader frozen past its lease": (3.5, 8.0),
    "leader's network cut": (0.0, 0.0),
    "leader's network down": (3.5, 6.0),
    "leader's network silent": (3.5, 8.0),
    "standby killed": (0.0, 0.0),
    "lease taken away": (0.0, 0.0),
    "Redis killed, data lost": (0.0, 4.0),
    "Redis frozen long": (2.5, 5.0),
    "exchange resets": (0.0, 0.0),
}
"""Faults with a relay and a standby."""

TWO_AT_ONCE: Final = "two at once"


@dataclass(frozen=True)
class Strike:
    """One fault: it lasts ``seconds``, and is a matter of ``dice`` (from 0 to 1) in detail."""

    kind: str
    seconds: float
    dice: float


@dataclass(frozen=True)
class Episode:
    """The faults that begin together after ``calm`` seconds in which everything was right."""

    calm: float
    strikes: tuple[Strike, ...]

    @property
    def kind(self) -> str:
        """What the recovery is counted as."""
        return self.strikes[0].kind if len(self.strikes) == 1 else TWO_AT_ONCE


def episodes(seed: int, kinds: dict[str, tuple[float, float]]) -> Iterator[Episode]:
    """Return the episodes of a run without an end."""
    dice = random.Random(f"{seed} {len(kinds)}")

    def strike(kind: str) -> Strike:
        return Strike(kind, dice.uniform(*kinds[kind]), dice.random())

    while True:
        deck: list[tuple[str, ...]] = [(kind,) for kind in kinds]
        deck += [tuple(dice.sample(sorted(kinds), 2)) for _ in range(len(kinds) // 5)]
        dice.shuffle(deck)
        for names in deck:
            yield Episode(dice.uniform(0.3, 1.5), tuple(strike(kind) for kind in names))
