"""Registering callbacks: one method for each thing that can be told.

Owns the names of the registrations and which wire types each covers. Must not import the connection or the
engine. Thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from .books.book import BookView
from .by_type import Tickers
from .dispatch import ALL_DATA, BOOKS, Delivery
from .events import FeedFault, Gap, Lagged, StateChange
from .messages import (
    Communication,
    EventFeeUpdate,
    EventLifecycle,
    Fill,
    IndexMessage,
    MarketLifecycle,
    MarketPosition,
    Message,
    MultivariateMarketLifecycle,
    OrderbookDelta,
    OrderbookSnapshot,
    OrderGroupUpdate,
    Ticker,
    Trade,
    UserOrder,
)
from .session.channels import CHANNELS

__all__ = ["Callbacks"]

# What each registration takes, and gives back as it was
OnSnapshot = TypeVar("OnSnapshot", bound=Callable[[OrderbookSnapshot], object])
OnDelta = TypeVar("OnDelta", bound=Callable[[OrderbookDelta], object])
OnBook = TypeVar("OnBook", bound=Callable[[BookView], object])
OnTrade = TypeVar("OnTrade", bound=Callable[[Trade], object])
OnTicker = TypeVar("OnTicker", bound=Callable[[Ticker], object])
OnFill = TypeVar("OnFill", bound=Callable[[Fill], object])
OnOrder = TypeVar("OnOrder", bound=Callable[[UserOrder], object])
OnPosition = TypeVar("OnPosition", bound=Callable[[MarketPosition], object])
OnLifecycle = TypeVar("OnLifecycle", bound=Callable[[MarketLifecycle | MultivariateMarketLifecycle], object])
OnEvent = TypeVar("OnEvent", bound=Callable[[EventLifecycle | EventFeeUpdate], object])
OnOrderGroup = TypeVar("OnOrderGroup", bound=Callable[[OrderGroupUpdate], object])
OnCommunication = TypeVar("OnCommunication", bound=Callable[[Communication], object])
OnIndex = TypeVar("OnIndex", bound=Callable[[IndexMessage], object])
OnMessage = TypeVar("OnMessage", bound=Callable[[Message], object])
OnState = TypeVar("OnState", bound=Callable[[StateChange], object])
OnGap = TypeVar("OnGap", bound=Callable[[Gap], object])
OnLagged = TypeVar("OnLagged", bound=Callable[[Lagged], object])
OnError = TypeVar("OnError", bound=Callable[[FeedFault], object])

_LIFECYCLE: Final = ("market_lifecycle_v2", "multivariate_market_lifecycle")
_EVENTS: Final = ("event_lifecycle", "event_fee_update")
_INDICES: Final = ("cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value")


class Callbacks:
    """The registrations of a feed. Thread-safe.

    Every callback takes exactly one immutable object and runs on the worker thread, in order, under no lock;
    in a replay on the thread that plays, which goes on when it returns, so that it finds every book as it was
    at that message. Each method returns the function it was given, so all of them are decorators, also with
    arguments: ``@feed.on_delta(market_tickers=[...])``. With ``market_tickers`` only messages of these
    markets are passed, and none without a ticker. A callback that raises is logged, counted and reported to
    on_error; the others and the feed go on.
    """

    _dispatcher: Delivery

    @overload
    def on_snapshot(self, callback: OnSnapshot, *, market_tickers: Tickers = None) -> OnSnapshot: ...
    @overload
    def on_snapshot(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnSnapshot], OnSnapshot]: ...
    def on_snapshot(self, callback: OnSnapshot | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every OrderbookSnapshot, also those of a repair (a Gap came before)."""
        return self._on(("orderbook_snapshot",), callback, market_tickers)

    @overload
    def on_delta(self, callback: OnDelta, *, market_tickers: Tickers = None) -> OnDelta: ...
    @overload
    def on_delta(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnDelta], OnDelta]: ...
    def on_delta(self, callback: OnDelta | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every OrderbookDelta that was applied to its book; the book is at it or newer, in a replay at
        it."""
        return self._on(("orderbook_delta",), callback, market_tickers)

    @overload
    def on_book(self, callback: OnBook, *, market_tickers: Tickers = None) -> OnBook: ...
    @overload
    def on_book(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnBook], OnBook]: ...
    def on_book(self, callback: OnBook | None = None, *, market_tickers: Tickers = None) -> Any:
        """A BookView when a book or its status has changed.

        Conflated: the newest one of each market, however far the worker is behind. In a replay every one.
        """
        return self._on((BOOKS,), callback, market_tickers)

    @overload
    def on_trade(self, callback: OnTrade, *, market_tickers: Tickers = None) -> OnTrade: ...
    @overload
    def on_trade(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnTrade], OnTrade]: ...
    def on_trade(self, callback: OnTrade | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every Trade."""
        return self._on(("trade",), callback, market_tickers)

    @overload
    def on_ticker(self, callback: OnTicker, *, market_tickers: Tickers = None) -> OnTicker: ...
    @overload
    def on_ticker(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnTicker], OnTicker]: ...
    def on_ticker(self, callback: OnTicker | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every Ticker."""
        return self._on(("ticker",), callback, market_tickers)

    @overload
    def on_fill(self, callback: OnFill, *, market_tickers: Tickers = None) -> OnFill: ...
    @overload
    def on_fill(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnFill], OnFill]: ...
    def on_fill(self, callback: OnFill | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every Fill of the account.

        After a reconnect read what may be missing over REST (StateChange tells the interval).
        """
        return self._on(("fill",), callback, market_tickers)

    @overload
    def on_order(self, callback: OnOrder, *, market_tickers: Tickers = None) -> OnOrder: ...
    @overload
    def on_order(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnOrder], OnOrder]: ...
    def on_order(self, callback: OnOrder | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every change of one of the account's orders (channel user_orders)."""
        return self._on(("user_order",), callback, market_tickers)

    @overload
    def on_position(self, callback: OnPosition, *, market_tickers: Tickers = None) -> OnPosition: ...
    @overload
    def on_position(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnPosition], OnPosition]: ...
    def on_position(self, callback: OnPosition | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every change of one of the account's positions (channel market_positions)."""
        return self._on(("market_position",), callback, market_tickers)

    @overload
    def on_lifecycle(self, callback: OnLifecycle, *, market_tickers: Tickers = None) -> OnLifecycle: ...
    @overload
    def on_lifecycle(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnLifecycle], OnLifecycle]: ...
    def on_lifecycle(self, callback: OnLifecycle | None = None, *, market_tickers: Tickers = None) -> Any:
        """Markets being created, determined, settled … (the two lifecycle channels)."""
        return self._on(_LIFECYCLE, callback, market_tickers)

    @overload
    def on_event(self, callback: OnEvent, *, market_tickers: Tickers = None) -> OnEvent: ...
    @overload
    def on_event(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnEvent], OnEvent]: ...
    def on_event(self, callback: OnEvent | None = None, *, market_tickers: Tickers = None) -> Any:
        """Events being created, and changes of their fees (on the lifecycle channels)."""
        return self._on(_EVENTS, callback, market_tickers)

    @overload
    def on_order_group(self, callback: OnOrderGroup, *, market_tickers: Tickers = None) -> OnOrderGroup: ...
    @overload
    def on_order_group(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnOrderGroup], OnOrderGroup]: ...
    def on_order_group(self, callback: OnOrderGroup | None = None, *, market_tickers: Tickers = None) -> Any:
        """Changes of the account's order groups."""
        return self._on(("order_group_updates",), callback, market_tickers)

    @overload
    def on_communication(
        self, callback: OnCommunication, *, market_tickers: Tickers = None
    ) -> OnCommunication: ...
    @overload
    def on_communication(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnCommunication], OnCommunication]: ...
    def on_communication(
        self, callback: OnCommunication | None = None, *, market_tickers: Tickers = None
    ) -> Any:
        """RFQs and quotes of all twelve types (channel communications)."""
        return self._on(CHANNELS["communications"].types, callback, market_tickers)

    @overload
    def on_index(self, callback: OnIndex, *, market_tickers: Tickers = None) -> OnIndex: ...
    @overload
    def on_index(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnIndex], OnIndex]: ...
    def on_index(self, callback: OnIndex | None = None, *, market_tickers: Tickers = None) -> Any:
        """Values of CF Benchmarks indices and Pyth underlyings."""
        return self._on(_INDICES, callback, market_tickers)

    @overload
    def on_message(self, callback: OnMessage, *, market_tickers: Tickers = None) -> OnMessage: ...
    @overload
    def on_message(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnMessage], OnMessage]: ...
    def on_message(self, callback: OnMessage | None = None, *, market_tickers: Tickers = None) -> Any:
        """Every data message of whatever type, also unknown ones; replies to commands are none."""
        return self._on((ALL_DATA,), callback, market_tickers)

    def on_state(self, callback: OnState) -> OnState:
        """StateChange: every change of the feed's state."""
        self._dispatcher.register(StateChange, callback)
        return callback

    def on_gap(self, callback: OnGap) -> OnGap:
        """Gap: messages are missing; the books named are STALE until their next snapshot."""
        self._dispatcher.register(Gap, callback)
        return callback

    def on_lagged(self, callback: OnLagged) -> OnLagged:
        """Lagged: callbacks were too slow, and messages were left out at this place."""
        self._dispatcher.register(Lagged, callback)
        return callback

    def on_error(self, callback: OnError) -> OnError:
        """FeedFault: what went wrong without ending the feed: unreadable frames, refusals, callbacks that
        raised."""
        self._dispatcher.register(FeedFault, callback)
        return callback

    def off(self, callback: Callable[[Any], object]) -> int:
        """Remove every registration of ``callback``, from the next message on; returns how many there
        were."""
        return self._dispatcher.off(callback)

    def _on(
        self, kinds: Iterable[Any], callback: Callable[[Any], object] | None, market_tickers: Tickers
    ) -> Any:
        if callback is None:
            return lambda function: self._on(kinds, function, market_tickers)
        for kind in kinds:
            self._dispatcher.register(kind, callback, market_tickers)
        return callback
