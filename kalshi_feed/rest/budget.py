"""How many requests may be sent: a token bucket for each key and exchange, shared by all Rest objects.

Owns the buckets of this process. The exchange fills a bucket of its own at the rate of the account's tier,
and answers 429 when it is empty; ours is a tenth slower and smaller, so that requests that bunch up on the
way are still within it.
"""

from __future__ import annotations

from typing import Final

from ..forks import call_in_child
from ..greenlets import free_in_child, lock

__all__ = ["BASIC_TOKENS", "COST", "Budget", "shared_budget"]

BASIC_TOKENS: Final = 200.0  # a second: the lowest tier (PROTOCOL.md 12.1)
COST: Final = 10.0  # tokens of a request
BURST_SECONDS: Final = 3.0  # of refilling that the exchange's bucket holds
_MARGIN: Final = 0.9

# Guards the table and all of its buckets; pure arithmetic runs under it.
_lock = lock()
_budgets: dict[tuple[str, str], Budget] = {}


def shared_budget(key_id: str, url: str) -> Budget:
    """Return the one bucket for this key ("" for none) and this url. It stays as long as the process: a new
    one would begin full."""
    with _lock:
        return _budgets.setdefault((key_id, url), Budget())


class Budget:
    """A token bucket. Thread-safe. ``now`` is always the seconds of one monotonic clock."""

    __slots__ = ("_at", "_rate", "_tokens", "was_asked")

    def __init__(self) -> None:
        self._rate = BASIC_TOKENS * _MARGIN
        self._tokens = self._rate * BURST_SECONDS
        self._at: float | None = None  # when _tokens was right; None before the first request
        self.was_asked = False
        """Whether the tier is known: given, or asked from the exchange."""

    def set_rate(self, tokens_per_second: float) -> None:
        """Set what the exchange allows, in tokens a second."""
        with _lock:
            self._rate = tokens_per_second * _MARGIN
            self._tokens = min(self._tokens, self._rate * BURST_SECONDS)
            self.was_asked = True

    def take(self, now: float) -> float:
        """Take a request's tokens; return how many seconds to wait before sending it.

        First come, first served: tokens that do not exist yet are taken in advance.
        """
        with _lock:
            self._fill(now)
            self._tokens -= COST
            return max(0.0, -self._tokens / self._rate)

    def empty(self, now: float) -> None:
        """The exchange has answered 429: its bucket is empty, so ours is, too."""
        with _lock:
            self._fill(now)
            self._tokens = min(self._tokens, 0.0)

    def _fill(self, now: float) -> None:
        if self._at is not None:
            grown = self._tokens + max(0.0, now - self._at) * self._rate
            self._tokens = min(grown, self._rate * BURST_SECONDS)
        self._at = now


call_in_child(lambda: free_in_child(_lock))
