"""The order book of one market: its state, its arithmetic, and the immutable view that users read.

Owns BookStatus, Book and BookView. Must not import anything of the package but errors, levels and messages;
knows no lock, thread, clock or log: times are passed in. Both sides hold bids in their own prices
(PROTOCOL.md 6.1): a bid of the other side at p is an offer on this one at 1 - p. Inside, prices are ints of
1/10,000 dollar and sizes ints of 1/100 contract; Decimals are made only when somebody asks.
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

_DIVISION = EXACT.copy()  # the only values that need rounding: microprice and imbalance
_DIVISION.prec = 28
_TICK = Decimal("0.0001")
_CENT = Decimal("0.01")


class BookStatus(enum.Enum):
    """What a book's levels are worth."""

    PENDING = "PENDING"  # no snapshot yet
    LIVE = "LIVE"  # equal to the exchange's book at ``seq``
    STALE = "STALE"  # what was last known: something was missed, or the connection is down
    # empty: the exchange has answered that it knows no such market, or no longer (PROTOCOL.md 5.4)
    UNKNOWN = "UNKNOWN"
    CLOSED = "CLOSED"  # nobody wants it any more


class NegativeSize(ValueError):
    """A delta takes more contracts from a level than there are: the book is no longer the exchange's."""


class Book(Levels):
    """One market's book as it changes. Not thread-safe: whoever holds the lock of the store owns it.

    It is its levels, not an object that has them: one place less in memory to touch for a delta. ``version``
    counts the changes and only grows; ``seq`` and ``clock`` are those of the last message applied;
    ``updated`` is its monotonic time in seconds, None before the first; ``wanted_at`` is that of the last
    time it came to be wanted; ``was_known`` says that the exchange has known the market: its book was LIVE
    once, or its close was announced and has passed.
    """

    __slots__ = ("clock", "market_ticker", "seq", "status", "updated", "version", "wanted_at", "was_known")

    def __init__(self, market_ticker: str) -> None:
        super().__init__()
        self.market_ticker = market_ticker
        self.status = BookStatus.PENDING
        self.version = 0
        self.seq: int | None = None
        self.clock: int | None = None
        self.updated: float | None = None
        self.wanted_at = 0.0
        self.was_known = False

    def __repr__(self) -> str:
        return _repr(self)

    def replace(
        self, yes: dict[int, int], no: dict[int, int], seq: int | None, clock: int | None, now: float
    ) -> None:
        """Takes a snapshot, any snapshot (PROTOCOL.md 5.5): the book is LIVE."""
        self.was_known = True
        self._take(BookStatus.LIVE, yes, no, seq, clock, now)

    def empty(self, seq: int | None, clock: int | None, now: float) -> None:
        """Takes the snapshot of a market that the exchange does not know: the book is empty and UNKNOWN."""
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
        """Adds ``size`` (1/100 contract, signed) to the level of ``side`` at ``price`` (own price, 1/10,000
        dollar).

        A level at zero is removed. Raises NegativeSize, and changes nothing, if it would fall below, and
        ValueError if it would hold MOST or more.
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
        raise ValueError(f"{what}, where there are {size_decimal(held)} already: no book holds so much")

    def set_status(self, status: BookStatus) -> bool:
        """Sets the status; whether that changed it."""
        if status is self.status:
            return False
        self.status = status
        self.version += 1
        return True

    def best_bid(self, side: Side = "yes") -> Level | None:
        """The highest bid of ``side`` ("yes" or "no"), None if there is none."""
        return _best_bid(self, side)

    def best_ask(self, side: Side = "yes") -> Level | None:
        """The lowest offer on ``side``: the other side's best bid at 1 - its price."""
        return _best_ask(self, side)

    @property
    def is_crossed(self) -> bool:
        """Whether the best bids of both sides add up to more than a dollar, so that bid is above ask."""
        return _is_crossed(self)

    def view(self, now: float, wall: float) -> BookView:
        """The book at this instant: monotonic time ``now``, which is Unix time ``wall``, both in seconds."""
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
        """The invariants, as AssertionError: for tests and for debugging."""
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
    """One market's book at one instant. Thread-safe: immutable.

    All questions take ``side`` "yes" (the default where there is one) or "no", and answer in dollars of that
    side and in contracts, exactly. None means that a side needed for the answer is empty. Bad arguments raise
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
        """Made by Book.view(); ``levels`` is this view's own copy, never changed."""
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
        """Equal market, levels, status and version; seq, clock and times do not count."""
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
        """Whether the levels were the exchange's at that instant."""
        return self.status is BookStatus.LIVE

    @property
    def is_crossed(self) -> bool:
        """Whether the best bids of both sides add up to more than a dollar, so that bid is above ask.

        For a moment that is normal: one action of the exchange comes as several deltas. If it lasts, do not
        trade on it; the feed tells on_error and asks for a fresh snapshot.
        """
        return _is_crossed(self._levels)

    @property
    def updated_at(self) -> datetime | None:
        """When the last message was applied, aware (UTC); None if there was none."""
        return None if self._age is None else datetime.fromtimestamp(self._wall - self._age, timezone.utc)

    def age(self) -> float | None:
        """Seconds from the last message applied to the instant of this view; None if there was none."""
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
        """The middle between best bid and best ask."""
        prices = self._best_prices(side)
        return None if prices is None else EXACT.divide(price_decimal(prices[0] + prices[1]), Decimal(2))

    def spread(self, side: Side = "yes") -> Decimal | None:
        """Best ask minus best bid: the same on both sides."""
        prices = self._best_prices(side)
        return None if prices is None else price_decimal(prices[1] - prices[0])

    def microprice(self, side: Side = "yes") -> Decimal | None:
        """The middle weighted by size: (bid x ask size + ask x bid size) / (bid size + ask size), to 28
        digits."""
        prices = self._best_prices(side)
        if prices is None:
            return None
        bid, ask = prices
        bid_size = self._levels.size(side, bid)
        ask_size = self._levels.size(_other(side), ONE_DOLLAR - ask)
        weighted = price_decimal(bid * ask_size + ask * bid_size)
        return _DIVISION.divide(weighted, Decimal(bid_size + ask_size))

    def depth_at(self, side: Side, price: str | Decimal | int | float) -> Decimal:
        """Contracts bid on ``side`` at ``price`` dollars (0 to 1, at most 4 decimals); 0 if there is no such
        level."""
        _other(side)  # checks it
        return size_decimal(self._levels.size(side, _price_argument(price)))

    def imbalance(self, depth: int | None = None, side: Side = "yes") -> Decimal | None:
        """(contracts bid - contracts offered) / (both), over the best ``depth`` levels of each or all: -1 to
        1."""
        bid = sum(size for _, size in _top(_bids(self._levels, side), depth))
        offered = sum(size for _, size in _top(_bids(self._levels, _other(side)), depth))
        return _DIVISION.divide(Decimal(bid - offered), Decimal(bid + offered)) if bid + offered else None

    def cost_to_buy(self, side: Side, quantity: str | Decimal | int | float) -> Decimal | None:
        """Dollars to buy ``quantity`` contracts of ``side`` from the offers, before fees; None if there are
        too few."""
        offers = [(ONE_DOLLAR - price, size) for price, size in _top(_bids(self._levels, _other(side)), None)]
        return _walk(offers, _quantity_argument(quantity))

    def cost_to_sell(self, side: Side, quantity: str | Decimal | int | float) -> Decimal | None:
        """Dollars for ``quantity`` contracts of ``side`` sold to the bids, before fees; None if there are too
        few."""
        return _walk(_top(_bids(self._levels, side), None), _quantity_argument(quantity))

    def to_dict(self, number: Number = str) -> dict[str, Any]:
        """The view as plain data, ready for JSON: both sides' bids as [price, quantity], best first, each
        number passed through ``number``: ``str`` (exact, never with an exponent), ``float`` (for pandas) or
        ``Decimal`` (as it is).
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
        """(best bid, best ask) of ``side`` in 1/10,000 dollar, None unless both are there."""
        bid, other = _best(self._levels, side), _best(self._levels, _other(side))
        return None if bid is None or other is None else (bid, ONE_DOLLAR - other)


def _other(side: str) -> str:
    """The other side. Raises ConfigurationError for what is none."""
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
    """(price, size) of the best ``depth`` levels or all, best first."""
    if depth is not None and (type(depth) is not int or depth < 1):
        raise ConfigurationError(
            f"depth must be a whole number of at least 1, or None for all levels, not {_shown(depth)}"
        )
    return sorted(levels.items(), reverse=True)[:depth]


def _walk(levels: list[tuple[int, int]], quantity: int) -> Decimal | None:
    """Dollars for ``quantity`` 1/100 contracts taken from the levels in turn, None if they do not suffice."""
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
    """A number as the wire would write it; a float means its shortest text. ValueError: no whole number of
    steps."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, float)):
        raise ValueError("not a number")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError("not finite")
    stepped = EXACT.quantize(number, step)
    if stepped != number:  # also where it has too many digits: quantize() answers NaN
        raise ValueError("not a whole number of steps")
    return f"{stepped:f}"


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**50:
        return "a number of that size"
    return repr(value)[:60]


def _repr(book: Book | BookView) -> str:
    bid, ask = book.best_bid(), book.best_ask()
    return (
        f"<{type(book).__name__} {book.market_ticker} {book.status.value} yes "
        f"{'-' if bid is None else bid.price} / {'-' if ask is None else ask.price} version {book.version}>"
    )
