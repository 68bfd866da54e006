"""Books that look wrong although no seq is missing: checked with patience, reported when it is certain."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import FeedFault, Gap
from kalshi_feed.messages import OrderbookSnapshot
from kalshi_feed.session.timing import Timing
from tests.session.driver import BOOK, Driver, Frame, delta, error, snapshot, ticker, trade
from tests.session.support import asked, lose, params

TICKER_SID = 2
DENIAL = {"yes_bid_dollars": "0.5000", "yes_ask_dollars": "0.9000"}
TRUTH = {"yes_bid_dollars": "0.4000", "yes_ask_dollars": "1.0000"}  # what go_live() makes, without an offer


def uncertain(*market_tickers: str, channel: str = "ticker") -> Driver:
    """The books are LIVE with one contract at 0.40; another channel (sid 2) is subscribed."""
    driver = Driver()
    driver.go_live(*market_tickers)
    driver.want(channel)
    driver.play()
    assert driver.session.sid_of(channel) == TICKER_SID
    driver.pass_time(1.0)  # a book that has just changed is not compared
    driver.take()
    return driver


def deny(
    driver: Driver, times: int = 3, over: float = 5.0, market_ticker: str = "A", **fields: Any
) -> list[Frame]:
    """Tickers at regular intervals; returns the commands they draw."""
    sent = driver.turn(ticker(market_ticker, TICKER_SID, **(fields or DENIAL)))
    for _ in range(times - 1):
        sent += driver.pass_time(over / (times - 1))
        sent += driver.turn(ticker(market_ticker, TICKER_SID, **(fields or DENIAL)))
    return sent


# -- a market that dies alone --------------------------------------------------------------------------------


def test_a_book_that_tickers_deny_is_asked_for_and_replaced() -> None:
    driver = uncertain("A", "B")
    driver.venue.change("A", 100, 5000)  # the exchange does not send it, and skips no seq
    driver.venue.subscriptions[BOOK].seq -= 1
    commands = deny(driver)
    assert asked(commands) == {"A"} and driver.live() == {
        "A",
        "B",
    }  # suspected, but LIVE until there is proof
    assert driver.take(FeedFault) == []
    driver.play(commands)
    assert driver.live() == {"A", "B"} and driver.books["A"].yes == {4000: 100, 5000: 100}
    fault, gap, base = [item for item in driver.take() if not getattr(item, "type", "") == "ticker"]
    assert isinstance(fault, FeedFault) and (fault.kind, fault.context) == (
        "doubted_book",
        {"market_ticker": "A"},
    )
    assert isinstance(gap, Gap) and (gap.market_tickers, gap.reason) == (("A",), "doubted book")
    assert isinstance(base, OrderbookSnapshot)
    assert asked(driver.pass_time(30)) == set()


def test_a_false_alarm_is_not_reported_and_not_repeated_within_a_minute() -> None:
    driver = uncertain("A")
    commands = deny(driver)
    version = driver.books["A"].version
    driver.play(commands)
    assert driver.books["A"].version == version + 1 and driver.live() == {"A"}
    assert driver.take(FeedFault) == [] and driver.session.output.counts.gaps == 0
    sent: list[Frame] = []
    for _ in range(100):  # ten minutes of a ticker that does not mean what we think
        commands = deny(driver, over=6.0)
        driver.play(commands)
        sent += commands
    assert len([command for command in sent if asked([command])]) in (9, 10, 11)


@pytest.mark.parametrize(
    "fields",
    [
        TRUTH,
        TRUTH | {"yes_ask_dollars": "0.0000"},  # no offers, written in another way
        {"yes_bid_dollars": "0.4000"},
        {"yes_ask_dollars": "1.0000"},
        {"yes_bid": 40, "yes_ask": 100},
        {"yes_bid_dollars": ""},
        {"price_dollars": "0.9000"},
    ],
)
def test_a_ticker_that_agrees_or_says_nothing(fields: dict[str, Any]) -> None:
    driver = uncertain("A")
    assert asked(deny(driver, times=10, over=100.0, **fields)) == set()


@pytest.mark.parametrize(
    "fields", [{"yes_bid": 50}, {"yes_ask_dollars": "0.9000"}, {"yes_bid_dollars": "0.0000"}]
)
def test_a_ticker_that_denies(fields: dict[str, Any]) -> None:
    assert asked(deny(uncertain("A"), **fields)) == {"A"}


def test_two_empty_sides() -> None:
    driver = uncertain("A")
    driver.change("A", -100)
    assert asked(deny(driver, times=10, yes_bid_dollars="0.0000", yes_ask_dollars="1.0000")) == set()


def test_few_or_hasty_tickers_prove_nothing() -> None:
    driver = uncertain("A")
    assert asked(deny(driver, times=50, over=4.9)) == set()
    driver = uncertain("A")
    assert asked(deny(driver, times=2, over=300.0)) == set()


def test_a_book_that_has_just_changed_is_not_compared() -> None:
    """Its deltas and the tickers race."""
    driver = uncertain("A")
    driver.change("A", 100)
    driver.turn(ticker("A", TICKER_SID, **DENIAL))
    driver.pass_time(0.9)
    driver.turn(ticker("A", TICKER_SID, **DENIAL))
    assert driver.session.cross_check.save().denied == {}
    driver.pass_time(0.2)
    driver.turn(ticker("A", TICKER_SID, **DENIAL))
    assert driver.session.cross_check.save().denied["A"].signs == 1


def test_a_ticker_that_agrees_ends_the_suspicion() -> None:
    driver = uncertain("A")
    assert deny(driver, times=2) == []
    driver.turn(ticker("A", TICKER_SID, **TRUTH))
    assert deny(driver, times=2) == []
    assert asked(deny(driver, times=2, over=1.0)) == {"A"}


def test_a_book_that_changes_is_not_dead() -> None:
    """The ticker of a busy market may lag all the time."""
    driver = uncertain("A")
    for _ in range(20):
        assert asked(deny(driver, times=3, over=4.0)) == set()
        driver.change("A", 100)


def test_trades_outside_of_an_unchanged_book() -> None:
    driver = uncertain("A", channel="trade")
    driver.change("A", 100, 3000, side="no")  # 0.40 bid, 0.70 asked

    def hear(price: int, times: int = 5, **more: Any) -> set[str]:
        seq = driver.session.reconciler.subscriptions["trade"].next_seq
        sent: list[Frame] = []
        for n in range(times):
            sent += driver.turn(
                trade("A", TICKER_SID, seq + n if seq else None, price, **more)
            ) + driver.pass_time(2)
        return asked(sent)

    assert hear(4000) == hear(5500) == hear(7000) == set()
    assert hear(9000, is_block_trade=True) == set()
    assert hear(9000, yes_price_dollars=None) == set()
    assert hear(7001, times=2) == set()
    assert hear(3999) == {"A"}


def test_books_that_are_not_live_or_not_ours_are_left_alone() -> None:
    driver = uncertain("A")
    lose(driver)
    assert driver.status("A") == "STALE"
    driver.turn(
        *[ticker(name, TICKER_SID, **DENIAL) for name in ("A", "B")],
        {"type": "ticker", "sid": TICKER_SID, "msg": {}},
    )
    assert driver.session.cross_check._denied == {}


def test_no_snapshot_of_a_suspected_book_makes_it_stale_and_the_repair_goes_on() -> None:
    driver = uncertain("A", "B")
    driver.venue.mute = {"A"}
    driver.play(deny(driver))
    driver.take()
    driver.play(driver.pass_time(9.9))
    assert driver.live() == {"A", "B"}
    commands = driver.pass_time(0.2)
    assert driver.live() == {"B"} and asked(commands) == {"A"}
    fault, gap = driver.take()
    assert (fault.kind, gap.market_tickers, gap.reason) == ("doubted_book", ("A",), "doubted book")
    driver.venue.mute = set()
    driver.play(commands)
    assert driver.live() == {"A", "B"}


def test_a_snapshot_that_may_lie_unread_is_not_overdue() -> None:
    driver = uncertain("A")
    commands = deny(driver)
    driver.session.fell_behind(driver.now + 5.0)
    assert driver.session.next_deadline() == driver.now + 15.0
    assert driver.pass_time(14.9) == [] and driver.live() == {"A"}
    driver.play(commands)
    assert driver.live() == {"A"} and driver.faults() == []


def test_a_refusal_counts_as_no_snapshot() -> None:
    driver = uncertain("A")
    (get,) = deny(driver)
    driver.turn(error(13, get["id"]))
    assert driver.live() == {"A"}
    driver.play_time(11)
    assert driver.live() == {"A"} and driver.faults() == ["exchange_error", "doubted_book"]  # and repaired


def test_a_gap_or_an_end_meanwhile_is_another_matter() -> None:
    driver = uncertain("A", "B")
    deny(driver)
    lose(driver, "B")
    driver.play(driver.pass_time(0.02))
    assert driver.live() == {"A", "B"} and driver.faults() == []
    want = next(iter(driver.wanted.wants))
    driver.pass_time(60)
    driver.venue.mute = {"A"}
    assert asked(deny(driver)) == {"A"}
    driver.delete(want, "A")
    driver.play()
    driver.play_time(30)
    assert driver.status("A") == "CLOSED" and driver.faults() == []


def test_a_suspected_book_that_became_stale_meanwhile_is_not_reported_as_suspected() -> None:
    driver = uncertain("A", "B")
    driver.venue.mute = {"A"}
    driver.play(deny(driver))
    lose(driver, "A")
    (gap,) = driver.take(Gap)
    assert gap.reason == "sequence gap" and driver.status("A") == "STALE"
    driver.play_time(11)  # neither the cross-check nor the repair got its snapshot
    assert driver.status("A") == "STALE"
    assert "doubted_book" not in driver.faults()


def test_many_suspected_books_are_asked_for_together_and_in_parts() -> None:
    many = [f"M{n}" for n in range(700)]
    driver = uncertain(*many)
    driver.turn(*[ticker(name, TICKER_SID, **DENIAL) for name in many])
    driver.pass_time(3)
    driver.turn(*[ticker(name, TICKER_SID, **DENIAL) for name in many])
    driver.pass_time(2)
    (first,) = driver.turn(*[ticker(name, TICKER_SID, **DENIAL) for name in many])
    assert len(params(first)["market_tickers"]) == 500
    assert driver.pass_time(0.9) == []
    (second,) = driver.pass_time(0.1)
    assert len(params(second)["market_tickers"]) == 200
    driver.play([first, second])
    driver.pass_time(50)
    assert driver.live() == set(many) and driver.faults() == []


def test_without_a_sid_to_ask_on_nothing_is_asked() -> None:
    """The 2025 guide's `subscribed` does not name one."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.want("ticker")
    driver.connect()
    driver.turn(
        {"type": "subscribed", "id": 1, "msg": {"channel": BOOK}},
        {"type": "subscribed", "id": 2, "channel": "ticker"},
    )
    driver.turn(snapshot("A", None, 1, {"yes": {4000: 100}}))
    assert driver.live() == {"A"}
    for _ in range(5):
        assert asked(driver.turn(ticker("A", None, **DENIAL)) + driver.pass_time(2)) == set()
    driver.pass_time(11)
    assert driver.live() == {"A"}


def test_a_new_connection_begins_without_suspicions() -> None:
    driver = uncertain("A")
    deny(driver, times=2)
    driver.disconnect()
    assert driver.session.cross_check.next_deadline() == float("inf")
    driver.play(driver.connect())
    assert driver.session.sid_of("ticker") == TICKER_SID
    assert asked(driver.turn(ticker("A", TICKER_SID, **DENIAL))) == set()


# -- crossed books -------------------------------------------------------------------------------------------


def cross(driver: Driver, market_ticker: str = "A", size: int = 100) -> list[Frame]:
    """A no bid that leaves the yes side 0.05 short of a dollar."""
    return driver.turn(*driver.venue.change(market_ticker, size, 6500, "no"))


def test_a_crossed_book_is_reported_and_asked_for_once() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    assert cross(driver) == [] and driver.books["A"].is_crossed
    assert asked(driver.pass_time(4)) == set()
    commands = driver.pass_time(3)
    assert asked(commands) == {"A"} and driver.live() == {"A", "B"}
    (fault,) = driver.take(FeedFault)
    assert (
        fault.kind == "crossed_book"
        and fault.context == {"market_ticker": "A"}
        and "A is crossed" in fault.message
    )
    driver.play(commands)
    driver.change("A", 100, 6500, "no")
    driver.play_time(300, step=30)
    assert driver.books["A"].is_crossed and driver.faults() == []  # it is the exchange's: reported once
    assert driver.session.next_deadline() == float("inf")


def test_half_updated_books_are_not_reported() -> None:
    driver = Driver()
    driver.go_live("A")
    for _ in range(5):
        cross(driver)
        driver.pass_time(3)
        cross(driver, size=-100)
        driver.pass_time(1.1)
    driver.pass_time(60)
    assert driver.faults() == [] and driver.session.next_deadline() == float("inf")


def test_crossed_again_is_reported_again_but_not_within_a_minute() -> None:
    driver = Driver()
    driver.go_live("A")
    for _ in range(3):
        cross(driver)
        driver.play_time(10)
        cross(driver, size=-100)
        driver.play_time(2)
    assert driver.faults() == ["crossed_book"]
    cross(driver)
    driver.play_time(60)
    assert driver.faults() == ["crossed_book"]


def test_a_crossed_book_that_is_the_feeds_own_mistake_is_put_right() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(delta("A", driver.sid, driver.seq, 100, 6500, "no"))
    driver.play_time(10)
    assert driver.books["A"].no == {} and driver.faults() == ["crossed_book", "doubted_book"]


def test_many_books_are_looked_at_a_few_at_a_time() -> None:
    many = [f"M{n}" for n in range(450)]
    driver = Driver(Timing(pace=0.0, contradiction=5.0))
    driver.go_live(*many)
    cross(driver, many[-1])
    looked: list[float] = []
    for _ in range(9):
        driver.pass_time(0.1)
        looked.append(len(driver.session.cross_check._to_look_at))
    assert looked == sorted(looked, reverse=True) and 0 in looked
    assert asked(driver.pass_time(10)) == {many[-1]}
