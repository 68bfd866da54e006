"""What is wanted: counted per channel and market; contradictions are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, SubscriptionError
from kalshi_feed.session.wanted import Change, ListBox, Want, Wanted

BOOK = "orderbook_delta"


def want(channels: str, *keys: str, selector: str | None = "market_tickers", **options: Any) -> Want:
    return Want(tuple(channels.split()), selector if keys else None, keys, options)


def keys(wanted: Wanted, channel: str = BOOK) -> set[str]:
    return set(wanted.channels[channel].keys)


def test_markets_are_counted() -> None:
    wanted = Wanted()
    one, two = want(BOOK, "A", "B"), want(BOOK, "B", "C")
    assert wanted.add(one) == ["A", "B"]
    assert wanted.add(two) == ["C"]
    assert keys(wanted) == {"A", "B", "C"} and wanted.changed == {BOOK}
    assert wanted.remove(one) == ["A"]
    assert wanted.remove(one) == []
    assert keys(wanted) == {"B", "C"} and wanted.wants_book("B") and not wanted.wants_book("A")
    assert wanted.remove(two) == ["B", "C"]
    assert not wanted.channels and not wanted.wants and not wanted.wants_book("B")


def test_add_and_delete_markets() -> None:
    wanted = Wanted()
    one = want(f"{BOOK} trade market_lifecycle_v2", "A")
    other = want(BOOK, "A")
    wanted.add(one)
    wanted.add(other)
    assert wanted.add_keys(one, ["A", "B"]) == ["B"]
    assert wanted.add_keys(one, ["B"]) == []
    assert keys(wanted, "trade") == {"A", "B"} and keys(wanted, "market_lifecycle_v2") == {"*all*"}
    assert wanted.delete_keys(one, ["A", "B", "Z"]) == ["B"]
    assert keys(wanted) == {"A"} and keys(wanted, "trade") == set()
    assert list(one.keys) == []
    assert wanted.remove(one) == []
    assert wanted.remove(other) == ["A"]


def test_books_that_are_new_are_named_for_the_session() -> None:
    wanted = Wanted()
    wanted.add(want(f"{BOOK} trade", "A"))
    wanted.add(want(BOOK, "A", "B"))
    assert list(wanted.new_books) == ["A", "B"]


def test_all_wins_over_some() -> None:
    wanted = Wanted()
    some, all_ = want("trade", "A"), want("trade")
    wanted.add(some)
    wanted.add(all_)
    assert keys(wanted, "trade") == {"*all*"}
    wanted.remove(all_)
    assert keys(wanted, "trade") == {"A"}


def test_what_needs_markets() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Params required.*subscribe\('orderbook_delta', \['MARKET-TICKER'"
    ):
        Wanted().add(want(f"trade {BOOK}"))


@pytest.mark.parametrize(
    ("channel", "selector", "text"),
    [
        ("trade", "market_ids", "takes market_tickers=[…], so market_ids cannot be used"),
        (BOOK, "market_ids", "takes market_tickers=[…], so market_ids cannot be used"),
        ("ticker", "index_ids", "takes market_tickers=[…] or market_ids=[…], so index_ids cannot be used"),
        ("communications", "market_ids", "takes no filter, so market_ids cannot be used"),
        (
            "cfbenchmarks_value",
            "underlying_tickers",
            "takes index_ids=[…], so underlying_tickers cannot be used",
        ),
    ],
)
def test_filters_of_the_wrong_kind(channel: str, selector: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Wanted().add(want(channel, "x", selector=selector))
    assert text in str(refused.value)


def test_one_kind_of_filter_per_channel() -> None:
    wanted = Wanted()
    tickers = want("ticker", "A")
    wanted.add(tickers)
    with pytest.raises(ConfigurationError, match="already subscribed by market_tickers"):
        wanted.add(want("ticker", "uuid", selector="market_ids"))
    assert keys(wanted, "ticker") == {"A"}
    wanted.add(want("ticker"))
    wanted.remove(tickers)
    wanted.add(want("ticker", "uuid", selector="market_ids"))  # no subscription filters by tickers anymore
    assert wanted.channels["ticker"].selector == "market_ids"


def test_nothing_changes_if_one_of_several_channels_is_refused() -> None:
    wanted = Wanted()
    wanted.add(want("ticker", "A"))
    wanted.changed.clear()
    with pytest.raises(ConfigurationError):
        wanted.add(want("trade ticker", "uuid", selector="market_ids"))
    assert set(wanted.channels) == {"ticker"} and not wanted.changed and len(wanted.wants) == 1


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"user_filter": "self"}, {"user_filter": ""}, "with user_filter='self'"),
        ({"user_filter": "self"}, {}, "with user_filter='self'"),
        ({}, {"user_filter": "self"}, "without user_filter"),
        ({"shard_factor": 2, "shard_key": 0}, {"shard_factor": 2, "shard_key": 1}, "with shard_key=0"),
        ({"skip_ticker_ack": True}, {"skip_ticker_ack": False}, "with skip_ticker_ack=True"),
    ],
)
def test_channel_wide_parameters_that_contradict(
    first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    wanted = Wanted()
    one = want("communications", **first)
    wanted.add(one)
    with pytest.raises(ConfigurationError) as refused:
        wanted.add(want("communications", **second))
    assert f"communications is already subscribed {text}" in str(refused.value)
    wanted.remove(one)
    wanted.add(want("communications", **second))


def test_parameters_that_leave_nothing_out_may_be_given_once() -> None:
    wanted = Wanted()
    one = want("ticker trade", "A", send_initial_snapshot=True, skip_ticker_ack=True)
    wanted.add(want("ticker trade", "B"))
    wanted.add(one)
    assert wanted.channels["ticker"].options == {"send_initial_snapshot": True, "skip_ticker_ack": True}
    assert wanted.channels["trade"].options == {"skip_ticker_ack": True}
    wanted.remove(one)
    assert wanted.channels["ticker"].options == {}
    wanted.add(want("ticker", "A", send_initial_snapshot=False))


def test_an_unknown_channel_gets_what_was_given() -> None:
    wanted = Wanted()
    wanted.add(want("new_channel", "A", user_filter="self"))
    assert wanted.channels["new_channel"].options == {"user_filter": "self"}
    assert keys(wanted, "new_channel") == {"A"}


def test_refused_markets_leave_the_others() -> None:
    wanted = Wanted()
    one, two, trades = want(BOOK, "A", "B"), want(BOOK, "B"), want("trade", "B")
    for each in (one, two, trades):
        wanted.add(each)
    error = SubscriptionError(26, "limit")
    assert wanted.refuse(BOOK, ("B",), error) == ["B"]
    assert keys(wanted) == {"A"} and keys(wanted, "trade") == {"B"}
    assert one.error is two.error is error and trades.error is None
    assert one.live_channels() == (BOOK,) and two.live_channels() == () and two.failed == {BOOK}
    assert list(one.keys_of(BOOK)) == ["A"]
    assert wanted.refuse(BOOK, ("A",), error) == ["A"]
    assert one.failed == {BOOK}
    assert wanted.refuse(BOOK, ("A",), error) == []  # it is no longer wanted
    assert wanted.remove(one) == wanted.remove(two) == []


@pytest.mark.parametrize("delete_first", [True, False])
def test_refused_markets_can_be_wanted_again(delete_first: bool) -> None:
    wanted = Wanted()
    one = want(BOOK, "A", "B")
    wanted.add(one)
    wanted.refuse(BOOK, ("B",), SubscriptionError(26, "limit"))
    if delete_first:
        assert wanted.delete_keys(one, ["B"]) == []
    assert wanted.add_keys(one, ["B"]) == ["B"]
    assert one.error is None
    assert keys(wanted) == {"A", "B"}
    assert wanted.remove(one) == ["A", "B"]
    assert not wanted.channels


def test_an_error_stays_while_something_else_is_refused() -> None:
    wanted = Wanted()
    one = want(f"{BOOK} trade", "A", "B")
    wanted.add(one)
    error = SubscriptionError(26, "limit")
    wanted.refuse(BOOK, ("A", "B"), error)
    wanted.refuse("trade", ("A",), error)
    assert one.failed == {BOOK} and BOOK not in wanted.channels
    assert wanted.add_keys(one, ["A"]) == ["A"]  # the failed channel goes on with it
    assert one.error is error and keys(wanted, "trade") == {"A", "B"} and keys(wanted) == {"A"}
    assert not one.failed and one.live_channels() == (BOOK, "trade")


def test_a_failed_channel_does_not_go_on_against_another_subscription() -> None:
    wanted = Wanted()
    one = want("ticker", "A")
    wanted.add(one)
    wanted.refuse("ticker", ("A",), SubscriptionError(26, "limit"))
    wanted.add(Want(("ticker",), "market_ids", ("1",), {}))
    assert wanted.add_keys(one, ["B"]) == [] and one.failed == {"ticker"} and keys(wanted, "ticker") == {"1"}


def test_a_refusal_of_all_markets() -> None:
    wanted = Wanted()
    one, two = want("trade"), want("trade", "A")
    wanted.add(one)
    wanted.add(two)
    wanted.refuse("trade", ("*all*",), SubscriptionError(9, "Authentication required"))
    assert one.failed == {"trade"} and two.error is None
    assert keys(wanted, "trade") == {"A"}


class Interrupted(BaseException):
    """What a Ctrl-C or a signal handler that raises does in the middle of a change."""


def interrupting(at: str, seen: list[str]) -> Callable[[str], None]:
    """Notes each market, and raises at the first sight of ``at``."""

    def note(market_ticker: str) -> None:
        seen.append(market_ticker)
        if market_ticker == at and seen.count(at) == 1:
            raise Interrupted

    return note


def test_an_interrupted_add_is_completed_by_the_next_one() -> None:
    wanted, seen = Wanted(), list[str]()
    one = want(f"trade {BOOK}", "A", "B", "C")
    opened = interrupting("B", seen)
    with pytest.raises(Interrupted):
        wanted.add(one, opened)
    assert keys(wanted) == {"A"} and not wanted.wants_book("B")
    # B's book was not opened, so it comes again
    assert wanted.add(one, opened) == ["B", "C"]
    assert keys(wanted) == keys(wanted, "trade") == {"A", "B", "C"} and seen == ["A", "B", "B", "C"]
    assert wanted.add_keys(one, ["C", "D"], opened) == ["D"] and seen[-1] == "D"


def test_an_interrupted_delete_is_completed_by_the_next_one() -> None:
    wanted, seen = Wanted(), list[str]()
    one = want(BOOK, "A", "B", "C")
    wanted.add(one)
    closed = interrupting("B", seen)
    with pytest.raises(Interrupted):
        wanted.delete_keys(one, ["A", "B"], closed)
    assert keys(wanted) == {"B", "C"}
    assert wanted.delete_keys(one, ["A", "B"], closed) == ["B"]
    assert keys(wanted) == {"C"} and list(one.keys) == ["C"] and seen == ["A", "B", "B"]


def test_an_interrupted_remove_is_completed_by_the_next_one() -> None:
    wanted, seen = Wanted(), list[str]()
    one, other = want(f"trade {BOOK}", "A", "B"), want(BOOK, "B", "C")
    wanted.add(one)
    wanted.add(other)
    wanted.changed.clear()
    closed = interrupting("A", seen)
    with pytest.raises(Interrupted):
        wanted.remove(one, closed)
    assert "trade" not in wanted.channels and one in wanted.wants, "half way"
    assert wanted.remove(one, closed) == ["A"]
    assert one.closed and list(wanted.wants) == [other] and seen == ["A", "A"]
    assert keys(wanted) == {"B", "C"} and wanted.changed == {"trade", BOOK}


def test_each_request_has_a_serial_of_its_own() -> None:
    """A recording drops a request that was applied twice, by its serial."""
    one = want(BOOK, "A")
    first, second = Change("add_markets", one, iter(["B", "C"])), Change("add_markets", one, ["B", "C"])
    assert first.words == second.words == ("B", "C") and first.want is second.want is one
    assert first.serial < second.serial
    box: ListBox = []
    asked = Change("list_subscriptions", box=box)
    assert asked.box is box and asked.want is None and asked.words == () and asked.serial > second.serial
