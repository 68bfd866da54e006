"""How a test sets up and changes markets, and looks at them.

Owns no state: every method is one step of ``core``.
"""

from __future__ import annotations

from .core import Core
from .listing import Listing, Watcher
from .markets import Book, Market, known_side
from .matching import Matching
from .wire import Number, Side, levels_units, price_units, size_units


class MarketControl:
    """Markets and books as a test sets them. Thread-safe."""

    def __init__(self, core: Core, listing: Listing, matching: Matching) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching

    def add_market(self, market_ticker: str, yes: Side = None, no: Side = None) -> None:
        """Add a market that stands still, with these levels ({price: size}); it replaces one with the same
        ticker.

        Subscribers to its book get a snapshot. No lifecycle message reports it: see ``create_market``. Raises
        ValueError.
        """
        market = Market(market_ticker)
        market.set_book(levels_units(yes), levels_units(no))
        with self._core.step():
            self._matching.list_market(market)
            self._listing.send_snapshot(market)

    def remove_market(self, market_ticker: str) -> None:
        """Forget a market, as the exchange does some time after it is settled. Raises LookupError.

        No message reports it; a client that asks for its book gets that of an unknown market (PROTOCOL.md
        5.4).
        """
        with self._core.step():
            self._listing.remove(market_ticker)

    def set_book(self, market_ticker: str, yes: Side = None, no: Side = None) -> None:
        """Replace the book and send an unsolicited snapshot to its subscribers.

        The account's orders in it are cancelled (HaltCancel). Raises ValueError, LookupError.
        """
        new_yes, new_no = levels_units(yes), levels_units(no)
        with self._core.step():
            self._matching.replace_book(self._listing.market(market_ticker), new_yes, new_no, "HaltCancel")

    def settle(self, market_ticker: str) -> None:
        """End the market's book as the exchange does: an unsolicited empty snapshot, no deltas (PROTOCOL.md
        5.5).

        Raises LookupError.
        """
        with self._core.step():
            market = self._listing.market(market_ticker)
            market.moving = False
            market.status = "closed"
            self._matching.replace_book(market, {}, {}, "CloseCancel")

    def snapshot(self, market_ticker: str, *, connection: int | None = None) -> None:
        """Send an unsolicited snapshot of the book as it is. Raises LookupError."""
        with self._core.step():
            self._listing.send_snapshot(self._listing.market(market_ticker), connection)

    def change(self, market_ticker: str, side: str, price: Number, delta: Number) -> None:
        """Change one level and send the delta.

        Raises ValueError if the level would go below zero or into the account's own orders (use ``send``),
        LookupError.
        """
        with self._core.step():
            changes = [(known_side(side), price_units(price), size_units(delta))]
            self._listing.change(self._listing.market(market_ticker), changes)

    def ticker(self, market_ticker: str) -> None:
        """Send a ticker message with the market's current numbers. Raises LookupError."""
        with self._core.step():
            self._listing.send_ticker(self._listing.market(market_ticker))

    def book(self, market_ticker: str) -> Book:
        """The truth: {"yes": {price: size}, "no": {...}} in Decimals, each side in its own prices. Raises
        LookupError."""
        with self._core.lock:
            return self._listing.market(market_ticker).truth()

    def books(self) -> dict[str, Book]:
        """The truth about every market, at one moment."""
        with self._core.lock:
            return {market.ticker: market.truth() for market in self._listing.markets()}

    def watch(self, watcher: Watcher) -> None:
        """Have ``watcher(market, change)`` called after every change of a book (not of replayed ones), and
        now for each book.

        So it sees every true state before any of it is sent. ``change`` is (side, price, delta) in units, or
        None if the book was replaced. The call is made under the exchange's lock: it must be quick and must
        not call the exchange.
        """
        with self._core.lock:
            self._listing.watch(watcher)

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """Every market of the exchange."""
        with self._core.lock:
            return tuple(market.ticker for market in self._listing.markets())
