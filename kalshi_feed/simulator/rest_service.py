"""How REST requests are received: counted, limited, checked for a signature, answered or disturbed.

Owns the count of requests, the token bucket, and the answers that a test has scripted.
"""

from __future__ import annotations

import http
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .accounts import Account
from .core import Core
from .history import History
from .http_wire import HttpAnswer, HttpRequest, failure
from .listing import Listing
from .rest_endpoints import BURST_SECONDS, ENDPOINTS, Endpoints, NotFound, route
from .rest_json import other_id, trade_json
from .rest_pages import BadParameter, Parameters
from .wire import encode_json

COST = 10  # tokens of a request
KEEP_LOG = 10_000
HANG_SECONDS = 86_400.0
TOO_MANY = encode_json({"error": "too many requests"})

How = Literal["reset", "close", "hang", "cut", "garbage", "noise", "shape"]
_BROKEN: Mapping[str, HttpAnswer] = {
    "reset": HttpAnswer(0, fate="reset"),
    "close": HttpAnswer(0, fate="close", raw=b""),
    "hang": HttpAnswer(0, fate="reset", delay=HANG_SECONDS),
    "garbage": HttpAnswer(
        200, b"<html><body>It works!</body></html>", {"Content-Type": "text/html; charset=utf-8"}
    ),
    "noise": HttpAnswer(0, fate="close", raw=b"\x00\x15\x03 this is not HTTP\r\n\r\n"),
    "cut": HttpAnswer(200, b'{"markets":[{"ticker":"KX-CUT"}],"trades":[],"cursor":""}', fate="cut"),
    "shape": HttpAnswer(200, b"[]"),
}


@dataclass(frozen=True)
class RestRequest:
    """One REST request that the exchange has received; without its headers, so without a signature."""

    method: str
    path: str  # below /trade-api/v2
    query: Mapping[str, str]
    status: int  # 0: it got no answer
    connection: int  # two requests with the same number came over one connection
    time_us: int  # on the exchange's clock


@dataclass(frozen=True)
class RestUsage:
    """How much of the tier's limit has been used. A request costs 10 tokens."""

    requests: int
    refused: int  # with 429 because the bucket was empty, not because a test had asked for it
    peak_per_second: float  # the most tokens asked for within one second, a burst included
    lowest_tokens: float  # the least that was ever left in the bucket


@dataclass
class _Scripted:
    answer: HttpAnswer
    path: str
    remaining: int | None


@dataclass
class _Bucket:
    """The token bucket of the account's tier: full at first, it holds three seconds' worth."""

    level: float | None = None
    at: float = 0.0
    lowest: float = float("inf")
    peak: float = 0.0
    refused: int = 0
    requests: int = 0
    recent: deque[float] = field(default_factory=deque)

    def take(self, rate: float | None, now: float) -> bool:
        """Count a request; False if there are no tokens for it."""
        self.requests += 1
        self.recent.append(now)
        while self.recent[0] <= now - 1:
            self.recent.popleft()
        self.peak = max(self.peak, len(self.recent) * float(COST))
        if rate is None:
            return True
        capacity = rate * BURST_SECONDS
        level = capacity if self.level is None else min(capacity, self.level + (now - self.at) * rate)
        self.at, enough = now, level >= COST
        self.level = level - COST if enough else level
        self.lowest = min(self.lowest, self.level)
        self.refused += not enough
        return enough


class RestService:
    """Answers REST. Thread-safe; a connection's thread calls ``answer``."""

    def __init__(self, core: Core, listing: Listing, history: History, account: Account) -> None:
        self._core = core
        self._settings = core.settings
        self._history = history
        self._account = account
        # guarded by the exchange's lock, like everything below
        self._endpoints = Endpoints(core, listing, history)
        self._bucket = _Bucket()
        self._scripted: list[_Scripted] = []
        self._counts: Counter[str] = Counter()
        self._log: deque[RestRequest] = deque(maxlen=KEEP_LOG)

    # -- what a test scripts ---------------------------------------------------------------------------------
    def refuse_rest(
        self,
        n: int | None = 1,
        status: int = 503,
        *,
        path: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next ``n`` REST requests (None: all) with this status instead.

        ``path``: only those whose path below /trade-api/v2 begins like this. ``body``: by default an error as
        JSON. Calls add up, in order.
        """
        if body is None:
            body = TOO_MANY if status == 429 else _error_body(status)
        self._script(_Scripted(HttpAnswer(status, body, dict(headers or {})), path, n))

    def break_rest(self, n: int | None = 1, how: How = "reset", *, path: str = "") -> None:
        """Spoil the next ``n`` REST requests (None: all).

        ``how``: the connection is ended with RST (``reset``) or FIN (``close``), there is no answer
        (``hang``), the answer ends in the middle (``cut``), it is HTML (``garbage``), not HTTP (``noise``),
        or JSON of another shape (``shape``). ``path``: as with ``refuse_rest``. Raises ValueError.
        """
        if how not in _BROKEN:
            raise ValueError(f"how must be one of {', '.join(_BROKEN)}, got {how!r}")
        self._script(_Scripted(_BROKEN[how], path, n))

    def expire_rest_cursors(self) -> None:
        """Make every cursor handed out so far invalid: requests with one are answered with 400."""
        with self._core.lock:
            self._endpoints.expire_cursors()

    def _script(self, scripted: _Scripted) -> None:
        if scripted.remaining == 0:
            return
        with self._core.lock:
            self._scripted.append(scripted)

    # -- what a test looks at --------------------------------------------------------------------------------
    @property
    def rest_requests(self) -> dict[str, int]:
        """How many REST requests have arrived, by endpoint (``/markets/{ticker}``; ``?``: an unknown one)."""
        with self._core.lock:
            return dict(self._counts)

    @property
    def rest_log(self) -> list[RestRequest]:
        """The last 10,000 REST requests, in order."""
        with self._core.lock:
            return list(self._log)

    @property
    def rest_usage(self) -> RestUsage:
        """How close to the tier's limit the requests came."""
        with self._core.lock:
            bucket = self._bucket
            return RestUsage(bucket.requests, bucket.refused, bucket.peak, bucket.lowest)

    @property
    def trades(self) -> list[dict[str, Any]]:
        """The last 100,000 trades as REST writes them, oldest first, even those that no client was subscribed
        to."""
        with self._core.lock:
            records = list(self._history.trades())
        return [trade_json(record, ids_differ=False) for record in reversed(records)]

    def rest_trade_id(self, trade_id: str) -> str:
        """The id that REST has for a trade or a fill of the feed while its ids differ (``quirks``)."""
        return other_id(trade_id)

    def wait_for_rest_requests(
        self, n: int, timeout: float = 5.0, *, endpoint: str | None = None
    ) -> dict[str, int]:
        """Wait until ``n`` REST requests (to one endpoint) have been answered; returns ``rest_requests``.

        Raises TimeoutError.
        """

        def enough() -> bool:
            return (self._counts.total() if endpoint is None else self._counts[endpoint]) >= n

        self._core.wait_for(enough, timeout, f"{n} REST requests")
        return self.rest_requests

    # -- a connection's thread -------------------------------------------------------------------------------
    def answer(self, request: HttpRequest, connection: int) -> HttpAnswer:
        """Count a request and answer it."""
        found = route(request.path)
        with self._core.changed:
            status, answer = self._answer(request, found)
            self._counts["?" if found is None else found[0]] += 1
            self._log.append(
                RestRequest(
                    request.method, request.path, request.query, status, connection, self._core.now_us()
                )
            )
            self._core.changed.notify_all()
        # encoded without the lock
        whole = answer if isinstance(answer, HttpAnswer) else HttpAnswer(status, encode_json(answer))
        return self._spoiled(whole, request)

    # -- with the lock ---------------------------------------------------------------------------------------
    def behave_locked(self) -> None:
        """Drop every scripted answer."""
        self._scripted.clear()

    def forget_locked(self) -> None:
        """Drop what was counted so far. The bucket keeps its level."""
        self._counts.clear()
        self._log.clear()
        self._bucket = _Bucket(self._bucket.level, self._bucket.at)

    def _answer(
        self, request: HttpRequest, found: tuple[str, str] | None
    ) -> tuple[int, HttpAnswer | dict[str, Any]]:
        """The status, 0 if there is none, and the answer."""
        in_budget = self._bucket.take(self._endpoints.rate(), time.monotonic())
        disturbed = self._disturbed(request.path)
        if disturbed is not None:
            return disturbed.status, disturbed
        if not in_budget:
            return 429, HttpAnswer(429, TOO_MANY)
        if found is None:
            refused = failure(404, "not_found", f"there is no {request.path!r}")
        elif request.method != "GET":
            refused = failure(405, "method_not_allowed", "the simulator serves GET only")
        else:
            name, ticker = found
            method, is_signed = ENDPOINTS[name]
            details = self._refusal(request) if is_signed else None
            if details is not None:
                refused = failure(401, "authentication_error", "authentication_error", details=details)
            else:
                try:
                    return 200, method(self._endpoints, Parameters(request.query), ticker)
                except BadParameter as error:
                    refused = failure(400, "bad_request", str(error))
                except NotFound as error:
                    refused = failure(404, "not_found", f"{error} not found")
        return refused.status, refused

    def _refusal(self, request: HttpRequest) -> str | None:
        now_ms, skew_ms = self._core.now_us() // 1000, self._settings.max_clock_skew * 1000
        return self._account.refusal(
            request.headers, request.raw_path, now_ms, skew_ms, method=request.method
        )

    def _disturbed(self, path: str) -> HttpAnswer | None:
        """The answer that a test has scripted in place of the real one, or None."""
        for scripted in self._scripted:
            if path.startswith(scripted.path):
                if scripted.remaining is not None:
                    scripted.remaining -= 1
                    if scripted.remaining == 0:
                        self._scripted.remove(scripted)
                return scripted.answer
        down = self._settings.rest_down
        if isinstance(down, int):
            return HttpAnswer(down, _error_body(down))
        return None if down is None else _BROKEN[down]

    # -- without the lock ------------------------------------------------------------------------------------
    def _spoiled(self, answer: HttpAnswer, request: HttpRequest) -> HttpAnswer:
        """The answer with the current delay; it closes the connection if the client has asked for that.

        A client that has sent a HEAD reads no body, so nothing can follow it.
        """
        fate = answer.fate
        if fate == "keep" and (not request.keep_alive or request.method == "HEAD"):
            fate = "close"
        return replace(answer, delay=answer.delay + self._settings.rest_delay, fate=fate)


def _error_body(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown"
    return encode_json({"error": {"code": phrase.lower().replace(" ", "_"), "message": phrase}})
