"""When to dial again, and when to give up.

Owns ReconnectPolicy (public, immutable) and Retries (the count for one feed). Delays are returned; the caller
waits. Retries is not thread-safe; the reader owns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import (
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    HandshakeRejected,
    KalshiFeedError,
    ProxyError,
    TLSError,
)

__all__ = ["ReconnectPolicy", "Retries"]

_FOREVER: Final = 1e9  # seconds, 30 years
# policy violation, restart, try again later: wait, so that not all clients return at once
_SLOW_CODES: Final = frozenset({1008, 1012, 1013})
_SLOW_DELAY: Final = 5.0
_MAX_POLICY_CLOSES: Final = 5
_MAX_RETRY_AFTER: Final = 60.0


@dataclass(frozen=True)
class ReconnectPolicy:
    """How often, and after what delays, a lost connection is dialed again.

    The first retry waits ``initial_delay`` seconds, each further one ``multiplier`` times as long, up to
    ``max_delay``; with ``jitter`` each delay is multiplied by a random factor between ½ and 1.
    ``max_retries`` (None: no limit) counts from the last healthy session. Raises ConfigurationError for
    values that cannot work.
    """

    max_retries: int | None = None
    initial_delay: float = 0.5
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.max_retries is not None and (type(self.max_retries) is not int or self.max_retries < 0):
            raise ConfigurationError(
                f"max_retries must be a whole number of 0 or more, or None, not {self.max_retries!r}"
            )
        for name, least in (("initial_delay", 0.0), ("max_delay", 0.0), ("multiplier", 1.0)):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not least <= value < _FOREVER
            ):
                raise ConfigurationError(
                    f"{name} must be a number of {least:g} or more, and less than {_FOREVER:g}, not "
                    f"{value!r:.60}"
                )
        if self.max_delay < self.initial_delay:
            raise ConfigurationError(
                f"max_delay ({self.max_delay}) must not be smaller than initial_delay ({self.initial_delay})"
            )

    @classmethod
    def never(cls) -> ReconnectPolicy:
        """A policy that never reconnects: the first failure is final."""
        return cls(max_retries=0)

    def delay(self, retry: int, random: float) -> float:
        """The seconds before retry number ``retry`` (from 1); ``random`` is a number from 0 to 1."""
        exponent = min(retry - 1, 1000)  # a float overflows long before a patient feed stops counting
        try:
            delay = min(self.initial_delay * self.multiplier**exponent, self.max_delay)
        except OverflowError:
            delay = self.max_delay
        return delay * (0.5 + random / 2) if self.jitter else delay


class Retries:
    """Counts the failures since the last healthy session. Not thread-safe; owned by the reader."""

    def __init__(self, policy: ReconnectPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._policy_closes = 0  # closes with code 1008 since the last healthy session
        self.count = 0  # retries since the last healthy session
        self.ever_healthy = False  # whether there ever was a healthy session

    def next_delay(self, error: KalshiFeedError, *, healthy: bool) -> float:
        """The seconds until the next dial after ``error``; ``healthy``: whether it ended a healthy session.

        Raises the error that ends the feed if another dial cannot help or the policy does not allow one.
        """
        if healthy:
            self.count = self._policy_closes = 0
            self.ever_healthy = True
        # a certificate or a proxy's password worked before, so it may work again: someone is probably fixing
        # it
        late = not error.retryable and self.ever_healthy and isinstance(error, (TLSError, ProxyError))
        if not error.retryable and not late:
            raise error
        if isinstance(error, ConnectionLost) and error.code == 1008:
            self._policy_closes += 1
            if self._policy_closes >= _MAX_POLICY_CLOSES:
                raise ConnectionLost(
                    1008, f"{error.reason or 'policy violation'} (five times without a healthy session)"
                )
        if self._policy.max_retries is not None and self.count >= self._policy.max_retries:
            raise _final(error, self.count)
        self.count += 1
        delay = self._policy.delay(self.count, self._random())
        if late:
            return max(delay, self._policy.max_delay, self._slow_delay())
        if _is_slow(error):
            delay = max(delay, self._slow_delay())
        if isinstance(error, HandshakeRejected) and error.retry_after:
            delay = max(delay, min(error.retry_after, _MAX_RETRY_AFTER) * (1 + self._random() / 10))
        return delay

    def _slow_delay(self) -> float:
        return _SLOW_DELAY * (0.5 + self._random() / 2)


def _is_slow(error: KalshiFeedError) -> bool:
    """Whether dialing again right away would not help, or would only add to a stampede."""
    if isinstance(error, ConnectionLost):
        return error.code in _SLOW_CODES
    # a page or a redirect: a captive portal where someone has to log in, or maintenance that takes a while
    return isinstance(error, HandshakeRejected) and error.status < 400


def _final(error: KalshiFeedError, retries: int) -> KalshiFeedError:
    """The same error, with a message that says that it is the last one."""
    if retries == 0:
        return error
    tail = f"gave up after {retries} retr{'y' if retries == 1 else 'ies'}"
    if isinstance(error, ConnectionFailed):
        final: KalshiFeedError = type(error)(f"{error.args[0]}; {tail}", *error.args[1:])
    else:
        lost = error if isinstance(error, ConnectionLost) else ConnectionLost(None, str(error))
        final = ConnectionLost(lost.code, f"{lost.reason}; {tail}".lstrip("; "))
    final.__cause__ = error.__cause__
    return final
