"""Markets that the exchange does not know: how their books become UNKNOWN, and when they are asked for again.

A wrong or expired ticker draws an empty snapshot whose ``market_id`` is "", not an error (PROTOCOL.md 5.4).
It is not documented that deltas ever flow for a ticker that was unknown when it was subscribed. So the
session asks for such a market again by deleting and adding it, and only a snapshot after that makes its book
LIVE. It asks after ``Timing.ask_unknown`` seconds, then after twice as long each time, and as soon as there
is a sign that the market exists now.

Owns that schedule, and the close times announced on the lifecycle channels. Not thread-safe; owned by the
session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..books.book import Book, BookStatus
from ..errors import UnknownMarketError
from ..messages import MarketLifecycle, MultivariateMarketLifecycle, OrderbookSnapshot
from .memory import UnknownMarketsMemory
from .output import Output
from .reconciler import Reconciler
from .server_subscription import ServerSubscription
from .timing import Timing

__all__ = ["Question", "UnknownMarkets"]

_NEVER: Final = float("inf")
_OVER: Final = ("determined", "settled")


class Question:
    """When to ask for one market again. Not thread-safe; owned by the session."""

    __slots__ = ("answered", "asked", "delay", "due", "not_before", "waits_until")

    def __init__(self, due: float, delay: float, not_before: float = 0.0, waits_until: float = 0.0) -> None:
        self.due = due  # when to ask next, on the session's clock (seconds)
        self.delay = delay  # seconds from there to the one after that
        self.not_before = not_before  # a sign that the market exists is not acted on before this
        # until when the answer to the last question may come; asking meanwhile would make it ambiguous
        self.waits_until = waits_until
        # the serials of the last question, and of the last one that was answered
        self.asked = self.answered = 0

    def next_at(self) -> float:
        """When to ask next."""
        return max(self.due, self.waits_until)


class UnknownMarkets:
    """The UNKNOWN books, and when to ask for their markets again. Not thread-safe; owned by the session."""

    def __init__(self, books: Mapping[str, Book], output: Output, timing: Timing) -> None:
        self._books = books
        self._output = output
        self._timing = timing
        self._next = _NEVER  # no question is due before this; it may be too early
        # False in a replay of a recording from before this module existed: no answer would ever come there
        self.asks_again = True
        self.serial = 0  # of the last question about any market; waits compare it, nothing else depends on it
        self.questions: dict[str, Question] = {}  # by market, for each UNKNOWN book
        # when wanted markets close, in Unix seconds, as announced on the lifecycle channels
        self.closes: dict[str, int] = {}

    def save(self) -> UnknownMarketsMemory | None:
        """Everything that matters between two inputs, as plain values; None if nothing is asked for again."""
        if not self.asks_again:
            return None
        questions = {
            ticker: (q.due, q.delay, q.not_before, q.waits_until) for ticker, q in self.questions.items()
        }
        return UnknownMarketsMemory(questions, dict(self.closes))

    def restore(self, memory: UnknownMarketsMemory | None) -> None:
        """Continue from ``memory``; None: nothing was asked for again when it was saved."""
        self.asks_again = memory is not None
        memory = memory or UnknownMarketsMemory()
        self.questions = {ticker: Question(*saved) for ticker, saved in memory.questions.items()}
        self.closes = dict(memory.closes)
        self._next = min((question.next_at() for question in self.questions.values()), default=_NEVER)

    def take(
        self, book: Book, message: OrderbookSnapshot, subscription: ServerSubscription, now: float
    ) -> None:
        """The exchange does not know the market: its book becomes UNKNOWN, which is reported once."""
        ticker, was_unknown = book.market_ticker, book.status is BookStatus.UNKNOWN
        closes, sent = self.closes.get(ticker), message.sending_ts_ms
        if closes is not None and sent is not None and closes * 1000 <= sent:
            book.was_known = True
        book.empty(message.seq, message.clock, now)
        subscription.unproven.add(ticker)
        if self.asks_again:
            question = self.questions.get(ticker)
            if question is None:
                question = self.questions[ticker] = Question(
                    now + self._timing.ask_unknown, self._timing.ask_unknown
                )
                question.asked = self._next_serial()
            question.answered, question.waits_until = question.asked, 0.0
            self._next = min(self._next, question.due)
        if not was_unknown:
            error = UnknownMarketError(ticker, book.was_known)
            self._output.fault("unknown_market", str(error), now, error, market_ticker=ticker)

    def admits(self, market_ticker: str, subscription: ServerSubscription) -> bool:
        """Whether a snapshot of a market that the exchange knows may make its book LIVE.

        Not if the market was unknown when it was subscribed: then it is asked for again as soon as possible.
        """
        if self.asks_again and market_ticker in subscription.unproven:
            self.ask_soon(market_ticker)
            return False
        self.questions.pop(market_ticker, None)
        return True

    def answered(self, market_ticker: str) -> int:
        """The serial of the last question that the exchange answered with "unknown"; 0 if there is none."""
        question = self.questions.get(market_ticker)
        return question.answered if question is not None else 0

    def _next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def ask_soon(self, market_ticker: str) -> None:
        """Ask again as soon as the pace allows: the market seems to exist, or someone is waiting for it."""
        question = self.questions.get(market_ticker)
        if question is not None:
            question.due, question.delay = question.not_before, self._timing.ask_unknown
            self._next = min(self._next, question.next_at())

    def announced(self, message: MarketLifecycle | MultivariateMarketLifecycle) -> None:
        """A lifecycle message arrived: note when the market closes, and whether it exists."""
        ticker = message.market_ticker or ""
        book = self._books.get(ticker)
        if book is None:
            return
        if message.event_type in _OVER:
            book.was_known = True
        if message.close_ts is not None:
            self.closes[ticker] = message.close_ts
        if message.event_type == "created":
            self.ask_soon(ticker)

    def forget(self, market_ticker: str) -> None:
        """The book is no longer wanted."""
        self.questions.pop(market_ticker, None)
        self.closes.pop(market_ticker, None)

    def next_deadline(self) -> float:
        """When tick() has something to do next."""
        return self._next

    def tick(self, reconciler: Reconciler, now: float) -> None:
        """Ask again for the markets that are due."""
        if now < self._next:
            return
        due = [ticker for ticker, question in self.questions.items() if question.next_at() <= now]
        for ticker in due:
            question = self.questions[ticker]
            question.delay = min(2 * question.delay, self._timing.ask_unknown_max)
            question.due, question.not_before = now + question.delay, now + self._timing.ask_unknown_pace
            question.asked, question.waits_until = self._next_serial(), now + self._timing.snapshot
        self._next = min((question.next_at() for question in self.questions.values()), default=_NEVER)
        if due:
            reconciler.renew(due, now)
