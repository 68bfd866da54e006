"""The truth, with its history: whether what a feed shows and tells is, or was, the exchange's.

``Oracle`` remembers every state that every book of an exchange went through and every change between them.
``Views`` holds what a feed shows against it (invariant 1), ``Ledger`` what a feed tells (invariants 2 to 4):
every change of a market's book is delivered once and in order, or lies within a loss that was announced
before the next message of that market.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from kalshi_feed import BookView, FeedState, Gap, KalshiFeed, Lagged, Level, StateChange
from kalshi_feed.simulator import Exchange

__all__ = ["Ledger", "Oracle", "Views"]

KEPT: Final = 8_192  # states of a market that are remembered: at 40 changes a second more than three minutes
TOLD_AT_MOST: Final = 50  # findings that are kept in words; all are counted

# yes and no: (1/10,000 dollar, 1/100 contract)
Sides = tuple[Iterable[tuple[int, int]], Iterable[tuple[int, int]]]


class _History:
    """The last states of one book, oldest overwritten first. Written under the exchange's lock; read by any
    thread.

    A state is known by the market's clock and its levels: one action of the exchange may be several changes
    of one clock.
    """

    def __init__(self) -> None:
        self.count = 0  # set last: a reader takes nothing that is not complete
        self._clocks = array("q", [0]) * KEPT
        self._states = array("q", [0]) * KEPT
        self._changes = array("q", [0]) * KEPT

    def add(self, clock: int, state: int, change: int) -> None:
        slot = self.count % KEPT
        self._clocks[slot], self._states[slot], self._changes[slot] = clock, state, change
        self.count += 1

    def find(
        self, clock: int, *, after: int, state: int | None = None, change: int | None = None
    ) -> int | None:
        """The first state behind the ``after``-th with this clock and these levels, or made by this
        change."""
        low, high = max(after + 1, self.count - KEPT), self.count
        end = high
        while low < high:
            middle = (low + high) // 2
            if self._clocks[middle % KEPT] < clock:
                low = middle + 1
            else:
                high = middle
        while low < end and self._clocks[low % KEPT] == clock:
            if state in (None, self._states[low % KEPT]) and change in (None, self._changes[low % KEPT]):
                return low
            low += 1
        return None


class Oracle:
    """What was true in every market of an exchange, from now on. Thread-safe. One to an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._histories: dict[str, _History] = {}
        exchange.watch(self._changed)

    def _changed(self, market: Any, change: tuple[str, int, int] | None) -> None:
        history = self._histories.setdefault(market.ticker, _History())
        state = _state_hash((market.book["yes"].items(), market.book["no"].items()))
        history.add(market.clock, state, 0 if change is None else hash(change))

    def newest(self, market_ticker: str) -> int:
        """The number of the state that is true now."""
        return self._histories[market_ticker].count - 1

    @property
    def changes(self) -> int:
        """How many states there were."""
        return sum(history.count for history in list(self._histories.values()))

    def find_state(self, market_ticker: str, clock: int, sides: Sides, after: int = -1) -> int | None:
        """The number of the first state behind ``after`` that has these levels at this clock; None if none
        had."""
        return self._histories[market_ticker].find(clock, after=after, state=_state_hash(sides))

    def find_change(
        self, market_ticker: str, clock: int, side: str, price: int, delta: int, after: int
    ) -> int | None:
        """The number of the first state behind ``after`` that this change led to at this clock; None if
        none."""
        return self._histories[market_ticker].find(clock, after=after, change=hash((side, price, delta)))


def _state_hash(sides: Sides) -> int:
    return hash((frozenset(sides[0]), frozenset(sides[1])))


def _units(levels: Iterable[Level]) -> list[tuple[int, int]]:
    return [(int(price * 10_000), int(quantity * 100)) for price, quantity in levels]


class Findings:
    """What was found wrong, counted, the first of it in words. Not thread-safe; its owner's lock or thread
    guards it."""

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.texts) < TOLD_AT_MOST:
            self.texts.append(text)


class Views:
    """Whether each LIVE view, looked at one after the other, was true, and no older than the one before it.

    Stricter than invariant 1: also over connections the exchange only goes on. Not thread-safe: one for each
    thread that looks.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._last: dict[str, int] = {}
        self.checked = 0
        self.wrong = Findings()

    def check(self, view: BookView) -> None:
        """Look at one view; any but a LIVE one says nothing."""
        if not view.is_live:
            return
        self.checked += 1
        ticker, clock = view.market_ticker, view.clock if view.clock is not None else -1
        sides = _units(view.bids("yes")), _units(view.bids("no"))
        last = self._last.get(ticker, 0)
        index = self._oracle.find_state(ticker, clock, sides, last - 1)
        if index is not None:
            self._last[ticker] = index
        elif self._oracle.find_state(ticker, clock, sides) is None:
            self.wrong.add(f"{ticker} was never like this: {view!r}, clock {clock}, seq {view.seq}")
        else:
            self.wrong.add(f"{ticker} went back behind state {last}: {view!r}, clock {clock}, seq {view.seq}")


class Ledger:
    """Every snapshot and delta that a feed delivers, held against the truth. Thread-safe; registers its own
    callbacks.

    ``announced`` counts the changes that were not delivered by what announced the loss; ``unannounced`` are
    the other ones, ``wrong`` what came twice, out of order, without its snapshot, or was never the
    exchange's. ``delay`` is the time in seconds that each delta's callback takes. With several ``workers`` an
    event may come before older messages of a market whose worker is behind: its excuse then holds until a
    snapshot that is newer than the event.
    """

    def __init__(self, oracle: Oracle, feed: KalshiFeed, workers: int = 1) -> None:
        self._oracle = oracle
        # guards all of it, for there may be several workers; nothing else is taken under it
        self._lock = threading.Lock()
        self._reported: dict[str, int] = {}  # the state of each market that the user's own book would have
        self._baseless: set[str] = set()  # may have no delta before a snapshot
        # why the market's next message may leave something out; see _excuse()
        self._excuses: dict[str, tuple[str, int]] = {}
        self._in_order = workers == 1
        # the markets that the user has left, with the state that was true then
        self._leaves: dict[str, int] = {}
        self.delay = 0.0
        self.deltas = self.snapshots = self.lagged = 0
        self.announced: Counter[str] = Counter()
        self.unannounced = Findings()
        self.wrong = Findings()
        feed.on_snapshot(self._snapshot)
        feed.on_delta(self._delta)
        feed.on_gap(self._gap)
        feed.on_lagged(self._lagged)
        feed.on_state(self._state)

    def left(self, *market_tickers: str) -> None:
        """The user deletes these markets now: what happens until they come back is no loss."""
        with self._lock:
            self._leaves.update((ticker, self._oracle.newest(ticker)) for ticker in market_tickers)

    def behind(self, market_tickers: Iterable[str]) -> list[str]:
        """The markets of which the newest change has not been delivered."""
        with self._lock:
            return [
                ticker
                for ticker in market_tickers
                if self._reported.get(ticker) != self._oracle.newest(ticker)
            ]

    def _snapshot(self, message: Any) -> None:
        ticker = message.market_ticker
        with self._lock:
            self.snapshots += 1
            sides = _units(message.yes), _units(message.no)
            told = self._reported.get(ticker)
            index = self._oracle.find_state(ticker, message.clock, sides, -1 if told is None else told - 1)
            if index is None:
                return self.wrong.add(
                    f"a snapshot of {ticker} at clock {message.clock} behind state {told}, which never was"
                )
            self._advance(ticker, told, index, 0)
            self._baseless.discard(ticker)

    def _delta(self, message: Any) -> None:
        ticker = message.market_ticker
        with self._lock:
            self.deltas += 1
            told = self._reported.get(ticker)
            what = (
                f"{ticker}: {message.side} {message.price} {message.delta:+} at clock {message.clock}, "
                f"seq {message.seq}"
            )
            if ticker in self._baseless and self._in_order:
                self.wrong.add(f"{what} came without a snapshot")
            price, delta = _units([Level(message.price, message.delta)])[0]
            index = self._oracle.find_change(
                ticker, message.clock, message.side, price, delta, -1 if told is None else told
            )
            if index is None:
                return self.wrong.add(
                    f"{what} came twice, too late, or never was; the last one led to state {told}"
                )
            if told is None and ticker not in self._excuses:
                self.wrong.add(f"{what} came before any snapshot")
            self._advance(ticker, told, index, 1)
            delay = self.delay
        if delay:
            time.sleep(delay)  # a slow callback

    def _advance(self, ticker: str, told: int | None, index: int, own: int) -> None:
        """The user's book is now at state ``index``; ``own``: how many of the changes since the message
        itself brought."""
        missing = 0 if told is None else index - told - own
        excuse, since = self._excuses.get(ticker, (None, index))
        left = self._leaves.get(ticker)
        if missing > 0:
            if excuse is None and left is not None:
                excuse = "left by the user"
            if excuse is not None:
                self.announced[excuse] += missing
            else:
                self.unannounced.add(f"{missing} changes of {ticker} between states {told} and {index}")
        if self._in_order or (not own and index > since):
            self._excuses.pop(ticker, None)
        if left is not None and not own and index > left:
            del self._leaves[ticker]
        self._reported[ticker] = index

    def _excuse(self, market_tickers: Iterable[str], excuse: str) -> None:
        """Their next message may leave something out, for this reason; noted with the state that is true
        now."""
        self._excuses.update((ticker, (excuse, self._oracle.newest(ticker))) for ticker in market_tickers)

    def _gap(self, gap: Gap) -> None:
        if gap.channel == "orderbook_delta":
            with self._lock:
                self._excuse(gap.market_tickers, "gap")
                self._baseless.update(gap.market_tickers)

    def _lagged(self, lagged: Lagged) -> None:
        with self._lock:
            self.lagged += lagged.dropped
            self._excuse(lagged.market_tickers, "lagged")
            # the snapshot may be among what was dropped
            self._baseless.difference_update(lagged.market_tickers)

    def _state(self, change: StateChange) -> None:
        if change.state is FeedState.RECONNECTING:
            with self._lock:
                self._excuse(self._reported, "connection lost")
                self._baseless.update(self._reported)
