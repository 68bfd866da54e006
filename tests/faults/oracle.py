"""Knows the truth and its history: whether what a feed shows and delivers is, or was, the exchange's.

``Oracle`` remembers every state of every book of an exchange, and every change between them. ``Views`` checks
what a feed shows against it (invariant 1). ``Ledger`` checks what a feed delivers (invariants 2 to 4): every
change of a book arrives once and in order, or lies within a loss that was announced before the market's next
message.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from kalshi_feed import BookView, FeedState, Gap, KalshiFeed, Lagged, Level, StateChange
from kalshi_feed.simulator import Exchange

__all__ = ["Findings", "Ledger", "Oracle", "SharedTruth", "Truth", "Views"]

KEPT: Final = 8_192  # states remembered per market: more than three minutes of 40 changes per second
_PARTS: Final = 4  # numbers of a state: the market's clock, its levels, its change, and since when
TOLD_AT_MOST: Final = 50  # findings kept as text; all of them are counted

# yes and no: (1/10,000 dollar, 1/100 contract)
Sides = tuple[Iterable[tuple[int, int]], Iterable[tuple[int, int]]]


class _History:
    """The last states of one book; the oldest is overwritten first. Written under the exchange's lock; any
    thread may read, and with shared memory any process.

    A state is identified by the market's clock and its levels, because one action of the exchange may make
    several changes at one clock.
    """

    def __init__(self, memory: memoryview | None = None) -> None:
        kept = KEPT
        numbers = memoryview(bytearray(_size())) if memory is None else memory
        self._kept = kept
        self._numbers = numbers.cast("q")  # [0] is how many states there were: set last, so all are complete
        self._clocks, self._states, self._changes, self._since = (
            self._numbers[1 + part * kept : 1 + (part + 1) * kept] for part in range(_PARTS)
        )

    @property
    def count(self) -> int:
        """How many states there have been."""
        return self._numbers[0]

    def add(self, clock: int, state: int, change: int) -> None:
        count = self._numbers[0]
        slot = count % self._kept
        self._clocks[slot], self._states[slot], self._changes[slot] = clock, state, change
        self._since[slot] = time.monotonic_ns()
        self._numbers[0] = count + 1

    def replaced_at(self, index: int) -> float | None:
        """When this state stopped being true (time.monotonic()); None if it is true now, or too old."""
        if not self.count - self._kept < index + 1 < self.count:
            return None
        return self._since[(index + 1) % self._kept] / 1e9

    def find(
        self, clock: int, *, after: int, state: int | None = None, change: int | None = None
    ) -> int | None:
        """Return the first state after ``after`` that has this clock and these levels, or that this change
        made."""
        kept, count = self._kept, self.count
        low, high = max(after + 1, count - kept), count
        end = high
        while low < high:
            middle = (low + high) // 2
            if self._clocks[middle % kept] < clock:
                low = middle + 1
            else:
                high = middle
        while low < end and self._clocks[low % kept] == clock:
            if state in (None, self._states[low % kept]) and change in (None, self._changes[low % kept]):
                return low
            low += 1
        return None


def _size() -> int:
    """How many bytes a history has."""
    return 8 * (1 + _PARTS * KEPT)


class Truth:
    """What is true in every market of an exchange, and what was. Thread-safe."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}

    def newest(self, market_ticker: str) -> int:
        """The number of the state that is true now."""
        return self._histories[market_ticker].count - 1

    @property
    def changes(self) -> int:
        """How many states there have been."""
        return sum(history.count for history in list(self._histories.values()))

    def find_state(self, market_ticker: str, clock: int, sides: Sides, after: int = -1) -> int | None:
        """Return the number of the first state after ``after`` with these levels at this clock, or None."""
        return self._histories[market_ticker].find(clock, after=after, state=_state_hash(sides))

    def find_change(
        self, market_ticker: str, clock: int, side: str, price: int, delta: int, after: int
    ) -> int | None:
        """Return the number of the first state after ``after`` that this change led to at this clock, or
        None."""
        return self._histories[market_ticker].find(
            clock, after=after, change=_change_hash(side, price, delta)
        )

    def replaced_at(self, market_ticker: str, state: int) -> float | None:
        """When a state stopped being true (time.monotonic()); None if it is true now, or if that was too long
        ago."""
        return self._histories[market_ticker].replaced_at(state)


class Oracle(Truth):
    """The truth from now on, as the exchange makes it. One per exchange.

    ``file``: keep it there, for ``SharedTruth`` in other processes. The markets are then those of now.
    """

    def __init__(self, exchange: Exchange, file: Path | None = None) -> None:
        super().__init__()
        if file is not None:
            tickers = exchange.market_tickers
            file.write_bytes(bytes(_size() * len(tickers)))
            self._histories.update(_shared(file, tickers, mmap.ACCESS_WRITE))
        exchange.watch(self._changed)

    def _changed(self, market: Any, change: tuple[str, int, int] | None) -> None:
        history = self._histories.get(market.ticker)
        if history is None:
            history = self._histories[market.ticker] = _History()
        state = _state_hash((market.book["yes"].items(), market.book["no"].items()))
        history.add(market.clock, state, 0 if change is None else _change_hash(*change))


class SharedTruth(Truth):
    """The truth that an ``Oracle`` in another process keeps in this file, for the same markets."""

    def __init__(self, file: Path, market_tickers: Iterable[str]) -> None:
        super().__init__()
        self._histories.update(_shared(file, market_tickers, mmap.ACCESS_READ))


def _shared(file: Path, market_tickers: Iterable[str], access: int) -> dict[str, _History]:
    with file.open("r+b") as opened:
        memory = memoryview(mmap.mmap(opened.fileno(), 0, access=access))
    size = _size()
    return {
        ticker: _History(memory[place * size : (place + 1) * size])
        for place, ticker in enumerate(market_tickers)
    }


def _change_hash(side: str, price: int, delta: int) -> int:
    return hash((side == "yes", price, delta))  # of no string: the same in every process


def _state_hash(sides: Sides) -> int:
    return hash((frozenset(sides[0]), frozenset(sides[1])))


def _units(levels: Iterable[Level]) -> list[tuple[int, int]]:
    return [(int(price * 10_000), int(quantity * 100)) for price, quantity in levels]


class Findings:
    """Counts what was found wrong, and keeps the first findings as text. Not thread-safe: guarded by its
    owner's lock or thread."""

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Add one finding."""
        self.count += 1
        if len(self.texts) < TOLD_AT_MOST:
            self.texts.append(text)


class Views:
    """Checks a series of LIVE views: each was true, and none is older than the one before it.

    Stricter than invariant 1, because the exchange only moves forward, over reconnects too. Not thread-safe:
    each thread that looks has its own.
    """

    def __init__(self, oracle: Truth) -> None:
        self._oracle = oracle
        self._last: dict[str, int] = {}
        self.checked = 0
        self.wrong = Findings()

    def check(self, view: BookView) -> int | None:
        """Check one view; return the number of the state that it shows. Only a LIVE view promises
        anything."""
        if not view.is_live:
            return None
        self.checked += 1
        ticker, clock = view.market_ticker, view.clock if view.clock is not None else -1
        sides = _units(view.bids("yes")), _units(view.bids("no"))
        last = self._last.get(ticker, 0)
        index = self._oracle.find_state(ticker, clock, sides, last - 1)
        if index is not None:
            self._last[ticker] = index
        elif self._oracle.find_state(ticker, clock, sides) is None:
            self.wrong.add(f"{ticker} never looked like this: {view!r}, clock {clock}, seq {view.seq}")
        else:
            self.wrong.add(
                f"{ticker} went back to before state {last}: {view!r}, clock {clock}, seq {view.seq}"
            )
        return index


class Ledger:
    """Checks every snapshot and delta that a feed delivers against the truth. Thread-safe; registers its own
    callbacks.

    ``announced`` counts the changes that were not delivered, by what announced the loss. ``unannounced``
    holds the others, and ``wrong`` what came twice, out of order, without its snapshot, or was never true.
    ``delay`` is how long each delta's callback takes, in seconds. With several ``workers`` an event may
    overtake older messages of a market whose worker is behind: then its excuse holds until a snapshot that is
    newer than the event. ``has_snapshots``: False for a feed from a relay, which begins with books that no
    callback has had a snapshot of. ``market_tickers``: only these.
    """

    def __init__(
        self,
        oracle: Truth,
        feed: KalshiFeed,
        workers: int = 1,
        *,
        has_snapshots: bool = True,
        market_tickers: Iterable[str] | None = None,
    ) -> None:
        self._oracle = oracle
        self._has_snapshots = has_snapshots
        # guards everything here, because there may be several workers; no other lock is taken under it
        self._lock = threading.Lock()
        self._reported: dict[str, int] = {}  # by market: the state of the book that a user would have built
        self._baseless: set[str] = set()  # markets that may have no delta before a snapshot
        # why the market's next message may leave something out; see _excuse()
        self._excuses: dict[str, tuple[str, int]] = {}
        self._in_order = workers == 1
        # whether a relay's consumer is out of reach, and what was missing meanwhile
        self._is_in_doubt = False
        self._in_doubt: list[tuple[int, str]] = []
        # the markets that the user has deleted, with the state that was true then
        self._leaves: dict[str, int] = {}
        self.delay = 0.0
        self.deltas = self.snapshots = self.lagged = 0
        self.announced: Counter[str] = Counter()
        self.unannounced = Findings()
        self.wrong = Findings()
        feed.on_snapshot(self._snapshot, market_tickers=market_tickers)
        feed.on_delta(self._delta, market_tickers=market_tickers)
        feed.on_gap(self._gap)
        feed.on_lagged(self._lagged)
        feed.on_state(self._state)

    def left(self, *market_tickers: str) -> None:
        """The user is deleting these markets: whatever happens until they come back is not a loss."""
        with self._lock:
            self._leaves.update((ticker, self._oracle.newest(ticker)) for ticker in market_tickers)

    def behind(self, market_tickers: Iterable[str]) -> list[str]:
        """The markets whose newest change has not been delivered."""
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
            reported = self._reported.get(ticker)
            index = self._oracle.find_state(
                ticker, message.clock, sides, -1 if reported is None else reported - 1
            )
            if index is None:
                return self.wrong.add(
                    f"a snapshot of {ticker} at clock {message.clock} after state {reported}, which never "
                    "existed"
                )
            self._advance(ticker, reported, index, 0)
            self._baseless.discard(ticker)

    def _delta(self, message: Any) -> None:
        ticker = message.market_ticker
        with self._lock:
            self.deltas += 1
            reported = self._reported.get(ticker)
            what = (
                f"{ticker}: {message.side} {message.price} {message.delta:+} at clock {message.clock}, "
                f"seq {message.seq}"
            )
            if ticker in self._baseless and self._in_order:
                self.wrong.add(f"{what} came without a snapshot")
            price, delta = _units([Level(message.price, message.delta)])[0]
            index = self._oracle.find_change(
                ticker, message.clock, message.side, price, delta, -1 if reported is None else reported
            )
            if index is None:
                return self.wrong.add(
                    f"{what} came twice, too late, or never happened; the last one led to state {reported}"
                )
            if reported is None and ticker not in self._excuses and self._has_snapshots:
                self.wrong.add(f"{what} came before any snapshot")
            self._advance(ticker, reported, index, 1)
            delay = self.delay
        if delay:
            time.sleep(delay)  # a slow callback

    def _advance(self, ticker: str, reported: int | None, index: int, own: int) -> None:
        """The user's book is now at state ``index``. ``own`` is how many of the changes since then this
        message itself brought."""
        missing = 0 if reported is None else index - reported - own
        excuse, since = self._excuses.get(ticker, (None, index))
        left = self._leaves.get(ticker)
        if missing > 0:
            if excuse is None and left is not None:
                excuse = "left by the user"
            text = f"{missing} changes of {ticker} between states {reported} and {index}"
            if excuse is not None:
                self.announced[excuse] += missing
            elif self._is_in_doubt:
                self._in_doubt.append((missing, text))
            else:
                self.unannounced.add(text)
        if self._in_order or (not own and index > since):
            self._excuses.pop(ticker, None)
        if left is not None and not own and index > left:
            del self._leaves[ticker]
        self._reported[ticker] = index

    def _excuse(self, market_tickers: Iterable[str], excuse: str) -> None:
        """The next message of these markets may leave something out, for this reason. Noted with the state
        that is true now."""
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
            # the snapshot may be among the dropped messages
            self._baseless.difference_update(lagged.market_tickers)

    def _state(self, change: StateChange) -> None:
        with self._lock:
            if not self._has_snapshots:
                self._relays_state(change)
            elif change.state is FeedState.RECONNECTING:
                self._excuse(self._reported, "connection lost")
                self._baseless.update(self._reported)

    def _relays_state(self, change: StateChange) -> None:
        """A relay's consumer is out of reach, or back. Meanwhile messages may come, and some be missing; what
        it says at the end must be true."""
        if change.state is FeedState.RECONNECTING:
            self._is_in_doubt = True
        elif change.state is FeedState.CONNECTED:
            self._baseless.clear()
            if change.gap_started is not None:
                self._excuse(self._reported, "connection lost")
                self.announced["connection lost"] += sum(missing for missing, _ in self._in_doubt)
            else:
                for _, text in self._in_doubt:
                    self.unannounced.add(text)
            self._is_in_doubt = False
            self._in_doubt.clear()
