"""The state machine behind follow(): lists from REST, lifecycle messages and the clock, in any order."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kalshi_feed import MarketLifecycle
from kalshi_feed.following import roster as module
from kalshi_feed.following.roster import STEPS, Roster
from kalshi_feed.messages.decoder import Decoder
from kalshi_feed.messages.listed import Market, market_in

T = 1_800_000_000  # when the first market opens; a market lasts 900 s


def rest(ticker: str = "KXB-1", status: str = "active", **fields: Any) -> Market:
    wire = {
        "ticker": ticker,
        "event_ticker": ticker,
        "title": "B?",
        "status": status,
        "open_time": T,
        "close_time": T + 900,
    }
    return market_in(wire | fields)


def message(event_type: str, ticker: str = "KXB-1", **fields: Any) -> MarketLifecycle:
    body = {"market_ticker": ticker, "event_type": event_type} | fields
    frame = {"type": "market_lifecycle_v2", "sid": 1, "seq": 1, "msg": body}
    [found] = Decoder().decode_batch([msgspec.json.encode(frame)])
    assert isinstance(found, MarketLifecycle)
    return found


def created(ticker: str = "KXB-1", open_ts: int = T, **fields: Any) -> MarketLifecycle:
    about = {"event_ticker": ticker, "title": "B?", "yes_sub_title": "up"}
    times = {"open_ts": open_ts, "close_ts": open_ts + 900}
    return message("created", ticker, **times, additional_metadata=about, **fields)


def make(**options: Any) -> Roster:
    return Roster(**({"series": "KXB", "event": None, "lead": 5.0, "linger": 60.0} | options))


def news(roster: Roster) -> list[tuple[Market, Any]]:
    return [(one.market, one.change) for one in roster.take_news()]


def changes(roster: Roster) -> list[Any]:
    return [change for _, change in news(roster) if change is not None]


def test_a_life_by_messages_and_the_clock() -> None:
    roster = make()
    assert roster.heard(created(), T - 100)
    assert changes(roster) == ["announced"] and roster.wanted(T - 100) == []
    assert roster.next_at() == T - 5
    roster.advance(T - 5)
    assert roster.wanted(T - 5) == ["KXB-1"] and changes(roster) == []
    assert roster.next_at() == T
    roster.advance(T)
    assert changes(roster) == ["opened"]
    roster.advance(T + 900)
    [(market, change)] = news(roster)
    assert (change, market.status, market.title, market.series_ticker) == ("closed", "closed", "B?", "KXB")
    assert roster.wanted(T + 959) == ["KXB-1"] and roster.wanted(T + 960) == []
    assert roster.next_at() == T + 960
    roster.heard(message("determined", result="yes", settlement_value="1.0000"), T + 4000)
    roster.heard(message("settled", settled_ts=T + 4100), T + 4100)
    (determined, first), (settled, second) = news(roster)
    assert (first, determined.result, determined.status) == ("determined", "yes", "determined")
    assert (second, settled.result, settled.status) == ("settled", "yes", "finalized")
    assert settled.settlement_at == datetime.fromtimestamp(T + 4100, timezone.utc)
    roster.advance(T + 4159)
    assert len(roster) == 1
    roster.advance(T + 4160)
    assert len(roster) == 0


def test_what_is_open_when_it_begins() -> None:
    roster = make()
    old = [rest("KXB-0", "finalized", close_time=T - 100), rest("KXB-00", "active", close_time=T - 1)]
    roster.listed([*old, rest(), rest("KXB-2", "initialized", open_time=T + 900)], T + 10, T + 11)
    assert [(m.ticker, c) for m, c in news(roster)] == [
        ("KXB-1", "announced"),
        ("KXB-1", "opened"),
        ("KXB-2", "announced"),
    ]
    assert roster.wanted(T + 11) == ["KXB-1"]


def test_every_step_once_however_it_becomes_known() -> None:
    """An hour without any source; then REST says how it ended."""
    roster = make()
    roster.listed([rest(status="initialized")], T - 50, T - 50)
    roster.listed([rest(status="finalized", result="no")], T + 3600, T + 3601)
    assert changes(roster) == list(STEPS)
    assert roster.wanted(T + 3601) == []
    for _ in range(3):
        roster.listed([rest(status="finalized", result="no")], T + 3610, T + 3611)
        roster.heard(message("settled"), T + 3620)
        roster.advance(T + 3630)
    assert changes(roster) == []


def test_lost_messages_come_from_rest() -> None:
    roster = make()
    roster.heard(created(), T - 100)
    roster.advance(T + 1000)
    news(roster)
    assert roster.unlisted(["KXB-9"]) == ["KXB-1"] and roster.unlisted(["KXB-1"]) == []
    roster.listed([rest(status="determined", result="yes")], T + 1200, T + 1200)
    [(market, change)] = [(m, c) for m, c in news(roster) if c]
    assert (change, market.result) == ("determined", "yes")
    roster.heard(message("settled"), T + 1300)
    assert changes(roster) == ["settled"] and roster.unlisted([]) == []


def test_a_settled_market_without_its_result_is_asked_for() -> None:
    roster = make()
    roster.heard(created(), T - 100)
    roster.heard(message("settled"), T + 1300)
    assert changes(roster) == list(STEPS) and roster.unlisted([]) == ["KXB-1"]


def test_closed_early_and_opened_again() -> None:
    roster = make()
    roster.listed([rest()], T, T)
    roster.heard(message("close_date_updated", close_ts=T + 100), T + 101)
    assert changes(roster) == ["announced", "opened", "rescheduled", "closed"]
    assert roster.wanted(T + 159) == ["KXB-1"] and roster.wanted(T + 160) == []
    roster.heard(message("close_date_updated", close_ts=T + 800), T + 200)
    roster.heard(message("activated", is_deactivated=False), T + 201)
    assert changes(roster) == ["rescheduled", "opened"]
    assert roster.wanted(T + 201) == ["KXB-1"]
    roster.heard(message("determined", result="yes"), T + 300)
    assert changes(roster) == ["closed", "determined"] and roster.wanted(T + 301) == ["KXB-1"]
    assert roster.wanted(T + 361) == []


def test_paused_and_resumed_by_either_source_once() -> None:
    roster = make()
    roster.listed([rest(status="Inactive")], T, T)
    assert changes(roster) == ["announced", "opened", "paused"]
    roster.heard(message("activated", is_deactivated=False), T + 20)
    roster.listed([rest(status="active")], T + 60, T + 60)
    roster.heard(message("deactivated", is_deactivated=True), T + 90)
    roster.listed([rest(status="inactive")], T + 150, T + 150)
    assert changes(roster) == ["resumed", "paused"]
    assert roster.wanted(T + 150) == ["KXB-1"]


def test_an_old_list_does_not_contradict_a_message() -> None:
    roster = make()
    roster.listed([rest()], T, T)
    roster.heard(message("close_date_updated", close_ts=T + 1800), T + 100)
    roster.heard(message("deactivated", is_deactivated=True), T + 100)
    assert changes(roster) == ["announced", "opened", "rescheduled", "paused"]
    roster.listed([rest(title="new title")], T + 98, T + 101)  # asked before
    [(market, change)] = news(roster)
    assert (change, market.title, market.status) == (None, "new title", "inactive")
    assert market.close_at == datetime.fromtimestamp(T + 1800, timezone.utc)


def test_an_old_list_brings_nothing_back() -> None:
    roster = make(linger=0.0)
    roster.listed([rest()], T, T)
    roster.advance(T + 900)
    roster.heard(message("determined", result="yes"), T + 901)
    roster.heard(message("settled"), T + 902)
    roster.advance(T + 903)
    news(roster)
    roster.listed([rest()], T + 899, T + 903)
    assert changes(roster) == [] and roster.wanted(T + 903) == []


def test_both_sources_describe_a_market_alike() -> None:
    """What one has said, the other does not change; quotes are not news."""
    roster = make()
    about = {"event_ticker": "KXB-1", "title": "B?", "floor_strike": 100.5, "custom_strike": {"who": "B"}}
    times = {"open_ts": T, "close_ts": T + 900}
    roster.heard(message("created", **times, yes_sub_title="up", additional_metadata=about), T - 100)
    [(market, _)] = news(roster)
    assert (market.floor_strike, market.custom_strike) == (Decimal("100.5"), {"who": "B"})
    assert market.yes_sub_title == "up"
    iso = {"open_time": "2027-01-15T08:00:00Z", "close_time": "2027-01-15T08:15:00Z"}
    wire = rest(status="initialized", **iso, custom_strike={"who": "B"}, volume_fp="3.00", unheard_of=1)
    wire = replace(wire, floor_strike=Decimal("100.5"))
    roster.listed([wire], T - 50, T - 50)
    assert news(roster) == []
    roster.listed([replace(wire, rules_primary="New.")], T - 40, T - 40)
    [(market, change)] = news(roster)
    assert (change, market.rules_primary, market.volume) == (None, "New.", Decimal(3))


def test_limit_lets_the_next_one_begin() -> None:
    roster = make(limit=1)
    for number in range(3):
        roster.heard(created(f"KXB-{number}", T + 900 * number), T - 100)
    assert roster.wanted(T) == ["KXB-0"]
    assert roster.wanted(T + 894) == ["KXB-0"]
    roster.advance(T + 800)
    assert roster.next_at() == T + 895
    assert roster.wanted(T + 895) == ["KXB-0", "KXB-1"]
    roster.advance(T + 900)
    assert roster.wanted(T + 900) == ["KXB-0", "KXB-1"]
    assert roster.wanted(T + 960) == ["KXB-1"]


def test_where_may_change_its_mind() -> None:
    roster = make(where=lambda market: (market.volume or 0) > 10)
    roster.listed([rest(volume_fp="5.00")], T, T)
    assert news(roster) == [] and roster.wanted(T) == []
    roster.listed([rest(volume_fp="15.00")], T + 300, T + 300)
    assert changes(roster) == ["announced", "opened"] and roster.wanted(T + 300) == ["KXB-1"]
    roster.listed([rest(volume_fp="10.00")], T + 600, T + 600)
    assert news(roster) == [] and roster.wanted(T + 600) == []


@pytest.mark.parametrize(
    ("options", "is_ours"),
    [
        ({"series": "KXB", "event": None}, True),
        ({"series": "KX", "event": None}, False),
        ({"series": None, "event": "KXB-1"}, True),
        ({"series": None, "event": "KXB"}, False),
    ],
)
def test_only_its_own_markets(options: dict[str, Any], is_ours: bool) -> None:
    roster = make(**options)
    assert roster.heard(created(), T) is is_ours
    assert not roster.heard(message("determined", "KXB-2"), T)
    assert len(roster) == is_ours


def test_a_list_shows_which_events_belong_to_the_series() -> None:
    """Their later markets are known from their messages, and the series is what was asked for."""
    roster = make()
    roster.listed([rest("ODD-1-A", event_ticker="ODD-1")], T, T)
    about = {"event_ticker": "ODD-1"}
    assert roster.heard(message("created", "ODD-1-B", open_ts=T, additional_metadata=about), T + 1)
    assert {market.series_ticker for market, _ in news(roster)} == {"KXB"}
    assert not roster.heard(message("created", "ODD-2-A", additional_metadata={"event_ticker": "ODD-2"}), T)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed markets that are never settled are not waited for without end."""
    monkeypatch.setattr(module, "KEPT_CLOSED", 50)
    monkeypatch.setattr(module, "MOST_ASKED", 20)
    roster = make()
    for number in range(300):
        opens = T + 900 * number
        roster.heard(created(f"KXB-{number}", opens), opens - 50)
        roster.advance(opens)
        assert len(roster) <= 52
    assert roster.unlisted([]) == [f"KXB-{number}" for number in range(299, 279, -1)]
    assert changes(roster).count("closed") == 299
