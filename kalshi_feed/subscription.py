"""Subscription: the handle that subscribe() returns.

Owns the handle and SubscriptionState; everything it says is read from the feed. Thread-safe.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError, SubscriptionError
from .session.channels import BOOK_CHANNEL, names, rule_of
from .session.wanted import Want

if TYPE_CHECKING:
    from .engine.requests import UserRequests

__all__ = ["Subscription", "SubscriptionState"]


class SubscriptionState(enum.Enum):
    """How far a subscription has come.

    PENDING until the exchange has confirmed every channel (and again after each reconnect), then ACTIVE;
    FAILED once the exchange has refused one; CLOSED after unsubscribe().
    """

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    CLOSED = "CLOSED"


class Subscription:
    """What one subscribe() call requested. Thread-safe; only wait() blocks.

    It outlives reconnects, close() and start(): it is subscribed again on every connection. All methods raise
    FeedForkedError in a forked child; those that change it raise ConfigurationError for arguments that cannot
    work, and after unsubscribe().
    """

    __slots__ = ("_requests", "_want")

    def __init__(self, requests: UserRequests, want: Want) -> None:
        self._requests = requests
        self._want = want

    @property
    def _checked_want(self) -> Want:
        """The Want; raises FeedForkedError in a child process, where no thread looks after it."""
        self._requests.check_fork()
        return self._want

    @property
    def channels(self) -> tuple[str, ...]:
        """The requested channels."""
        return self._checked_want.channels

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """The requested markets, in order; empty without a filter by ticker."""
        want = self._checked_want
        return self._requests.look(lambda: tuple(want.keys) if want.selector == "market_tickers" else ())

    @property
    def sids(self) -> Mapping[str, int]:
        """Channel to sid, the exchange's current number for it; confirmed channels only."""
        want = self._checked_want
        found = self._requests.look(
            lambda: {name: self._requests.sid_of(name) for name in want.live_channels()}
        )
        return MappingProxyType({name: sid for name, sid in found.items() if sid is not None})

    @property
    def error(self) -> SubscriptionError | None:
        """The exchange's refusal, or None."""
        return self._checked_want.error

    @property
    def state(self) -> SubscriptionState:
        """PENDING, ACTIVE, FAILED or CLOSED, see SubscriptionState."""
        self._requests.check_fork()
        return self._state()

    def _state(self) -> SubscriptionState:
        return self._requests.look(self._state_locked)

    def _state_locked(self) -> SubscriptionState:
        if self._want.closed:
            return SubscriptionState.CLOSED
        if self._want.failed:
            return SubscriptionState.FAILED
        return SubscriptionState.ACTIVE if self._requests.confirmed(self._want) else SubscriptionState.PENDING

    def wait(self, timeout: float | None = None) -> Subscription:
        """Wait until the exchange has confirmed every channel and market; return the subscription.

        ``timeout`` is in seconds; None waits indefinitely. Raises SubscriptionError if the exchange refused
        one, WaitTimeout, the feed's fatal error, FeedClosedError.
        """
        self._requests.wait_for_confirmation(self._want, timeout)
        return self

    def add_markets(self, *market_tickers: str | Iterable[str]) -> Subscription:
        """Add markets. Raises ConfigurationError if the subscription has no filter by ticker."""
        found = self._checked(market_tickers, "add_markets")
        self._requests.add_markets(self._want, found)
        return self

    def delete_markets(self, *market_tickers: str | Iterable[str]) -> Subscription:
        """Remove markets. Raises ConfigurationError for markets that are not in the subscription."""
        found = self._checked(market_tickers, "delete_markets")
        unknown = [ticker for ticker in found if ticker not in self._want.keys]
        if unknown:
            raise ConfigurationError(
                f"not in this subscription: {', '.join(unknown[:5])}; see its market_tickers"
            )
        self._requests.delete_markets(self._want, found)
        return self

    def subscribe_indices(self, *index_ids: str | Iterable[str]) -> Subscription:
        """Add CF Benchmarks indices (channels cfbenchmarks_value, cfbenchmarks_value_5hz)."""
        self._requests.add_markets(self._want, self._checked(index_ids, "subscribe_indices", "index_ids"))
        return self

    def unsubscribe_indices(self, *index_ids: str | Iterable[str]) -> Subscription:
        """Remove CF Benchmarks indices."""
        self._requests.delete_markets(
            self._want, self._checked(index_ids, "unsubscribe_indices", "index_ids")
        )
        return self

    def subscribe_underlyings(self, *tickers: str | Iterable[str]) -> Subscription:
        """Add Pyth underlyings (channel pyth_value)."""
        self._requests.add_markets(
            self._want, self._checked(tickers, "subscribe_underlyings", "underlying_tickers")
        )
        return self

    def unsubscribe_underlyings(self, *tickers: str | Iterable[str]) -> Subscription:
        """Remove Pyth underlyings."""
        self._requests.delete_markets(
            self._want, self._checked(tickers, "unsubscribe_underlyings", "underlying_tickers")
        )
        return self

    def indexlist(self) -> Subscription:
        """Ask for all indices; the answer is a message: feed.wait_for("cfbenchmarks_value_indexlist")."""
        return self._ask("indexlist", "index_ids")

    def underlying_list(self) -> Subscription:
        """Ask for all underlyings; the answer is a message: feed.wait_for("pyth_value_underlying_list")."""
        return self._ask("underlying_list", "underlying_tickers")

    def request_snapshot(self, *market_tickers: str | Iterable[str]) -> Subscription:
        """Ask the exchange for fresh order book snapshots of these markets, or of all the subscription's."""
        self._requests.check()
        if BOOK_CHANNEL not in self._want.live_channels():
            raise ConfigurationError(f"only a subscription to {BOOK_CHANNEL} has snapshots to request")
        found = self._checked(market_tickers, "request_snapshot") if market_tickers else self.market_tickers
        unknown = [ticker for ticker in found if ticker not in self._want.keys]
        if unknown:
            raise ConfigurationError(
                f"not in this subscription: {', '.join(unknown[:5])}; call add_markets() first"
            )
        self._requests.request_snapshots(found)
        return self

    def unsubscribe(self) -> None:
        """Unsubscribe. Idempotent; other subscriptions to the same markets stay."""
        self._requests.check()
        self._requests.unsubscribe(self._want)

    def _ask(self, action: str, selector: str) -> Subscription:
        self._requests.check()
        channels = [name for name in self._want.live_channels() if selector in rule_of(name).selectors]
        if not channels or self._want.selector not in (None, selector):
            raise ConfigurationError(f"{action}: no channel of this subscription has such a list")
        self._requests.ask(action, channels)
        return self

    def _checked(
        self, given: tuple[str | Iterable[str], ...], what: str, selector: str = "market_tickers"
    ) -> tuple[str, ...]:
        self._requests.check()
        if self._want.closed:
            raise ConfigurationError(f"{what}: the subscription was ended by unsubscribe(); subscribe again")
        if self._want.selector != selector:
            raise ConfigurationError(
                f"{what}: this subscription has no {selector}; subscribe with {selector}=[…]"
            )
        return names(
            [key for some in given for key in ([some] if isinstance(some, str) else names(some, selector))],
            selector,
        )

    def __repr__(self) -> str:
        count = len(self._want.keys)
        markets = f"{count or 'all'} market{'' if count == 1 else 's'}"
        return f"<Subscription {', '.join(self._want.channels)}, {markets}, {self._state().value}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a Subscription belongs to its feed and cannot be pickled or copied; "
            "pass on its channels and market_tickers, and subscribe() where they are needed"
        )
