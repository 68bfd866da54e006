"""The order book of one market: its state, its arithmetic, and the immutable view that users read.

Owns BookStatus, Book and BookView. Both sides hold bids in their own prices (PROTOCOL.md 6.1): a bid on the
other side at p is an offer on this one at 1 - p. Internally, prices are ints in 1/10,000 dollar and sizes
ints in 1/100 contract; Decimals are made only for answers. Times are passed in.
"""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, NoReturn

from ..errors import ConfigurationError
from ..messages.base import Side
from ..messages.plain import Number, number_function
from ..messages.values import (
    EXACT,
    ONE_DOLLAR,
    Level,
    count_units,
    level,
    money_decimal,
    price_decimal,
    price_units,
    size_decimal,
)
from .levels import MOST, NO_SLOTS, YES_SLOTS, Levels
from .notebook import html_of

__all__ = ["Book", "BookStatus", "BookView", "NegativeSize"]

_DIVISION = EXACT.copy()  # for the only values that need rounding: microprice and imbalance
_DIVISION.prec = 28
_TICK = Decimal("0.0001")
_CENT = Decimal("0.01")


class BookStatus(enum.Enum):
    """How far a book's levels can be trusted."""

    PENDING = "PENDING"  # no snapshot yet
    LIVE = "LIVE"  # equal to the exchange's book at ``seq``
    STALE = "STALE"  # out of date: something was missed, or the connection is down
    # empty: the exchange does not know the market, or no longer does (PROTOCOL.md 5.4)
    UNKNOWN = "UNKNOWN"
    CLOSED = "CLOSED"  # no longer wanted


class NegativeSize(ValueError):
    """A delta removes more contracts than a level has: the book has diverged from the exchange's."""


class Book(Levels):
    """One market's book as it changes. Not thread-safe; guarded by the store's lock.

    It inherits from Levels instead of holding one, which saves a cache miss per delta.
    """

    __slots__ = ("clock", "market_ticker", "seq", "status", "updated", "version", "wanted_at", "was_known")

    def __init__(self, market_ticker: str) -> None:
        super().__init__()
        self.market_ticker = market_ticker
        self.status = BookStatus.PENDING
        self.version = 0  # counts the changes; never goes back
        self.seq: int | None = None  # of the last message applied, as is clock
        self.clock: int | None = None
        self.updated: float | None = None  # when that was, in monotonic seconds; None before the first
        self.wanted_at = 0.0  # when the book last became wanted, in monotonic seconds
        # whether the exchange has known the market: its book was LIVE once, or it was announced to have
        # closed
        self.was_known = False

    def __repr__(self) -> str:
        return _repr(self)

    def replace(
        self, yes: dict[int, int], no: dict[int, int], seq: int | None, clock: int | None, now: float
    ) -> None:
        """Take any snapshot (PROTOCOL.md 5.5): the book becomes LIVE."""
        self.was_known = True
        self._take(BookStatus.LIVE, yes, no, seq, clock, now)

    def empty(self, seq: int | None, clock: int | None, now: float) -> None:
        """Take the snapshot of a market that the exchange does not know: the book is empty and UNKNOWN."""
        self._take(BookStatus.UNKNOWN, {}, {}, seq, clock, now)

    def _take(
        self,
        status: BookStatus,
        yes: dict[int, int],
        no: dict[int, int],
        seq: int | None,
        clock: int | None,
        now: float,
    ) -> None:
        self.put(yes, no)
        self.status = status
        self.seq = seq
        self.clock = clock
        self.updated = now
        self.version += 1

    def apply(self, side: str, price: int, size: int, seq: int | None, clock: int | None, now: float) -> None:
        """Add ``size`` (1/100 contract, signed) to a level; ``price`` is ``side``'s own, in 1/10,000 dollar.

        A level of size zero is removed. Raises NegativeSize if the size would become negative, and ValueError
        if it would be MOST or more; then nothing is changed.
        """
        slot = (YES_SLOTS if side == "yes" else NO_SLOTS)[price]
        if slot >= 0:
            cents = self.cents
            left = cents[slot] + size
            if not 0 <= left < MOST:
                self._refuse(side, price, size)
            cents[slot] = left
        else:
            fine = self.yes_fine if side == "yes" else self.no_fine
            left = fine.get(price, 0) + size
            if not 0 <= left < MOST:
                self._refuse(side, price, size)
            if left:
                fine[price] = left
            else:
                fine.pop(price, None)
        self.seq = seq
        self.clock = clock
        self.updated = now
        self.version += 1

    def _refuse(self, side: str, price: int, size: int) -> NoReturn:
        held = self.size(side, price)
        what = f"{self.market_ticker}: delta of {size_decimal(size)} on {side} {price_decimal(price)}"
        if size < 0:
            raise NegativeSize(f"{what}, where only {size_decimal(held)} are left")
        raise ValueError(f"{what}, where there are {size_decimal(held)} already: more than any book can hold")

    def set_status(self, status: BookStatus) -> bool:
        """Set the status; return whether that changed it."""
        if status is self.status:
            return False
        self.status = status
        self.version += 1
        return True

    def best_bid(self, side: Side = "yes") -> Level | None:
        """The highest bid on ``side`` ("yes" or "no"); None if there is none."""
        return _best_bid(self, side)

    def best_ask(self, side: Side = "yes") -> Level | None:
        """The lowest offer on ``side``: the other side's best bid at 1 - its price."""
        return _best_ask(self, side)

    @property
    def is_crossed(self) -> bool:
        """Whether the bid is above the ask: the best bids of both sides add up to more than a dollar."""
        return _is_crossed(self)

    def view(self, now: float, wall: float) -> BookView:
        """The book at this moment: monotonic time ``now``, which is Unix time ``wall``, both in seconds."""
        return BookView(
            self.market_ticker,
            self.status,
            self.version,
            self.seq,
            self.clock,
            None if self.updated is None else now - self.updated,
            wall,
            self.levels(),
        )

    def _check(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests and debugging."""
        if min(self.cents) < 0:
            raise AssertionError(f"{self.market_ticker}: a negative size among {self.yes} and {self.no}")
        for fine in (self.yes_fine, self.no_fine):
            for price, size in fine.items():
                if type(price) is not int or not 0 <= price <= ONE_DOLLAR or YES_SLOTS[price] >= 0:
                    raise AssertionError(f"{self.market_ticker}: price {price!r}")
                if type(size) is not int or size <= 0:
                    raise AssertionError(f"{self.market_ticker}: size {size!r} at {price}")
        if self.yes_fine is self.no_fine:
            raise AssertionError(f"{self.market_ticker}: both sides are one dict")
        if self.status is BookStatus.LIVE and self.updated is None:
            raise AssertionError(f"{self.market_ticker}: LIVE without a snapshot")
        if self.version < 0:
            raise AssertionError(f"{self.market_ticker}: version {self.version}")


class BookView:
    """One market's book at one moment. Thread-safe: immutable.

    All methods take ``side`` "yes" (mostly the default) or "no", and answer in dollars of that side and in
    contracts, exactly. None means that a side needed for the answer is empty. Bad arguments raise
    ConfigurationError.
    """

    __slots__ = ("_age", "_levels", "_wall", "clock", "market_ticker", "seq", "status", "version")

    market_ticker: str
    status: BookStatus
    version: int
    seq: int | None
    clock: int | None
    _age: float | None
    _wall: float
    _levels: Levels

    def __init__(
        self,
        market_ticker: str,
        status: BookStatus,
        version: int,
        seq: int | None,
        clock: int | None,
        age: float | None,
        wall: float,
        levels: Levels,
    ) -> None:
        """Called by Book.view(); ``levels`` is this view's own copy, which never changes."""
        put = object.__setattr__
        put(self, "market_ticker", market_ticker)
        put(self, "status", status)
        put(self, "version", version)
        put(self, "seq", seq)
        put(self, "clock", clock)
        put(self, "_age", age)
        put(self, "_wall", wall)
        put(self, "_levels", levels)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a BookView is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a BookView is immutable: {name} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return BookView, (
            self.market_ticker,
            self.status,
            self.version,
            self.seq,
            self.clock,
            self._age,
            self._wall,
            self._levels,
        )

    def __eq__(self, other: object) -> bool:
        """Compare market, levels, status and version; seq, clock and times do not count."""
        if not isinstance(other, BookView):
            return NotImplemented
        mine, theirs = (
            (self.market_ticker, self.status, self.version),
            (other.market_ticker, other.status, other.version),
        )
        return mine == theirs and self._levels.same_as(other._levels)

    def __hash__(self) -> int:
        return hash((self.market_ticker, self.status, self.version))

    def __repr__(self) -> str:
        return _repr(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def is_live(self) -> bool:
        """Whether the levels were the exchange's at that moment."""
        return self.status is BookStatus.LIVE

    @property
    def is_crossed(self) -> bool:
        """Whether the bid is above the ask: the best bids of both sides add up to more than a dollar.

        For a moment that is normal, because one action of the exchange comes as several deltas. If it lasts,
        do not trade on it; the feed reports it to on_error and asks for a fresh snapshot.
        """
        return _is_crossed(self._levels)

    @property
    def updated_at(self) -> datetime | None:
        """When the last message was applied, as an aware datetime (UTC); None if there was none."""
        return None if self._age is None else datetime.fromtimestamp(self._wall - self._age, timezone.utc)

    def age(self) -> float | None:
        """The seconds from the last message applied to this view; None if there was none."""
        return self._age

    def best_bid(self, side: Side = "yes") -> Level | None:
        """The highest bid."""
        return _best_bid(self._levels, side)

    def best_ask(self, side: Side = "yes") -> Level | None:
        """The lowest offer: the other side's best bid at 1 - its price."""
        return _best_ask(self._levels, side)

    def bids(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The bids, best first; the best ``depth`` of them, or all."""
        return tuple(level(price, size) for price, size in _top(_bids(self._levels, side), depth))

    def asks(self, side: Side = "yes", depth: int | None = None) -> tuple[Level, ...]:
        """The offers, best first; the best ``depth`` of them, or all."""
        return tuple(
            level(ONE_DOLLAR - price, size) for price, size in _top(_bids(self._levels, _other(side)), depth)
        )

    def mid(self, side: Side = "yes") -> Decimal | None:
        """The midpoint of best bid and best ask, in dollars."""
        prices = self._best_prices(side)
        return None if prices is None else EXACT.divide(price_decimal(prices[0] + prices[1]), Decimal(2))

    def spread(self, side: Side = "yes") -> Decimal | None:
        """Best ask minus best bid, in dollars; the same on both sides."""
        prices = self._best_prices(side)
        return None if prices is None else price_decimal(prices[1] - prices[0])

    def microprice(self, side: Side = "yes") -> Decimal | None:
        """(bid x ask size + ask x bid size) / (bid size + ask size), in dollars to 28 digits."""
        prices = self._best_prices(side)
        if prices is None:
            return None
        bid, ask = prices
        bid_size = self._levels.size(side, bid)
        ask_size = self._levels.size(_other(side), ONE_DOLLAR - ask)
        weighted = price_decimal(bid * ask_size + ask * bid_size)
        return _DIVISION.divide(weighted, Decimal(bid_size + ask_size))

    def depth_at(self, side: Side, price: str | Decimal | int | float) -> Decimal:
        """The contracts bid on ``side`` at ``price`` dollars (0 to 1, at most 4 decimals), or 0."""
        _other(side)  # checks it
        return size_decimal(self._levels.size(side, _price_argument(price)))

    def imbalance(self, depth: int | None = None, side: Side = "yes") -> Decimal | None:
        """(contracts bid - contracts offered) / their sum, over all levels or the best ``depth``."""
        bid = sum(size for _, size in _top(_bids(self._levels, side), depth))
        offered = sum(size for _, size in _top(_bids(self._levels, _other(side)), depth))
        return _DIVISION.divide(Decimal(bid - offered), Decimal(bid + offered)) if bid + offered else None

    def cost_to_buy(self, side: Side, quantity: str | Decimal | int | float) -> Decimal | None:
        """The dollars to buy ``quantity`` contracts of ``side``, before fees; None if too few are offered."""
        offers = [(ONE_DOLLAR - price, size) for price, size in _top(_bids(self._levels, _other(side)), None)]
        return _walk(offers, _quantity_argument(quantity))

    def cost_to_sell(self, side: Side, quantity: str | Decimal | int | float) -> Decimal | None:
        """The dollars for selling ``quantity`` contracts of ``side``, before fees; None if too few bids."""
        return _walk(_top(_bids(self._levels, side), None), _quantity_argument(quantity))

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The view as plain data, ready for JSON, with both sides' bids as [price, quantity], best first.

        ``number`` converts each price and quantity: ``str`` (exact, never with an exponent), ``float`` (for
        pandas) or ``Decimal`` (as it is).
        """
        passed = number_function(number)
        updated_at = self.updated_at
        return {
            "market_ticker": self.market_ticker,
            "status": self.status.value,
            "is_crossed": self.is_crossed,
            "version": self.version,
            "seq": self.seq,
            "clock": self.clock,
            "updated_at": None if updated_at is None else updated_at.isoformat(),
            "yes": [[passed(price), passed(quantity)] for price, quantity in self.bids("yes")],
            "no": [[passed(price), passed(quantity)] for price, quantity in self.bids("no")],
        }

    def _best_prices(self, side: str) -> tuple[int, int] | None:
        """(best bid, best ask) of ``side`` in 1/10,000 dollar; None unless there are both."""
        bid, other = _best(self._levels, side), _best(self._levels, _other(side))
        return None if bid is None or other is None else (bid, ONE_DOLLAR - other)


def _other(side: str) -> str:
    """The other side. Raises ConfigurationError if ``side`` is neither "yes" nor "no"."""
    if side == "yes":
        return "no"
    if side == "no":
        return "yes"
    raise ConfigurationError(f'side must be "yes" or "no", not {_shown(side)}')


def _bids(levels: Levels, side: str) -> dict[int, int]:
    return levels.yes if _other(side) == "no" else levels.no


def _best(levels: Levels, side: str) -> int | None:
    return levels.best_yes() if _other(side) == "no" else levels.best_no()


def _is_crossed(levels: Levels) -> bool:
    return (levels.best_yes() or 0) + (levels.best_no() or 0) > ONE_DOLLAR


def _best_bid(levels: Levels, side: str) -> Level | None:
    price = _best(levels, side)
    return None if price is None else level(price, levels.size(side, price))


def _best_ask(levels: Levels, side: str) -> Level | None:
    other = _other(side)
    price = _best(levels, other)
    return None if price is None else level(ONE_DOLLAR - price, levels.size(other, price))


def _top(levels: dict[int, int], depth: int | None) -> list[tuple[int, int]]:
    """(price, size) of the best ``depth`` levels, or of all, best first."""
    if depth is not None and (type(depth) is not int or depth < 1):
        raise ConfigurationError(
            f"depth must be a whole number of at least 1, or None for all levels, not {_shown(depth)}"
        )
    return sorted(levels.items(), reverse=True)[:depth]


def _walk(levels: list[tuple[int, int]], quantity: int) -> Decimal | None:
    """Dollars for ``quantity`` 1/100 contracts taken from the levels in turn; None if there are too few."""
    total = 0
    for price, size in levels:
        taken = min(size, quantity)
        total += price * taken
        quantity -= taken
        if not quantity:
            return money_decimal(total)
    return None


def _price_argument(price: str | Decimal | int | float) -> int:
    try:
        return price_units(_plain_text(price, _TICK))
    except ValueError:
        raise ConfigurationError(
            f"price must be 0 to 1 dollar with at most 4 decimals, such as '0.54', not {_shown(price)}"
        ) from None


def _quantity_argument(quantity: str | Decimal | int | float) -> int:
    try:
        units = count_units(_plain_text(quantity, _CENT))
    except ValueError:
        units = 0
    if not units:
        raise ConfigurationError(
            "quantity must be a positive number of contracts with at most 2 decimals, such as '10' or 2.5, "
            f"not {_shown(quantity)}"
        )
    return units


def _plain_text(value: str | Decimal | int | float, step: Decimal) -> str:
    """A number as the wire writes it. Raises ValueError if it is not a whole number of steps.

    A float stands for its shortest decimal representation.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, float)):
        raise ValueError("not a number")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError("not finite")
    stepped = EXACT.quantize(number, step)
    if stepped != number:  # also if it has too many digits: quantize() returns NaN
        raise ValueError("not a whole number of steps")
    return f"{stepped:f}"


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**50:
        return "a number that large"
    return repr(value)[:60]


def _repr(book: Book | BookView) -> str:
    bid, ask = book.best_bid(), book.best_ask()
    return (
        f"<{type(book).__name__} {book.market_ticker} {book.status.value} yes "
        f"{'-' if bid is None else bid.price} / {'-' if ask is None else ask.price} version {book.version}>"
    )
