"""One feed behind its own bad network, and everything that watches it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, Literal

from kalshi_feed import (
    BookView,
    FeedState,
    KalshiFeed,
    KalshiFeedError,
    ReconnectPolicy,
    StaleBookError,
    SubscriptionState,
    WaitTimeout,
)
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests.faults.oracle import Ledger, Oracle, Views
from tests.faults.toxic_proxy import ToxicProxy

__all__ = ["PROMISED_SECONDS", "Line"]

TIMING: Final = Timing(
    ack=1.5,
    snapshot=1.5,
    retry_initial=0.1,
    retry_max=1.0,
    healthy=5.0,
    healthy_live=1.0,
    mute_market=3.0,
    failed_repairs_window=10.0,
    bad_frames_window=10.0,
)
POLICY: Final = ReconnectPolicy(initial_delay=0.05, max_delay=1.0)
IDLE_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 3.0
# The worst case from the end of the faults to the last book LIVE: noticing a dead connection, waiting for the
# next dial and making it, sending a command twice, waiting for its snapshots twice, and the last retry of a
# subscription.
PROMISED_SECONDS: Final = (
    IDLE_SECONDS
    + POLICY.max_delay
    + CONNECT_SECONDS
    + 2 * TIMING.ack
    + 2 * TIMING.snapshot
    + TIMING.retry_max
)


class SoakFeed(KalshiFeed):
    """A feed whose session never waits long."""

    _timing = TIMING


class Line:
    """Feed, proxy, ledger, and a user who waits for updates. A context manager; its methods belong to the
    soak's own thread."""

    def __init__(
        self,
        exchange: Exchange,
        oracle: Oracle,
        name: str,
        *,
        seed: int,
        queue_size: int,
        overflow: Literal["drop_oldest", "block"] = "drop_oldest",
        workers: int = 1,
        compression: bool = False,
    ) -> None:
        self.name = name
        self.tickers: Sequence[str] = exchange.market_tickers
        self.proxy = ToxicProxy(exchange.port, seed=seed)
        self.feed = SoakFeed(
            exchange.credentials,
            url=exchange.url.replace(f":{exchange.port}/", f":{self.proxy.port}/"),
            ssl_context=exchange.ssl_context,
            reconnect=POLICY,
            connect_timeout=CONNECT_SECONDS,
            idle_timeout=IDLE_SECONDS,
            queue_size=queue_size,
            overflow=overflow,
            workers=workers,
            compression=compression,
            name=name,
        )
        self.ledger = Ledger(oracle, self.feed, workers)
        self.shown, self.waited, self.sampled = (Views(oracle) for _ in range(3))  # by the thread that looks
        self.updates = self.raised = 0
        self.raising = 0  # how many of the next trade callbacks raise
        self.error: BaseException | None = None  # the error that ended the user's thread
        self.deleted: list[str] = []
        # guards `shown` against several workers; no other lock is taken under it
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._user = threading.Thread(target=self._wait_for_updates, name=f"soak-user-{name}", daemon=True)
        self.feed.on_book(self._shown, market_tickers=self.tickers[::5])
        self.feed.on_trade(self._trade)
        self.books = self.feed.subscribe("orderbook_delta", self.tickers)
        self.trades = self.feed.subscribe("trade", self.tickers)

    def __enter__(self) -> Line:
        self.proxy.__enter__()
        self.feed.start()
        self._user.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stop.set()
        self.feed.close()
        self._user.join(5)
        self.proxy.__exit__(None, None, None)

    # -- the user --------------------------------------------------------------------------------------------

    def _shown(self, view: BookView) -> None:
        with self._lock:
            self.shown.check(view)

    def _trade(self, trade: object) -> None:
        if self.raising > 0:
            self.raising -= 1
            self.raised += 1
            raise ZeroDivisionError("a user's bug, on purpose")

    def _wait_for_updates(self) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            book = self.feed.book(self.tickers[turn % len(self.tickers)])
            try:
                view = book.wait_for_update(timeout=0.5)
            except WaitTimeout:
                continue
            except StaleBookError:  # no one wants this book at the moment
                self._stop.wait(0.05)
                continue
            except KalshiFeedError as error:
                if not self._stop.is_set():
                    self.error = error
                return
            self.updates += 1
            self.waited.check(view)

    def act(self, kind: str, dice: float) -> None:
        """Do what the feed's user does."""
        some = [self.tickers[int(dice * 1000 + 7 * i) % len(self.tickers)] for i in range(1 + int(dice * 5))]
        if kind == "slow callbacks":
            self.ledger.delay = 0.001 + 0.004 * dice  # 200 to 1,000 per second: fewer than arrive
        elif kind == "quick callbacks":
            self.ledger.delay = 0.0
        elif kind == "callback raises":
            self.raising = 1 + int(dice * 5)
        elif kind == "delete markets":
            some = [ticker for ticker in dict.fromkeys(some) if ticker not in self.deleted]
            if some:
                self.deleted += some
                self.ledger.left(*some)
                self.books.delete_markets(*some)
        elif kind == "add markets":
            self.add_back()
        elif kind == "ask for snapshots":
            self.books.request_snapshot(
                *(ticker for ticker in self.tickers[:5] if ticker not in self.deleted)
            )
        elif kind == "trades off or on":
            if self.trades.state is SubscriptionState.CLOSED:
                self.trades = self.feed.subscribe("trade", self.tickers)
            else:
                self.trades.unsubscribe()
        elif kind == "subscribe again":
            self.ledger.left(*self.tickers)
            self.books.unsubscribe()
            self.books, self.deleted = self.feed.subscribe("orderbook_delta", self.tickers), []

    def add_back(self) -> None:
        """Subscribe again to everything that was deleted."""
        if self.deleted:
            again, self.deleted = self.deleted, []
            self.books.add_markets(*again)

    # -- the network -----------------------------------------------------------------------------------------

    def strike(self, kind: str, dice: float) -> None:
        """Set the network from now on, both ways where that makes sense."""
        proxy = self.proxy
        proxy.heal()
        down, up = proxy.down, proxy.up
        if kind == "latency":
            down.latency = up.latency = 0.02 + 0.3 * dice
        elif kind == "jitter":
            down.latency, down.jitter = 0.01, 0.02 + 0.3 * dice
        elif kind == "bandwidth":
            down.rate = 50_000 + 400_000 * dice  # up to about what the feed needs
        elif kind == "slices":
            down.slice, up.slice = 50 + int(1500 * dice), 1 + int(20 * dice)
        elif kind == "black hole":
            (up if dice > 0.7 else down).black_hole = True
        elif kind in ("reset", "cut"):
            proxy.cut(reset=kind == "reset")
        elif kind == "cut after n bytes":
            proxy.cut_with_reset = dice > 0.5
            proxy.down.limit = 1 + int(200_000 * dice**3)
            proxy.cut()
        elif kind == "byte flip":
            (up if dice > 0.8 else down).flip_next = 1
        elif kind == "refusing":
            proxy.refusing = True
            proxy.cut(reset=dice > 0.5)

    def heal(self) -> None:
        """Restore a good network and a well-behaved user."""
        self.proxy.heal()
        self.ledger.delay, self.raising = 0.0, 0
        self.add_back()

    # -- watching --------------------------------------------------------------------------------------------

    def sample(self) -> list[str]:
        """Look at every book; return the wanted ones that are not LIVE. Without a connection, none may be
        LIVE."""
        before = self._connection()
        views = [self.feed.book(ticker).view() for ticker in self.tickers]
        if before[0] is FeedState.RECONNECTING and self._connection() == before:
            for view in views:
                if view.is_live:
                    self.sampled.wrong.add(f"LIVE without a connection: {view!r}")
        for view in views:
            self.sampled.check(view)
        return [
            view.market_ticker
            for view in views
            if not view.is_live and view.market_ticker not in self.deleted
        ]

    def _connection(self) -> tuple[FeedState, int]:
        return self.feed.state, self.feed.stats().reconnects

    def not_live(self) -> list[str]:
        """The books that are not LIVE now."""
        return [ticker for ticker in self.tickers if not self.feed.book(ticker).is_live]

    def ailments(self) -> list[str]:
        """What health() complains about. Callbacks that were too slow a minute ago do not count."""
        return [reason for reason in self.feed.health().reasons if "callbacks are too slow" not in reason]

    def findings(self) -> list[str]:
        """The first things that were found wrong so far, as strings."""
        texts = [text for look in self.looks for text in look.wrong.texts]
        texts += [
            f"not announced: {text}" for text in self.ledger.unannounced.texts
        ] + self.ledger.wrong.texts
        return [f"{self.name}: {text}" for text in texts]

    @property
    def looks(self) -> tuple[Views, ...]:
        """Everyone that has looked at its books."""
        return self.shown, self.waited, self.sampled
