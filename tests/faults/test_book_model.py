"""One book against a naive one: plain dicts of Decimals, and every question answered the slow way. Faults
S09–S14.

Every frame is written as the exchange writes it, in each wire generation and on both scales of the no side.
It takes the feed's own path: decoder, book, store, handle, view.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalshi_feed.books.book import BookStatus, NegativeSize
from kalshi_feed.books.store import BookStore
from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import Decoder, OrderbookDelta, OrderbookSnapshot
from kalshi_feed.waiting import Waiter
from tests.effort import effort

PRICES = ("0.0000", "0.4000", "0.4100", "0.5505", "1.0000")  # only a few, so that they coincide
SIZES = ("1.00", "2.00", "0.50")
NO_PRICES: tuple[Any, ...] = (
    "NaN",
    "Infinity",
    "1e-1",
    "0_5",
    " 0.5",
    "0.5 ",
    "0.٥",
    "+0.5",
    "-0.5",
    "1.0001",
    "0.00001",
    "",
    True,
    [],
)
NO_SIZES: tuple[Any, ...] = (
    "NaN",
    "-Infinity",
    "1e2",
    "1_000",
    " 1",
    "1\n",
    "٣",
    "+1",
    "1.001",
    "--1",
    "0x1",
    "",
    True,
    {},
)

Side = dict[Decimal, Decimal]
sides = st.sampled_from(["yes", "no"])
prices = st.sampled_from(PRICES).map(Decimal)
sizes = st.sampled_from(SIZES).map(Decimal)
# None: this side is left out
levels = st.none() | st.dictionaries(prices, sizes | st.just(Decimal("0.00")), max_size=4)
generations = st.sampled_from(["fixed-point", "dollars", "cents"])


class BookAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = BookStore()
        self.handle = self.store.handle("A")
        self.book = self.store.book_locked("A")
        self.model: dict[str, Side] = {"yes": {}, "no": {}}
        self.status = "PENDING"
        self.version = self.seq = 0
        self.waiters: list[Waiter] = []

    @initialize(use_yes_price=st.booleans(), yes=levels, no=levels)
    def begin(self, use_yes_price: bool, yes: Side | None, no: Side | None) -> None:
        self.decoder = Decoder(use_yes_price)
        self.snapshot(yes, no, "fixed-point")

    # the exchange

    @rule(yes=levels, no=levels, generation=generations)
    def snapshot(self, yes: Side | None, no: Side | None, generation: str) -> None:
        """Any snapshot replaces the book; a missing side is empty."""
        msg: dict[str, Any] = {"market_ticker": "A"}
        for side, wanted in (("yes", yes), ("no", no)):
            if wanted is not None:
                written = _generation(generation, wanted, wanted.values())
                name = {"fixed-point": f"{side}_dollars_fp", "dollars": f"{side}_dollars", "cents": side}[
                    written
                ]
                msg[name] = [[self._price(side, p, written), _size(s, written)] for p, s in wanted.items()]
            self.model[side] = {p: s for p, s in (wanted or {}).items() if s}
        self._take("orderbook_snapshot", msg)
        self.status = "LIVE"

    @rule(
        deltas=st.lists(st.tuples(sides, prices, sizes, st.booleans()), min_size=1, max_size=5),
        generation=generations,
    )
    def deltas(self, deltas: list[tuple[str, Decimal, Decimal, bool]], generation: str) -> None:
        """Add to a level, or take from it, down to nothing."""
        for side, price, size, is_less in deltas:
            there = self.model[side].get(price, Decimal(0))
            change = -min(size, there) if is_less else size
            self._delta(side, price, change, generation)
            self.model[side][price] = there + change
            if not self.model[side][price]:
                del self.model[side][price]

    @precondition(lambda self: self.model["yes"] or self.model["no"])
    @rule(which=st.integers(0, 9), generation=generations)
    def a_level_goes(self, which: int, generation: str) -> None:
        there = [(side, price) for side in ("yes", "no") for price in self.model[side]]
        side, price = there[which % len(there)]
        self._delta(side, price, -self.model[side].pop(price), generation)

    @rule(side=sides, price=prices, more=sizes)
    def more_than_there_is(self, side: str, price: Decimal, more: Decimal) -> None:
        try:
            self._delta(side, price, -self.model[side].get(price, Decimal(0)) - more, "fixed-point")
        except NegativeSize:
            self.version -= 1
        else:
            raise AssertionError("a negative size was taken")

    @rule(
        side=sides,
        price=st.sampled_from(NO_PRICES),
        size=st.sampled_from(NO_SIZES),
        which=st.integers(0, 2),
        snapshot=st.booleans(),
    )
    def what_is_no_number(self, side: str, price: Any, size: Any, which: int, snapshot: bool) -> None:
        """Corrupt the price, the size, or both."""
        price = "0.4000" if which == 0 else price
        size = "1.00" if which == 1 else size
        try:
            if snapshot:
                self._take(
                    "orderbook_snapshot", {"market_ticker": "A", f"{side}_dollars_fp": [[price, size]]}
                )
            else:
                self._take(
                    "orderbook_delta",
                    {"market_ticker": "A", "side": side, "price_dollars": price, "delta_fp": size},
                )
        except (ProtocolError, ValueError):
            self.version -= 1
        else:
            raise AssertionError(f"{price!r} and {size!r} were accepted as numbers")

    @rule(status=st.sampled_from([BookStatus.LIVE, BookStatus.STALE, BookStatus.CLOSED]))
    def status_changes(self, status: BookStatus) -> None:
        with self.store.change():
            self.version += self.book.set_status(status)
        self.status = status.value

    # the users

    @rule(what=st.sampled_from(["change", "LIVE", "STALE", "two sides"]))
    def someone_waits(self, what: str) -> None:
        """Wait for the next change, for a status, or for a book that one can trade on, like a thread that has
        just looked."""
        version = self.book.version
        checks: dict[str, Callable[[], object]] = {
            "change": lambda: True if self.book.version > version else None,
            "two sides": lambda: self.book.best_bid() and self.book.best_ask(),
        }
        waiter = Waiter(checks.get(what, lambda: True if self.book.status.value == what else None))
        if not waiter.is_ready():
            self.store._waiters.append(weakref.ref(waiter))
            self.waiters.append(waiter)

    @invariant()
    def who_waits_is_woken_when_there_is_something_to_see(self) -> None:
        for waiter in self.waiters[:]:
            is_there = waiter.is_ready()
            assert waiter.signal.wait(0) is is_there
            if is_there:
                self.waiters.remove(waiter)
                self.store._waiters.remove(weakref.ref(waiter))

    # what must hold

    @invariant()
    def the_book_is_the_model(self) -> None:
        book, view = self.book, self.book.view(5.0, 100.0)
        book._check()
        assert (book.status.value, book.version, view.version) == (self.status, self.version, self.version)
        for side, other in (("yes", "no"), ("no", "yes")):
            bids = sorted(self.model[side].items(), reverse=True)
            asks = sorted((1 - price, size) for price, size in self.model[other].items())
            for answers in (view, self.handle):
                _same(answers, side, bids, asks)
            assert [book.best_bid(side), book.best_ask(side)] == [
                bids[0] if bids else None,
                asks[0] if asks else None,
            ]
        told = view.to_dict()
        assert (
            told == json.loads(json.dumps(told))
            and told["status"] == self.status
            and told["version"] == self.version
        )
        for side in ("yes", "no"):
            assert told[side] == [
                [f"{price:.4f}", f"{size:.2f}"]
                for price, size in sorted(self.model[side].items(), reverse=True)
            ]

    # the path of a frame

    def _delta(self, side: str, price: Decimal, change: Decimal, generation: str) -> None:
        msg: dict[str, Any] = {"market_ticker": "A", "side": side}
        if _generation(generation, [price], [change]) == "cents":
            msg |= {"price": self._price(side, price, "cents"), "delta": _size(change, "cents")}
        else:
            msg |= {
                "price_dollars": self._price(side, price, "fixed-point"),
                "delta_fp": _size(change, "fixed-point"),
            }
        self._take("orderbook_delta", msg)

    def _take(self, wire_type: str, msg: dict[str, Any]) -> None:
        """Apply a frame; raises what the session would have to handle."""
        self.seq += 1
        self.version += 1
        (message,) = self.decoder.decode_batch(
            [json.dumps({"type": wire_type, "sid": 1, "seq": self.seq, "msg": msg}).encode()]
        )
        if isinstance(message, ProtocolError):
            raise message
        with self.store.change():
            if isinstance(message, OrderbookSnapshot):
                self.book.replace(*message.book_sides(), message.seq, message.clock, 1.0)
            else:
                assert isinstance(message, OrderbookDelta)
                self.book.apply(message.side, *message.units(), message.seq, message.clock, 1.0)

    def _price(self, side: str, price: Decimal, generation: str) -> Any:
        wire = 1 - price if side == "no" and self.decoder.use_yes_price else price
        return int(wire * 100) if generation == "cents" else f"{wire:.4f}"


def _generation(generation: str, prices: Iterable[Decimal], sizes: Iterable[Decimal]) -> str:
    """Return the generation if it can write these numbers, otherwise the newest, which can write all of
    them."""
    can = all(price * 100 % 1 == 0 for price in prices) and all(size % 1 == 0 for size in sizes)
    return generation if can else "fixed-point"


def _size(size: Decimal, generation: str) -> Any:
    return f"{size:.2f}" if generation == "fixed-point" else int(size)


def _same(
    answers: Any, side: str, bids: list[tuple[Decimal, Decimal]], asks: list[tuple[Decimal, Decimal]]
) -> None:
    """Compare every question about one side with the slow answer."""
    for depth in (1, 2, None):
        assert answers.bids(side, depth) == tuple(bids[:depth])
        assert answers.asks(side, depth) == tuple(asks[:depth])
        bid_size, ask_size = (sum(size for _, size in some[:depth]) for some in (bids, asks))
        assert _near(answers.imbalance(depth, side), (bid_size - ask_size, bid_size + ask_size))
    best = (bids[0], asks[0]) if bids and asks else None
    assert answers.best_bid(side) == (bids[0] if bids else None)
    assert answers.best_ask(side) == (asks[0] if asks else None)
    assert answers.spread(side) == (best and best[1][0] - best[0][0])
    assert answers.mid(side) == (best and (best[1][0] + best[0][0]) / 2)
    weighted = (
        (best[0][0] * best[1][1] + best[1][0] * best[0][1], best[0][1] + best[1][1]) if best else (0, 0)
    )
    assert _near(answers.microprice(side), weighted)
    for text in PRICES:
        assert answers.depth_at(side, text) == dict(bids).get(Decimal(text), 0)
    for some, cost in ((asks, answers.cost_to_buy), (bids, answers.cost_to_sell)):
        there = sum(size for _, size in some)
        for quantity in {Decimal("0.01"), Decimal("1.50"), there, there + Decimal("0.01")} - {Decimal(0)}:
            assert cost(side, quantity) == _cost(some, quantity)


def _cost(levels: list[tuple[Decimal, Decimal]], quantity: Decimal) -> Decimal | None:
    # one by one
    contracts = [price for price, size in levels for _ in range(int(size * 100))][: int(quantity * 100)]
    return sum(contracts) / 100 if len(contracts) == quantity * 100 else None  # type: ignore[return-value]


def _near(answer: Decimal | None, ratio: tuple[Any, Any]) -> bool:
    """Whether ``answer`` is the ratio, to 28 digits; None if there is no ratio."""
    if not ratio[1]:
        return answer is None
    return answer is not None and abs(Fraction(answer) - Fraction(ratio[0]) / Fraction(ratio[1])) < Fraction(
        1, 10**27
    )


TestBookAgainstModel = BookAgainstModel.TestCase
TestBookAgainstModel.settings = effort(60, stateful_step_count=25)
