"""What a consumer asks of its relay, and when it says so. Owns WishList.

It does no I/O; times are time.monotonic() and passed in. Not thread-safe; guarded by the store's lock.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from typing import Final

from .wishes import LEASE, FollowWish, OneTimeRequest, SubscribeWish, Wishes

__all__ = ["WishList"]

RENEW_EVERY: Final = LEASE / 3  # seconds
_FIRST_REPEAT: Final = 1.0  # seconds without an answer; then twice as long each time
_TOGETHER: Final = 0.02  # seconds between two messages, so that changes come together
_MOST_REQUESTS: Final = 1_000  # that wait for an answer; the oldest are forgotten


class WishList:
    """One consumer's side of the conversation with its relay. The module says who owns it.

    Everything that is wanted goes into each message: when it changes, until the relay has answered, and often
    enough that the lease does not end. A consumer that wants nothing, and never did, says nothing.
    """

    def __init__(self) -> None:
        self.consumer = uuid.uuid4().hex
        self._serial = 0  # of the newest wishes; 0: nothing was ever wanted
        self._answered = 0  # the last serial that the relay has answered
        self._requests: list[tuple[int, OneTimeRequest]] = []  # with the serial of their first message
        self._send_at = math.inf
        self._sent_at = -math.inf
        self._repeat = _FIRST_REPEAT
        self._is_empty = True  # nothing was wanted in the last message
        self._unanswered_since: float | None = None  # when the first message was sent that has no answer

    @property
    def is_answered(self) -> bool:
        """Whether the relay has taken in everything."""
        return self._answered == self._serial

    def change(self) -> None:
        """Something else is wanted now."""
        self._serial += 1
        self._repeat = _FIRST_REPEAT
        self._send_at = self._sent_at + _TOGETHER

    def ask(self, request: OneTimeRequest) -> None:
        """Have the relay do something once."""
        self.change()
        self._requests.append((self._serial, request))
        del self._requests[:-_MOST_REQUESTS]

    def asks_for(self, what: str) -> bool:
        """Whether such a request has not been answered."""
        return any(request.do == what for _, request in self._requests)

    def again(self) -> None:
        """The relay may not have heard: another one writes now, or Redis was out of reach."""
        if self._serial and not (self._is_empty and self.is_answered):
            self._repeat = _FIRST_REPEAT
            self._send_at = self._sent_at + _TOGETHER

    def answered(self, serial: int) -> None:
        """The relay has taken in the wishes with this serial."""
        self._answered = min(max(serial, self._answered), self._serial)
        self._requests = [(since, request) for since, request in self._requests if since > self._answered]
        if self.is_answered:
            self._unanswered_since = None
            self._send_at = math.inf if self._is_empty else self._sent_at + RENEW_EVERY

    def unanswered_for(self, now: float) -> float:
        """For how many seconds the relay has not answered."""
        return 0.0 if self._unanswered_since is None else now - self._unanswered_since

    def send_at(self) -> float:
        """When the next message is due."""
        return self._send_at

    def message(self, subscribe: Iterable[SubscribeWish], follow: Iterable[FollowWish], now: float) -> Wishes:
        """Return the message that is due now, and count it as sent."""
        wishes = Wishes(
            self.consumer,
            self._serial,
            list(subscribe),
            list(follow),
            [request for _, request in self._requests],
        )
        self._is_empty = not (wishes.subscribe or wishes.follow)
        self._sent_at = now
        if self.is_answered:
            self._send_at = math.inf if self._is_empty else now + RENEW_EVERY
        else:
            if self._unanswered_since is None:
                self._unanswered_since = now
            self._send_at = now + self._repeat
            self._repeat = min(2 * self._repeat, RENEW_EVERY)
        return wishes
