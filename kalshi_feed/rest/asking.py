"""Sends each request over REST: waits for the budget, signs, retries, and reads the answer.

Owns which requests are retried and when, and the errors that users get.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from ..connection.failures import peer_words, unauthorized
from ..connection.http import Answer
from ..connection.url import Endpoint
from ..credentials import Credentials
from ..errors import KalshiFeedError, RestError
from ..messages.flat import wire_object
from ..waiting import Clock
from .budget import Budget
from .records import Limits, limits_in
from .sessions import Sessions

__all__ = ["Asking", "Query", "SleepingClock"]

Query = Mapping[str, str | int | None]
"""A request's parameters; those that are None are left out."""

FIRST_DELAY: Final = 0.5  # seconds before the second attempt, at most; then twice as many each time
LONGEST_DELAY: Final = 8.0
_SLICE: Final = 0.25  # seconds; how long close() may take to end a wait
_LEAST_SKEW: Final = 2.0  # seconds; the Date header has whole ones
_MOST_SKEW: Final = 86_400.0
_MOST_PAGES: Final = 100_000
_NONE: Final[Query] = MappingProxyType({})
_logger: Final = logging.getLogger("kalshi_feed")


class SleepingClock(Clock, Protocol):
    """The clocks and the sleep; the module ``time`` is one."""

    def sleep(self, seconds: float, /) -> object:
        """Wait."""


class Asking:
    """Sends requests to one exchange. Thread-safe: its state is single values.

    ``retry_for``: seconds within which a request that may succeed later is repeated.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        endpoint: Endpoint,
        sessions: Sessions,
        budget: Budget,
        *,
        retry_for: float,
        clock: SleepingClock,
    ) -> None:
        self._credentials = credentials
        self._endpoint = endpoint
        self._sessions = sessions
        self._budget = budget
        self._retry_for = retry_for
        self._clock = clock
        self._clock_offset = 0.0  # seconds to add to our clock when signing, after a 401
        self._is_closed = False
        self.clock_skew: float | None = None
        """Our wall clock minus the exchange's in seconds, at the last answer; None before the first."""

    def close(self) -> None:
        """End the waits between attempts, and close all connections."""
        self._is_closed = True
        self._sessions.close()

    def get(self, path: str, query: Query = _NONE, advice: str = "") -> dict[str, Any]:
        """Return the JSON object that a GET of ``path`` (below the url) answers with. Raises RestError.

        ``advice`` goes with a 404.
        """
        began: float | None = None  # when the first attempt was sent: waiting for its turn is not an attempt
        clock_was_wrong = False
        attempt = 0
        while True:
            self._take_tokens()
            if began is None:
                began = self._clock.monotonic()
            offset = self._clock_offset
            answer, error = self._once(path, query, advice)
            if error is None:
                return answer
            if error.status == 401 and not clock_was_wrong and self._may_be_the_clock(offset):
                clock_was_wrong = True
                continue
            now = self._clock.monotonic()
            if error.status == 429:
                self._budget.empty(now)
            delay = _delay(attempt)
            if not error.retryable or now + delay > began + self._retry_for:
                raise error
            _logger.debug("%s; trying again in %.1f s", error, delay)
            self._sleep(delay)
            attempt += 1

    def pages(self, path: str, query: Query, name: str, key: str) -> Iterator[dict[str, Any]]:
        """Yield the objects in the list ``name`` of all pages, each page asked for when it is needed.

        ``key`` identifies an object: a page may repeat the end of the one before it if something new was
        added in front. Raises RestError.
        """
        cursor: str | None = None
        seen: set[str] = set()
        before: set[object] = set()
        while True:
            answer = self.get(path, {**query, "cursor": cursor})
            objects = self.objects(answer, name, path)
            for found in objects:
                if found.get(key) is None or found[key] not in before:
                    yield found
            before = {found[key] for found in objects if isinstance(found.get(key), str)}
            cursor = answer.get("cursor")
            if not cursor:
                return
            if not isinstance(cursor, str) or cursor in seen or len(seen) > _MOST_PAGES:
                raise RestError(200, "", "the pages do not end: a cursor came twice", path)
            seen.add(cursor)

    def objects(self, answer: Mapping[str, Any], name: str, path: str) -> list[dict[str, Any]]:
        """Return the list of objects ``name`` of an answer; null counts as empty. Raises RestError."""
        found = answer.get(name)
        if found is None and name in answer:
            return []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise RestError(200, "", f"the answer has no list of {name}", path)
        return found

    def set_tier(self, limits: Limits) -> None:
        """Keep to the limits of the account's tier from now on."""
        self._budget.set_rate(limits.tokens_per_second)

    def _take_tokens(self) -> None:
        wait = self._budget.take(self._clock.monotonic())
        if wait <= 0:
            return
        self._sleep(wait)
        # the lowest tier's budget has made us wait: find out whether it must
        if self._credentials is not None and not self._budget.was_asked:
            self._budget.was_asked = True  # other threads go on at the lowest rate meanwhile
            self._sleep(self._budget.take(self._clock.monotonic()))
            answer, error = self._once("/account/limits", {}, "")
            if error is None:
                self.set_tier(limits_in(answer))

    def _sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._check_open()
            self._clock.sleep(min(left, _SLICE))

    def _check_open(self) -> None:
        if self._is_closed:
            raise RestError(None, "", "this Rest was closed; make a new one")

    def _once(
        self, path: str, query: Query, advice: str
    ) -> tuple[dict[str, Any], None] | tuple[dict[str, Any], RestError]:
        """Return the answer's JSON, or an error: one that is a value keeps no stack frame alive."""
        self._check_open()
        words = {name: str(value) for name, value in query.items() if value is not None}
        target = f"{self._endpoint.path}{path}"
        outcome = self._sessions.get(
            target + (f"?{urlencode(words)}" if words else ""), self._headers(target)
        )
        if isinstance(outcome, KalshiFeedError):
            error = RestError(None, "", str(outcome), path)
            error.__cause__ = outcome
            return {}, error
        if outcome.server_time is not None:
            self.clock_skew = self._clock.time() - outcome.server_time.timestamp()
        if outcome.status != 200:
            return {}, self._refused(outcome, path, advice)
        try:
            return wire_object(outcome.body), None
        except (ValueError, RecursionError):
            start = peer_words(outcome.text[:80], self._secrets())
            return {}, RestError(
                200,
                "",
                f"the answer is not a JSON object, it begins with {start!r}",
                path,
                "a proxy or login page on the way may have answered in place of the exchange",
            )

    def _headers(self, target: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "kalshi-feed"}
        if self._credentials is not None:
            now_ms = int((self._clock.time() + self._clock_offset) * 1000)
            headers |= self._credentials.headers(target, now_ms)
        return headers

    def _secrets(self) -> tuple[str, ...]:
        return () if self._credentials is None else (self._credentials.api_key_id,)

    def _may_be_the_clock(self, offset: float) -> bool:
        """Whether to try once more with the exchange's time, after a 401 for a request that was signed with
        this offset: if the answer's Date is far from our clock."""
        if self.clock_skew is None or self._credentials is None:
            return False
        if offset != self._clock_offset:
            return True  # another thread has corrected it in the meantime
        ahead = -self.clock_skew
        if abs(ahead) > _MOST_SKEW or abs(ahead - self._clock_offset) < _LEAST_SKEW:
            return False
        self._clock_offset = ahead
        _logger.warning(
            "REST refused with 401, and this machine's clock is %+.0f s off the exchange's: trying once with "
            "its time",
            -ahead,
        )
        return True

    def _refused(self, answer: Answer, path: str, advice: str) -> RestError:
        code, words = _said(answer)
        message = peer_words(words, self._secrets()) or peer_words(answer.text, self._secrets())
        return RestError(
            answer.status,
            peer_words(code, self._secrets()),
            message or "no reason was given",
            path,
            self._advice(answer, advice),
        )

    def _advice(self, answer: Answer, not_found: str) -> str:
        status = answer.status
        if status == 401 and self._credentials is None:
            return "this needs an API key: pass credentials, or use Rest.from_env()"
        if status == 401:
            now = datetime.fromtimestamp(self._clock.time(), timezone.utc)
            return unauthorized(self._endpoint, answer.server_time, now)
        if status == 403:
            return "this network or country may be refused, or the key may not do this"
        if status == 404:
            return not_found or f"check the url {self._endpoint.redacted}"
        if status == 429:
            return "another program may use the same key, or this address; the rate was below the tier's"
        if 300 <= status < 400:
            return (
                "redirects are not followed. Usually this is a maintenance or login page on the way; if the "
                "exchange has moved, pass its new url"
            )
        return "the exchange, or a server in front of it, has a problem" if status >= 500 else ""


def _said(answer: Answer) -> tuple[str, str]:
    """The exchange's code and message in an error's JSON, as strings; ("", "") if it is something else."""
    try:
        found = wire_object(answer.body)
    except (ValueError, RecursionError):
        return "", ""
    inner = found.get("error")
    if isinstance(inner, str):
        return "", inner
    if isinstance(inner, dict):
        found = inner
    code, message = found.get("code"), found.get("message")
    details = found.get("details")
    words = [text for text in (message, details) if isinstance(text, str) and text]
    return code if isinstance(code, str) else "", ": ".join(words)


def _delay(attempt: int) -> float:
    """Seconds until the next attempt, half of them random. The exchange sends no Retry-After (PROTOCOL.md
    12.1)."""
    most = min(FIRST_DELAY * 2.0 ** min(attempt, 10), LONGEST_DELAY)
    return most * (1.0 + random.random()) / 2
