"""Registering callbacks: one method for each kind of message and event.

Owns the names of the registrations, and which wire types each one covers. Thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from .books.book import BookView
from .by_type import Tickers
from .dispatch import ALL_DATA, BOOKS, Delivery
from .events import FeedFault, Gap, GapFilled, Lagged, MarketChange, StateChange
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

# The callback each registration takes and returns unchanged
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
OnMarket = TypeVar("OnMarket", bound=Callable[[MarketChange], object])
OnState = TypeVar("OnState", bound=Callable[[StateChange], object])
OnGap = TypeVar("OnGap", bound=Callable[[Gap], object])
OnGapFilled = TypeVar("OnGapFilled", bound=Callable[[GapFilled], object])
OnLagged = TypeVar("OnLagged", bound=Callable[[Lagged], object])
OnError = TypeVar("OnError", bound=Callable[[FeedFault], object])

_LIFECYCLE: Final = ("market_lifecycle_v2", "multivariate_market_lifecycle")
_EVENTS: Final = ("event_lifecycle", "event_fee_update")
_INDICES: Final = ("cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value")


class Callbacks:
    """The registrations of a feed. Thread-safe.

    Every callback takes exactly one immutable object and runs on the worker thread, in order, without any
    lock held. In a replay it runs on the player's thread, which continues when it returns: it finds every
    book as it was at that message.

    Each method returns the function it was given, so all of them are decorators, with arguments, too:
    ``@feed.on_delta(market_tickers=[...])``. With ``market_tickers``, the callback gets only messages of
    these markets, and none without a ticker. A callback that raises is logged, counted and reported to
    on_error; the other callbacks and the feed carry on. Each method raises ConfigurationError for arguments
    that cannot work.
    """

    _dispatcher: Delivery

    @overload
    def on_snapshot(self, callback: OnSnapshot, *, market_tickers: Tickers = None) -> OnSnapshot: ...
    @overload
    def on_snapshot(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnSnapshot], OnSnapshot]: ...
    def on_snapshot(self, callback: OnSnapshot | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every OrderbookSnapshot, including those of a repair (a Gap came before)."""
        return self._on(("orderbook_snapshot",), callback, market_tickers)

    @overload
    def on_delta(self, callback: OnDelta, *, market_tickers: Tickers = None) -> OnDelta: ...
    @overload
    def on_delta(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnDelta], OnDelta]: ...
    def on_delta(self, callback: OnDelta | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every OrderbookDelta applied; its book is at it or newer (in a replay, at it)."""
        return self._on(("orderbook_delta",), callback, market_tickers)

    @overload
    def on_book(self, callback: OnBook, *, market_tickers: Tickers = None) -> OnBook: ...
    @overload
    def on_book(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnBook], OnBook]: ...
    def on_book(self, callback: OnBook | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for a BookView whenever a book or its status changes.

        Views are conflated: you get each market's newest one, no matter how far behind the worker is; in a
        replay, every one.
        """
        return self._on((BOOKS,), callback, market_tickers)

    @overload
    def on_trade(self, callback: OnTrade, *, market_tickers: Tickers = None) -> OnTrade: ...
    @overload
    def on_trade(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnTrade], OnTrade]: ...
    def on_trade(self, callback: OnTrade | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every Trade."""
        return self._on(("trade",), callback, market_tickers)

    @overload
    def on_ticker(self, callback: OnTicker, *, market_tickers: Tickers = None) -> OnTicker: ...
    @overload
    def on_ticker(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnTicker], OnTicker]: ...
    def on_ticker(self, callback: OnTicker | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every Ticker."""
        return self._on(("ticker",), callback, market_tickers)

    @overload
    def on_fill(self, callback: OnFill, *, market_tickers: Tickers = None) -> OnFill: ...
    @overload
    def on_fill(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnFill], OnFill]: ...
    def on_fill(self, callback: OnFill | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every Fill of the account.

        After a reconnect, read what may be missing over REST (StateChange has the interval).
        """
        return self._on(("fill",), callback, market_tickers)

    @overload
    def on_order(self, callback: OnOrder, *, market_tickers: Tickers = None) -> OnOrder: ...
    @overload
    def on_order(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnOrder], OnOrder]: ...
    def on_order(self, callback: OnOrder | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every change of the account's orders (channel user_orders): UserOrder."""
        return self._on(("user_order",), callback, market_tickers)

    @overload
    def on_position(self, callback: OnPosition, *, market_tickers: Tickers = None) -> OnPosition: ...
    @overload
    def on_position(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnPosition], OnPosition]: ...
    def on_position(self, callback: OnPosition | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for every change of the account's positions (channel market_positions): MarketPosition."""
        return self._on(("market_position",), callback, market_tickers)

    @overload
    def on_lifecycle(self, callback: OnLifecycle, *, market_tickers: Tickers = None) -> OnLifecycle: ...
    @overload
    def on_lifecycle(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnLifecycle], OnLifecycle]: ...
    def on_lifecycle(self, callback: OnLifecycle | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for markets being created, determined, settled … (the two lifecycle channels)."""
        return self._on(_LIFECYCLE, callback, market_tickers)

    @overload
    def on_event(self, callback: OnEvent, *, market_tickers: Tickers = None) -> OnEvent: ...
    @overload
    def on_event(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnEvent], OnEvent]: ...
    def on_event(self, callback: OnEvent | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for new events and changes of their fees (on the lifecycle channels)."""
        return self._on(_EVENTS, callback, market_tickers)

    @overload
    def on_order_group(self, callback: OnOrderGroup, *, market_tickers: Tickers = None) -> OnOrderGroup: ...
    @overload
    def on_order_group(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnOrderGroup], OnOrderGroup]: ...
    def on_order_group(self, callback: OnOrderGroup | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for changes of the account's order groups: OrderGroupUpdate."""
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
        """Register for RFQs and quotes, all twelve types (channel communications)."""
        return self._on(CHANNELS["communications"].types, callback, market_tickers)

    @overload
    def on_index(self, callback: OnIndex, *, market_tickers: Tickers = None) -> OnIndex: ...
    @overload
    def on_index(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnIndex], OnIndex]: ...
    def on_index(self, callback: OnIndex | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for values of CF Benchmarks indices and Pyth underlyings."""
        return self._on(_INDICES, callback, market_tickers)

    @overload
    def on_message(self, callback: OnMessage, *, market_tickers: Tickers = None) -> OnMessage: ...
    @overload
    def on_message(
        self, callback: None = None, *, market_tickers: Tickers = None
    ) -> Callable[[OnMessage], OnMessage]: ...
    def on_message(self, callback: OnMessage | None = None, *, market_tickers: Tickers = None) -> Any:
        """Register for data messages of every type, also unknown ones; replies to commands are not data."""
        return self._on((ALL_DATA,), callback, market_tickers)

    def on_market(self, callback: OnMarket) -> OnMarket:
        """Register for MarketChange: a market that follow() follows was announced, opened, closed …"""
        self._dispatcher.register(MarketChange, callback)
        return callback

    def on_state(self, callback: OnState) -> OnState:
        """Register for every change of the feed's state: StateChange."""
        self._dispatcher.register(StateChange, callback)
        return callback

    def on_gap(self, callback: OnGap) -> OnGap:
        """Register for Gap: messages are missing; the books it names are STALE until their next snapshot."""
        self._dispatcher.register(Gap, callback)
        return callback

    def on_gap_filled(self, callback: OnGapFilled) -> OnGapFilled:
        """Register for GapFilled: what was missed on a channel was asked for over REST (``fill_gaps=``)."""
        self._dispatcher.register(GapFilled, callback)
        return callback

    def on_lagged(self, callback: OnLagged) -> OnLagged:
        """Register for Lagged: callbacks were too slow, and messages were dropped at this point."""
        self._dispatcher.register(Lagged, callback)
        return callback

    def on_error(self, callback: OnError) -> OnError:
        """Register for FeedFault, a problem that does not end the feed: an unreadable frame, a refusal …"""
        self._dispatcher.register(FeedFault, callback)
        return callback

    def off(self, callback: Callable[[Any], object]) -> int:
        """Remove all registrations of ``callback``, from the next message on; return how many there were."""
        return self._dispatcher.off(callback)

    def _on(
        self, kinds: Iterable[Any], callback: Callable[[Any], object] | None, market_tickers: Tickers
    ) -> Any:
        if callback is None:
            return lambda function: self._on(kinds, function, market_tickers)
        for kind in kinds:
            self._dispatcher.register(kind, callback, market_tickers)
        return callback
