"""Commands as the exchange expects them (PROTOCOL.md 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalshi_feed.session.commands import Command, encode


def sent(
    cmd: str, *keys: str, selector: str | None = "market_tickers", sid: int | None = 7, **options: Any
) -> Any:
    return json.loads(encode(Command(3, cmd, "ticker", keys, 0.0, sid), selector, options))


def test_subscribe() -> None:
    assert sent("subscribe", "A", "B", skip_ticker_ack=True) == {
        "id": 3, "cmd": "subscribe",
        "params": {"channels": ["ticker"], "skip_ticker_ack": True, "market_tickers": ["A", "B"]},
    }  # fmt: skip
    assert sent("subscribe", "u", selector="market_ids")["params"] == {
        "channels": ["ticker"],
        "market_ids": ["u"],
    }
    assert sent("subscribe", "*all*", selector=None)["params"] == {"channels": ["ticker"]}


def test_unsubscribe_and_list() -> None:
    assert sent("unsubscribe") == {"id": 3, "cmd": "unsubscribe", "params": {"sids": [7]}}
    assert sent("list_subscriptions", sid=None) == {"id": 3, "cmd": "list_subscriptions"}


@pytest.mark.parametrize("action", ["add_markets", "delete_markets", "get_snapshot"])
def test_update(action: str) -> None:
    assert sent(action, "A") == {
        "id": 3, "cmd": "update_subscription", "params": {"sids": [7], "market_tickers": ["A"], "action": action},  # noqa: E501
    }  # fmt: skip


def test_only_what_is_added_gets_an_initial_snapshot() -> None:
    options: dict[str, Any] = {"send_initial_snapshot": True, "skip_ticker_ack": True}
    assert sent("add_markets", "A", **options)["params"]["send_initial_snapshot"] is True
    assert "skip_ticker_ack" not in sent("add_markets", "A", **options)["params"]
    assert "send_initial_snapshot" not in sent("delete_markets", "A", **options)["params"]


@pytest.mark.parametrize(
    ("selector", "word"), [("index_ids", "indices"), ("underlying_tickers", "underlyings")]
)
def test_filters_other_than_markets_have_their_own_actions(selector: str, word: str) -> None:
    assert sent("add_markets", "X", selector=selector)["params"] == {
        "sids": [7], selector: ["X"], "action": f"subscribe_{word}",
    }  # fmt: skip
    assert sent("delete_markets", "X", selector=selector)["params"]["action"] == f"unsubscribe_{word}"
