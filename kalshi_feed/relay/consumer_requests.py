"""What the users of a relay's consumer ask for, and the thread that asks the relay. Owns both.

The requests never wait for Redis: they change what is wanted, and the thread sends it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from ..engine.engine import log
from ..engine.requests import FollowRequest
from ..errors import ConfigurationError, KalshiFeedError, RelayError, SubscriptionError
from ..recording.checkpoint import Numbers
from ..recording.requests import ReplayRequests
from ..session.channels import ALL_MARKETS, BOOK_CHANNEL
from ..session.wanted import Change, Want
from ..threads import ServiceThread
from ..waiting import Signal
from .client import RedisClient
from .wish_list import WishList
from .wishes import (
    LONGEST_WISHES,
    FollowWish,
    OneTimeRequest,
    SubscribeWish,
    Wishes,
    WishesAnswer,
    decode_wishes,
    encode_wishes,
)

__all__ = ["ConsumerRequests", "WishSender"]

_MOST_KEPT: Final = 10_000  # messages in the stream of wishes
_FIRST_RETRY: Final = 0.1  # seconds after Redis could not be reached; then twice as long each time
_LAST_RETRY: Final = 2.0
_LISTING: Final = 2.0  # seconds that a relay is given to list the markets of a series


class ConsumerRequests(ReplayRequests):
    """User requests to a relay's consumer: the relay is asked for all that it lacks. Thread-safe.

    ``remote=False``: it is not asked, and the requests do what they do in a replay.
    """

    def __init__(self, *arguments: Any, remote: bool, relay: str) -> None:
        super().__init__(*arguments)
        self.can_ask = self._remote = remote
        self._relay = relay
        self.send: Callable[[], object] = lambda: None  # has the thread look at what is due
        # Guarded by the store's lock.
        self.list = WishList()
        self._numbers = Numbers()
        # what is wanted by a follow(); None: its lifecycle channel, which the relay adds by itself
        self._follows: dict[Want, FollowRequest | None] = {}
        self._answered_at: float | None = None  # when the relay last answered everything (time.monotonic())

    # -- requests --------------------------------------------------------------------------------------------

    def shown_books(self) -> tuple[str, ...]:
        """The relay's, and those that users here have subscribed to, which the relay will have."""
        return tuple(dict.fromkeys((*super().shown_books(), *self.look(self._own_books_locked))))

    def _own_books_locked(self) -> tuple[str, ...]:
        channel = self._users.channels.get(BOOK_CHANNEL)
        return () if channel is None else tuple(channel.holders)

    def shows_book(self, market_ticker: str) -> bool:
        """Whether shown_books() has it."""
        return super().shows_book(market_ticker) or self._users.wants_book(market_ticker)

    def own_wants(self) -> tuple[Want, ...]:
        """What users here have subscribed to."""
        return self.look(lambda: tuple(self._users.wants))

    def note_follow(self, want: Want, lifecycle: Want, asked: FollowRequest) -> None:
        """``want`` and ``lifecycle``, which come next, are those of a follow()."""
        with self._store.lock:
            self._follows[want] = asked
            self._follows[lifecycle] = None

    def want_book(self, market_ticker: str) -> None:
        """Have the relay subscribe to the market's book, unless that was done."""
        if not self._remote or self.look(lambda: self._users.wants_book(market_ticker)):
            return
        for old in self.own_wants():  # the new subscription replaces one that was refused
            if old.failed and old.channels == (BOOK_CHANNEL,) and [*old.keys] == [market_ticker]:
                self.unsubscribe(old)
        self.subscribe(Want((BOOK_CHANNEL,), "market_tickers", (market_ticker,), {}))

    def _check_locked(self, want: Want) -> None:
        if want.options:
            raise ConfigurationError(
                f"{', '.join(want.options)}: a relay's consumer cannot choose that: its relay does, for all "
                "of its consumers"
            )
        super()._check_locked(want)
        if want not in self._follows:
            try:
                decode_wishes(encode_wishes(Wishes(self.list.consumer, 0, [_wish(want, 0)])))
            except ValueError as error:
                raise ConfigurationError(f"too much for one request to a relay: {error}") from error

    def _apply_locked(self, change: Change) -> None:
        super()._apply_locked(change)
        if not self._remote:
            return
        if change.want is not None:
            if change.kind == "unsubscribe":
                self._follows.pop(change.want, None)
            self.list.change()
        elif change.kind in ("request_snapshots", "ask", "ask_again"):
            self.list.ask(OneTimeRequest(change.kind, list(change.words)))
        self.send()

    def ask_for_checkpoint(self) -> None:
        """Ask the relay for a checkpoint, unless that was done and not answered."""
        if self._remote:
            with self._store.lock:
                if not self.list.asks_for("checkpoint"):
                    self.list.ask(OneTimeRequest("checkpoint"))
            self.send()

    def say_again(self) -> None:
        """Say everything again: the relay may not have heard it."""
        with self._store.lock:
            self.list.again()
        self.send()

    # -- what is sent, and answers ---------------------------------------------------------------------------

    def message_locked(self, now: float) -> Wishes:
        """The message that is due."""
        wants = [want for want in self._users.wants if want.live_channels()]
        follow = [
            FollowWish(
                self._numbers.of(want),
                list(want.channels),
                asked.series,
                asked.event,
                asked.lead,
                asked.linger,
                asked.limit,
            )
            for want in wants
            if (asked := self._follows.get(want)) is not None
        ]
        subscribe = [_wish(want, self._numbers.of(want)) for want in wants if want not in self._follows]
        return self.list.message(subscribe, follow, now)

    def answered_locked(self, answer: WishesAnswer) -> None:
        """The relay has answered."""
        self.list.answered(answer.serial)
        if answer.refused:
            for want in tuple(self._users.wants):
                text = answer.refused.get(self._numbers.of(want))
                if text is not None:
                    self._refuse(want, f"{self._relay} refuses it: {text}")
        if self.list.is_answered:
            self._answered_at = time.monotonic()
            self.note_refusals_locked()

    def refuse_all_locked(self, text: str) -> None:
        """Nothing can be asked for, for this reason."""
        for want in tuple(self._users.wants):
            self._refuse(want, text)

    def _refuse(self, want: Want, text: str) -> None:
        names = want.live_channels()
        if not names:
            return
        tickers = tuple(want.keys) if want.selector == "market_tickers" and want.keys else None
        error = SubscriptionError(0, text, ", ".join(names), tickers)
        for name in names:
            self._users.refuse(name, list(want.keys_of(name)), error)
        want.error = error
        want.failed.update(names)

    def note_refusals_locked(self) -> None:
        """Pass on what the exchange has refused to the relay."""
        if self._remote and not self.list.is_answered:
            return  # it may be about to ask again
        for recorded in self.wanted.wants:
            if recorded.error is None:
                continue
            for name, keys in recorded.refused.items():
                channel = self.wanted.channels.get(name)
                refused = [key for key in keys if channel is None or key not in channel.holders]
                if refused:
                    self._users.refuse(name, refused, recorded.error)

    def _check_refused_locked(self, market_ticker: str) -> None:
        if not self._users.wants_book(market_ticker):
            for want in self._users.wants:
                if want.error is not None and market_ticker in want.keys and BOOK_CHANNEL in want.failed:
                    raise want.error.fresh()
        if self.list.is_answered:
            super()._check_refused_locked(market_ticker)

    # -- waits -----------------------------------------------------------------------------------------------

    def confirmed(self, want: Want) -> bool:
        """Whether the exchange has confirmed all of it to the relay."""
        if not self._state.is_connected:
            return False
        if want in self._follows:
            return self._is_followed(want)
        return all(self._has(name, want) for name in want.live_channels())

    def _unconfirmed(self, want: Want) -> list[str]:
        return [name for name in want.live_channels() if not self._has(name, want)]

    def _is_book_confirmed(self, market_ticker: str) -> bool:
        # the session takes what the relay does not want for confirmed
        return self.wanted.wants_book(market_ticker) and super()._is_book_confirmed(market_ticker)

    def _why_unconfirmed(self, what: str) -> str:
        if not self._remote:
            return f"{self._relay} does not have {what}, and with remote=False it is not asked for it"
        if not self.list.is_answered:
            return f"{self._relay} has not answered a request for {what}"
        return super()._why_unconfirmed(what)

    def _has(self, name: str, want: Want) -> bool:
        subscription = self.session.reconciler.subscriptions.get(name)
        return subscription is not None and (
            subscription.confirmed == ALL_MARKETS or subscription.confirmed.issuperset(want.keys_of(name))
        )

    def _is_followed(self, want: Want) -> bool:
        """Whether the relay follows it. It does not say when it has listed the markets: it is given time."""
        asked = self._follows[want]
        if not all(name in self.wanted.channels for name in want.channels):
            return False
        if asked is None or not self._remote:
            return super().confirmed(want)
        if not self.list.is_answered or self._answered_at is None:
            return False
        has_markets = any(
            (market := self._store.markets.get(ticker)) is not None
            and (market.series_ticker == asked.series or market.event_ticker == asked.event)
            for ticker in chain(*(self.wanted.channels[name].holders for name in want.channels))
        )
        return (has_markets or time.monotonic() - self._answered_at > _LISTING) and all(
            self.session.reconciler.settled(name) for name in want.channels
        )

    def reopen_books_locked(self) -> None:
        """The feed starts: the books that the relay had are PENDING."""
        for ticker in self.wanted_books_locked():
            self.open_book_locked(ticker)


def _wish(want: Want, number: int) -> SubscribeWish:
    return SubscribeWish(number, list(want.live_channels()), want.selector, list(want.keys))


class WishSender:
    """Sends what is due to the relay, on a thread of its own. A Companion. Thread-safe.

    ``report``: for what goes wrong.
    """

    def __init__(
        self,
        name: str,
        requests: ConsumerRequests,
        client: RedisClient,
        key: str,
        lock: Any,
        report: Callable[[str, str, BaseException | None], None],
    ) -> None:
        self._name = name
        self._requests = requests
        self._client = client
        self._key = key
        self._lock = lock  # the store's
        self._report = report
        self._wake = Signal()
        self._is_stopping = True
        self._run_number = 0  # a thread whose number is an older one ends
        self._thread: ServiceThread | None = None
        requests.send = self._wake.set

    def start(self) -> None:
        """Run from now on; see Companion."""
        with self._lock:
            if not self._is_stopping:
                return
            self._is_stopping = False
            self._run_number += 1
            number = self._run_number
            before = self._thread
            self._thread = thread = ServiceThread(lambda: self._run(number, before), self._name)
        thread.start()

    def stop(self) -> None:
        """Ask the thread to end; see Companion."""
        was_stopping, self._is_stopping = self._is_stopping, True
        self._wake.set()
        # a signal handler or finalizer may interrupt this very method, or the thread itself
        if not was_stopping and ServiceThread.current() is not self._thread:
            self._client.close()

    def join(self, deadline: float) -> None:
        """Wait for the end until ``deadline``; see Companion."""
        thread = self._thread
        if thread is not None and ServiceThread.current() is not thread:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _run(self, number: int, before: ServiceThread | None) -> None:
        if before is not None:
            before.join(None)
        self._requests.say_again()  # the relay may have forgotten us since the last run
        for wait in self._rounds(number):
            self._wake.wait(wait)
        self._client.close()

    def _is_over(self, number: int) -> bool:
        return self._is_stopping or self._run_number != number

    def _rounds(self, number: int) -> Iterator[float | None]:
        """Send what is due; yield how long to wait until something may be."""
        retry = _FIRST_RETRY
        while not self._is_over(number):
            try:
                due = self._send()
                retry = _FIRST_RETRY
            except RelayError as error:
                if self._is_over(number):
                    return
                if not error.retryable:
                    self._refused(error)
                self._requests.say_again()
                due, retry = retry, min(2 * retry, _LAST_RETRY)
            except KalshiFeedError:
                return  # in a forked child
            yield due

    def _send(self) -> float:
        """Send what is due now; return in how many seconds something else may be."""
        self._requests.check_fork()
        now, payload = time.monotonic(), b""
        with self._lock:
            wishes = self._requests.list
            if wishes.send_at() <= now:
                payload = encode_wishes(self._requests.message_locked(now))
            due = wishes.send_at() - now
        if len(payload) > LONGEST_WISHES:
            raise RelayError(
                f"all that this feed subscribes to makes a request of {len(payload)} bytes, and a relay "
                f"reads {LONGEST_WISHES}: use several feeds",
                retryable=False,
            )
        if payload:
            self._client.run(
                lambda redis: redis.xadd(self._key, {"p": payload}, maxlen=_MOST_KEPT, approximate=True)
            )
        return min(max(due, 0.0), 3600.0)

    def _refused(self, error: RelayError) -> None:
        """Nothing can be sent, and trying again will not help."""
        text = f"the relay cannot be asked for anything: {error} (remote=False asks for nothing)"
        log(logging.ERROR, "%s", text)
        with self._lock:
            self._requests.refuse_all_locked(text)
        self._report("relay", text, error)
