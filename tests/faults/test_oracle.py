"""The oracle bites. Otherwise a soak that finds nothing proves nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kalshi_feed import FeedState, Gap, KalshiFeed, Lagged, StateChange
from kalshi_feed.messages import OrderbookDelta, OrderbookSnapshot, decode
from kalshi_feed.simulator import Exchange
from tests.faults import oracle as oracles
from tests.faults.oracle import Ledger, Oracle, Views
from tests.feed.support import A, B, FeedMaker
from tests.support import wait_until


@dataclass(frozen=True)
class Shown:
    """The part of a view that the oracle looks at."""

    market_ticker: str
    clock: int
    yes: tuple[tuple[Decimal, Decimal], ...]
    no: tuple[tuple[Decimal, Decimal], ...]
    is_live: bool = True
    seq: int = 1

    def bids(self, side: str) -> Any:
        return self.yes if side == "yes" else self.no


def shown(exchange: Exchange, clock: int, ticker: str = A) -> Any:
    book = exchange.book(ticker)
    return Shown(ticker, clock, tuple(book["yes"].items()), tuple(book["no"].items()))


@pytest.fixture
def oracle(exchange: Exchange) -> Oracle:
    return Oracle(exchange)


def test_views_that_were_true_pass(exchange: Exchange, oracle: Oracle) -> None:
    views, old = Views(oracle), Views(oracle)
    first = shown(exchange, 0)
    for clock in range(1, 11):
        exchange.change(A, "yes", "0.41", clock % 2 * 2 - 1)
        views.check(shown(exchange, clock))
    old.check(first)
    old.check(shown(exchange, 10))
    assert (views.checked, views.wrong.texts, old.wrong.texts) == (10, [], [])
    assert oracle.newest(A) == 10 and oracle.newest(B) == 0 and oracle.changes == 12


def test_a_view_that_never_was_or_went_back_is_found(exchange: Exchange, oracle: Oracle) -> None:
    views = Views(oracle)
    first = shown(exchange, 0)
    exchange.change(A, "yes", "0.41", 1)
    second = shown(exchange, 1)
    views.check(replace(second, clock=0))  # as it was at another time
    views.check(replace(second, no=second.yes, yes=second.no))
    views.check(replace(second, yes=second.yes[1:]))
    assert [text.split(":")[0] for text in views.wrong.texts] == [f"{A} never looked like this"] * 3
    views.check(replace(second, yes=second.yes[1:], is_live=False))  # it admits that it may be wrong
    views.check(second)
    assert views.wrong.count == 3
    views.check(first)
    assert "went back" in views.wrong.texts[-1]


def test_the_history_is_bounded(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracles, "KEPT", 4)
    views = Views(Oracle(exchange))
    first = shown(exchange, 0)
    for clock in range(1, 7):
        exchange.change(A, "yes", "0.41", 1)
        views.check(shown(exchange, clock))
    assert not views.wrong.count
    Views.check(fresh := Views(views._oracle), first)  # forgotten, so no longer known to be true
    assert fresh.wrong.count == 1


class Told:
    """A ledger, and an exchange's messages to feed to it in any order and number."""

    def __init__(self, exchange: Exchange, oracle: Oracle, *, has_snapshots: bool = True) -> None:
        def register(callback: object, **which: object) -> None:
            pass

        feed: Any = SimpleNamespace(
            on_snapshot=register, on_delta=register, on_gap=register, on_lagged=register, on_state=register
        )
        self.ledger = Ledger(oracle, feed, has_snapshots=has_snapshots)
        self._exchange = exchange
        self._clock = 0

    def snapshot(self) -> OrderbookSnapshot:
        with self._exchange._core.lock:
            msg = self._exchange._listing.market(A).snapshot(False)
        return self._decoded("orderbook_snapshot", msg)

    def change(self, delta: int = 1) -> OrderbookDelta:
        self._exchange.change(A, "yes", "0.41", delta)
        with self._exchange._core.lock:
            msg = self._exchange._listing.market(A).delta("yes", 4100, delta * 100, 0)
        return self._decoded("orderbook_delta", msg)

    def _decoded(self, type_: str, msg: dict[str, Any]) -> Any:
        from kalshi_feed.simulator import wire

        return decode(wire.envelope(type_, wire.encode_json(msg), 0, sid=1, seq=1))

    def tell(self, *items: Any) -> None:
        ledger = self.ledger
        for item in items:
            {
                OrderbookSnapshot: ledger._snapshot,
                OrderbookDelta: ledger._delta,
                Gap: ledger._gap,
                Lagged: ledger._lagged,
                StateChange: ledger._state,
            }[type(item)](item)

    def found(self) -> tuple[int, int, dict[str, int]]:
        ledger = self.ledger
        return ledger.wrong.count, ledger.unannounced.count, dict(ledger.announced)


GAP = Gap("orderbook_delta", 1, 5, 6, (A,))
LAGGED = Lagged(1, (A,), datetime.now(timezone.utc))
LOST = StateChange(FeedState.CONNECTED, FeedState.RECONNECTING)
BACK = StateChange(FeedState.RECONNECTING, FeedState.CONNECTED)


@pytest.fixture
def told(exchange: Exchange, oracle: Oracle) -> Told:
    return Told(exchange, oracle)


def test_all_in_order_is_well(told: Told) -> None:
    told.tell(told.snapshot(), told.change(), told.change(), told.snapshot(), told.change(-1))
    assert told.found() == (0, 0, {})
    assert told.ledger.behind([A]) == []
    told.change()
    assert told.ledger.behind([A]) == [A]


def test_a_delta_left_out_in_silence_is_found(told: Told) -> None:
    first, _, third = told.snapshot(), told.change(), told.change()
    told.tell(first, third)
    assert told.found() == (0, 1, {})


def test_a_snapshot_that_jumps_in_silence_is_found(told: Told) -> None:
    told.tell(told.snapshot())
    told.change()
    told.tell(told.snapshot())
    assert told.found() == (0, 1, {})


@pytest.mark.parametrize(("event", "name"), [(GAP, "gap"), (LOST, "connection lost"), (LAGGED, "lagged")])
def test_an_announced_loss_is_excused_but_only_once(told: Told, event: Any, name: str) -> None:
    told.tell(told.snapshot())
    told.change()
    told.change()
    told.tell(event, told.snapshot())
    assert told.found() == (0, 0, {name: 2})
    told.change()
    told.tell(told.snapshot())
    assert told.found() == (0, 1, {name: 2})


def test_after_a_gap_comes_a_snapshot_first(told: Told) -> None:
    told.tell(told.snapshot(), GAP, told.change())
    assert told.found()[0] == 1
    told.tell(LAGGED, told.change())  # which may have been dropped
    assert told.found()[0] == 1


def test_twice_out_of_order_and_invented_are_found(told: Told) -> None:
    first, second, third = told.snapshot(), told.change(), told.change()
    told.tell(first, second, second)
    assert told.found() == (1, 0, {})
    told.tell(third, second, first)
    assert told.found() == (3, 0, {})
    other = told.change()
    told.tell(
        OrderbookDelta(
            **{**_fields(other), "msg": type(other.msg)(**{**_fields(other.msg), "delta_fp": "7.00"})}
        )
    )
    assert told.found() == (4, 0, {})


def test_a_delta_before_any_snapshot_is_found(told: Told) -> None:
    told.tell(told.change())
    assert told.found()[0] == 1


def test_what_the_user_leaves_is_not_a_loss(told: Told) -> None:
    told.tell(told.snapshot())
    told.ledger.left(A)
    told.change()
    told.tell(told.snapshot())
    assert told.found() == (0, 0, {"left by the user": 1})
    told.change()
    told.tell(told.snapshot())
    assert told.found()[1] == 1


def test_a_relays_consumer_begins_without_a_snapshot_and_says_what_it_has_missed(
    exchange: Exchange, oracle: Oracle
) -> None:
    told = Told(exchange, oracle, has_snapshots=False)
    told.tell(told.change(), told.change())
    assert told.found() == (0, 0, {})
    told.change()
    told.tell(LOST, BACK, told.change())  # out of reach, and nothing was missed, it says
    assert told.found() == (0, 1, {})
    told.change()
    missed = replace(BACK, gap_started=datetime.now(timezone.utc))
    told.tell(LOST, missed, told.change())
    assert told.found() == (0, 1, {"connection lost": 1})
    for back in (missed, BACK):  # the same, while messages come
        told.change()
        told.tell(LOST, told.change())
        assert told.found() == (0, 1, {"connection lost": 1 + (back is BACK)})
        told.tell(back, told.change())
    assert told.found() == (0, 2, {"connection lost": 2})


def test_another_process_knows_the_same_truth(tmp_path: Path) -> None:
    exchange = Exchange()  # not started, and not the fixture's: the file is open for as long as it exists
    for ticker in (A, B):
        exchange.add_market(ticker, yes={"0.40": 100})
    oracle = Oracle(exchange, tmp_path / "truth")
    began = time.monotonic()
    for _ in range(3):
        exchange.change(A, "yes", "0.41", 1)
    program = f"""
from pathlib import Path
from tests.faults.oracle import SharedTruth
truth = SharedTruth(Path({str(tmp_path / "truth")!r}), {exchange.market_tickers!r})
sides = {[tuple(side.items()) for side in _units_of(exchange.book(A))]!r}
print([truth.newest(ticker) for ticker in {[A, B]!r}])
print(truth.find_state({A!r}, 3, sides), truth.find_change({A!r}, 2, "yes", 4100, 100, -1))
print(truth.replaced_at({A!r}, 2), truth.replaced_at({A!r}, 3))
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    newest, found, replaced = said.stdout.splitlines()
    assert newest == str([oracle.newest(A), oracle.newest(B)])
    assert found == "3 2"
    at, now = replaced.split()
    assert began < float(at) < time.monotonic()
    assert now == "None"


def _units_of(book: Any) -> list[dict[int, int]]:
    return [
        {int(price * 10_000): int(size * 100) for price, size in book[side].items()} for side in ("yes", "no")
    ]


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


@pytest.fixture
def watched(exchange: Exchange, oracle: Oracle, make_feed: FeedMaker) -> Iterator[tuple[KalshiFeed, Ledger]]:
    feed = make_feed()
    ledger = Ledger(oracle, feed)
    feed.subscribe("orderbook_delta", [A, B])
    with feed:
        yield feed, ledger


def test_a_real_feed_passes_with_its_losses_announced(
    exchange: Exchange, oracle: Oracle, watched: tuple[KalshiFeed, Ledger]
) -> None:
    feed, ledger = watched
    views = Views(oracle)
    feed.wait_for_book(A, 5)
    for number in range(1, 61):
        if number % 20 == 0:
            exchange.lose()
        exchange.change(A, "yes", "0.41", 1)
        exchange.change(B, "no", "0.30", number)
        views.check(feed.book(A).view())
    exchange.change(B, "yes", "0.20", 5)  # not set_book(), whose snapshot no one asked for skips a change
    wait_until(lambda: not ledger.behind([A, B]))
    views.check(feed.book(A).view())
    views.check(feed.book(B).view())
    assert (ledger.wrong.texts, ledger.unannounced.texts, views.wrong.texts) == ([], [], [])
    assert ledger.announced["gap"] >= 1
    assert views.checked > 2
