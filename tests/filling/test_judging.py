"""What REST's list means, by examples."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed.engine.holes import Hole, Holes, Seen
from kalshi_feed.filling.judging import asked_for, ids_differ, is_unfiltered, late, matched
from kalshi_feed.messages import from_rest

BEGUN = 1_796_040_000.0  # everything below is in seconds after it


def row(id_: str, at: float, market: str = "A") -> Any:
    return from_rest.trade({"trade_id": id_, "ticker": market, "ts_ms": int((BEGUN + at) * 1000)})


def hole(since: float = 20.0, sure: float = 0.0, exact: bool = False, **known: tuple[float, str]) -> Hole:
    """A hole of 3 s, and what came over the feed: its time and market by its id."""
    seen = {id_: Seen(BEGUN + at, market, BEGUN + at + 0.1) for id_, (at, market) in known.items()}
    latest = {one.market_ticker: one.at for one in seen.values() if one.at < BEGUN + since}
    begins = BEGUN + since
    return Hole(1, "trade", ("A",), begins, begins + 3, BEGUN, exact, BEGUN + sure, 0, seen, latest)


def test_the_interval() -> None:
    assert asked_for(hole()) == (BEGUN + 15, BEGUN + 25)
    assert asked_for(hole(since=1)) == (BEGUN - 2, BEGUN + 6)  # not from before the subscription
    assert asked_for(hole(since=-60, exact=True)) == (BEGUN - 60, BEGUN - 55)  # fill_since


def test_ids_that_differ() -> None:
    def differ(hole: Hole, *rows: Any, agreed: bool = False, differed: bool = False) -> bool:
        return ids_differ(hole, rows, have_agreed=agreed, have_differed=differed)

    assert differ(hole(), row("x", 17))  # the feed was surely connected then
    assert not differ(hole(), row("x", 17), agreed=True)
    assert not differ(hole(a=(17, "A")), row("x", 17), row("a", 17))
    assert not differ(hole(), row("x", 19)) and not differ(hole(), row("x", 22))  # may have been missed
    assert differ(hole(a=(19.9, "A")), row("x", 19))  # no: the feed has brought a later one
    assert not differ(hole(sure=16), row("x", 17)) and not differ(hole(sure=25), row("x", 17))
    assert (
        not differ(hole()) and differ(hole(), differed=True) and differ(hole(), row("x", 22), differed=True)
    )


def test_a_list_that_is_late() -> None:
    found = hole(a=(17, "A"), b=(24, "A"), c=(24, "B"), d=(10, "A"))
    assert matched(found, [row("a", 17), row("a", 17), row("x", 21)]) == 1
    assert late(found, [row("a", 17)], BEGUN + 25) == 1  # b: c is in another market, and d was before
    assert late(found, [row("a", 17)], BEGUN + 24) == 0  # b came after the request
    assert late(found, [row("a", 17), row("b", 24)], BEGUN + 25) == 0


def test_fewest_requests() -> None:
    markets = [f"M{number}" for number in range(21)]
    assert is_unfiltered((), 10, None)
    assert is_unfiltered(markets, 10, None) and not is_unfiltered(markets[:20], 10, None)
    assert not is_unfiltered(markets, 100, 1000.0)  # a hundred pages
    assert is_unfiltered(markets[:2], 10, 1.0)  # one page


def test_a_gap_that_begins_earlier_for_some_markets() -> None:
    now = BEGUN + 10
    holes = Holes(lambda: now, lambda: now)
    old, recent, missed = row("old", 9), row("recent", 99), row("missed", 103)
    holes.heard("trade", old)
    now = BEGUN + 100
    holes.heard("trade", recent)
    holes.lost({"trade": ("A", "C")})
    holes.missed("trade", ("B",), BEGUN + 20)  # B has opened then, and is subscribed to only now
    now = BEGUN + 105
    (found,) = holes.all()
    assert found.market_tickers == ("A", "C", "B") and asked_for(found)[0] <= BEGUN + 20
    of_b, of_c = row("b", 25, "B"), row("c", 25, "C")  # that of C came over the feed, and was forgotten
    assert holes.missing(found.number, [of_b, of_c, recent, missed]) == [of_b, missed]


def test_a_gap_of_which_much_was_delivered_is_not_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would be asked for again, and more was delivered than is remembered."""
    monkeypatch.setattr("kalshi_feed.engine.holes._MOST_KNOWN", 2)
    holes = Holes(lambda: BEGUN, lambda: BEGUN)
    holes.lost({"trade": ("A",)})
    (first,) = holes.all()
    holes.delivered(first.number, 1)
    holes.lost({"trade": ("A",)})
    assert len(holes.all()) == 1
    holes.delivered(first.number, 1)
    holes.lost({"trade": ("A",)})
    assert len(holes.all()) == 2
