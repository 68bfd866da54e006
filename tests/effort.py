"""How hard the property and state tests try.

By default they are quick, and the same in every run. ``KALSHI_EFFORT=20`` makes them try twenty times as many
examples, and new ones in every run: a failure then prints the seed, and ``pytest --hypothesis-seed=…``
replays it. ``KALSHI_EFFORT=first`` stops at the first failure without shrinking it; the seeded bugs run that
way.
"""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings

__all__ = ["TIMES", "effort"]

_EFFORT: Final = os.environ.get("KALSHI_EFFORT", "1")
TIMES: Final = 1 if _EFFORT == "first" else int(_EFFORT)


def effort(examples: int, **more: Any) -> settings:
    """Return the settings of a property test that tries ``examples`` examples."""
    phases = [Phase.explicit, Phase.generate]
    return settings(
        max_examples=examples * TIMES,
        phases=phases if _EFFORT == "first" else [*phases, Phase.shrink],
        derandomize=TIMES == 1,
        print_blob=TIMES > 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
