"""What a user may write for channels and markets, and what the error says otherwise."""

from __future__ import annotations

import re

import pytest

from kalshi_feed import ConfigurationError
from kalshi_feed.session.channels import (
    CHANNEL_OF_TYPE,
    CHANNELS,
    channel_names,
    check_options,
    is_message_type,
    names,
    rule_of,
)
from tests.published import facts


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_of_the_protocol_is_accepted(channel: str) -> None:
    assert channel_names(channel) == (channel,)
    assert rule_of(channel).name == channel


def test_several_channels_each_once_in_order() -> None:
    assert channel_names(["trade", "ticker", "trade"]) == ("trade", "ticker")
    assert channel_names(name for name in ("fill",)) == ("fill",)


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("ticker:KXA-1", "subscribe('ticker', ['KXA-1'])"),
        ("book:KXA-1", "subscribe('orderbook_delta', ['KXA-1'])"),
        ("orderbook_snapshot", "a message type, not a channel; write 'orderbook_delta'"),
        ("ticker_v2", "write 'ticker'"),
        ("multivariate", "multivariate_market_lifecycle"),
        ("orderbook", "write 'orderbook_delta'"),
        ("user_order", "its channel is 'user_orders'"),
        ("rfq_created", "its channel is 'communications'"),
        ("trades", "did you mean 'trade'? The channels are orderbook_delta, ticker,"),
        ("xyzzy", ": the channels are orderbook_delta, ticker,"),
    ],
)
def test_wrong_channel_is_refused_with_what_to_write(wrong: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        channel_names(["trade", wrong])
    assert advice in str(refused.value)
    assert repr(wrong) in str(refused.value)


def test_unknown_channel_passes_when_allowed() -> None:
    assert channel_names("new_channel", allow_unknown=True) == ("new_channel",)
    rule = rule_of("new_channel")
    assert (rule.types, rule.sequenced, rule.filter_required) == (("new_channel",), True, False)
    assert "market_tickers" in rule.selectors


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "not int"),
        (None, "not NoneType"),
        (b"KXA", "not bytes"),
        (bytearray(b"KXA"), "not bytearray"),
        ([b"KXA"], "must contain strings, not bytes"),
        (["A", 5], "must contain strings, not int"),
        ([], "empty"),
        ("", "''"),
        (["A", ""], "''"),
        ("A,B", "'A,B'"),
        ("A B", "'A B'"),
        ("A\n", "without spaces"),
        ("A\x00", "without spaces"),
    ],
)
def test_bad_lists_are_refused(value: object, text: str) -> None:
    with pytest.raises(ConfigurationError, match="market_tickers") as refused:
        names(value, "market_tickers")  # type: ignore[arg-type]
    assert text in str(refused.value)


def test_names() -> None:
    assert names("A", "x") == ("A",)
    assert names({"A": 1, "B": 2}, "x") == ("A", "B")
    assert names(["B", "A", "B"], "x") == ("B", "A")


def test_types_of_the_book_channel() -> None:
    assert CHANNEL_OF_TYPE["orderbook_snapshot"] == CHANNEL_OF_TYPE["orderbook_delta"] == "orderbook_delta"
    assert [name for name, rule in CHANNELS.items() if not rule.sequenced] == [
        "ticker", "fill", "user_orders", "market_positions",
    ]  # fmt: skip


def test_the_list_of_channels_is_the_published_one() -> None:
    assert set(CHANNELS) == set(facts()["channels"]) - {"root", "control_frames"}


@pytest.mark.parametrize("name", ["ticker", "orderbook_delta", "rfq_created", "subscribed"])
def test_a_known_message_type_is_one(name: str) -> None:
    assert is_message_type(name)


@pytest.mark.parametrize("name", ["hello_v9", "xyzzy", ""])
def test_a_name_that_resembles_nothing_may_be_a_type_to_come(name: str) -> None:
    assert not is_message_type(name)


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("user_orders", "it is a channel; write the type of its messages, 'user_order'"),
        (
            "communications",
            "it is a channel; write the type of its messages, 'rfq_created' or 'rfq_deleted' or",
        ),
        ("User-Orders ", "it is a channel; write the type of its messages, 'user_order'"),
        ("tickers", "did you mean 'ticker'?"),
        ("Trade", "did you mean 'trade'?"),
        ("orderbook-delta", "did you mean 'orderbook_delta'?"),
    ],
)
def test_a_name_that_is_meant_to_be_another_one_is_refused(wrong: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        is_message_type(wrong)
    assert advice in str(refused.value) and repr(wrong) in str(refused.value)
    assert "allow_unknown=True" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"send_initial_snapshot": 1}, "send_initial_snapshot must be True or False, not 1"),
        ({"skip_ticker_ack": "yes"}, "skip_ticker_ack must be True or False, not 'yes'"),
        ({"user_filter": "all"}, "user_filter must be 'self' or '', not 'all'"),
        ({"shard_factor": 101}, "shard_factor must be a whole number from 1 to 100, not 101"),
        ({"shard_factor": True}, "shard_factor must be a whole number"),
        ({"shard_key": 0}, "shard_key needs shard_factor"),
        ({"shard_factor": 4, "shard_key": 4}, "shard_key must be a whole number from 0 to 3, not 4"),
    ],
)
def test_options_that_the_exchange_refuses(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        check_options(options)


def test_options_that_the_exchange_accepts() -> None:
    check_options({})
    check_options({"send_initial_snapshot": True, "user_filter": "self", "shard_factor": 4, "shard_key": 3})
