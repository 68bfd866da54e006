"""Every client frame in the published examples is one that our commands produce.

A command with several channels or sids becomes several commands here; `market_ticker` and `sid` become lists
of one.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalshi_feed.session.channels import rule_of
from kalshi_feed.session.commands import Command, encode
from tests.published import example_frames

from .driver import Driver

SELECTORS = ("market_tickers", "market_ids", "index_ids", "underlying_tickers")
CHANGES = {"subscribe_indices": "add_markets", "unsubscribe_indices": "delete_markets"}
CHANGES |= {"subscribe_underlyings": "add_markets", "unsubscribe_underlyings": "delete_markets"}


def client_frames() -> list[dict[str, Any]]:
    rows = [row for row in example_frames() if row["direction"] == "client"]
    frames = [row["frame"] for row in rows if isinstance(row["frame"], dict)]
    return [frame for frame in frames if "cmd" in frame]  # the two wrong ones in the 2025 guide have none


def normal(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The frame as our commands write it: lists for single values, one channel or sid each, no id."""
    params = dict(frame.get("params", {}))
    for one, many in (("market_ticker", "market_tickers"), ("market_id", "market_ids"), ("sid", "sids")):
        if one in params:
            params[many] = [params.pop(one)]
    if frame["cmd"] == "unsubscribe":
        return [{"cmd": "unsubscribe", "params": {"sids": [sid]}} for sid in params["sids"]]
    if frame["cmd"] != "subscribe":
        return [{"cmd": frame["cmd"], "params": params} if params else {"cmd": frame["cmd"]}]
    found = []
    for channel in params["channels"]:
        # the exchange ignores it there
        dropped = [name for name in SELECTORS if name not in rule_of(channel).selectors]
        mine = {key: value for key, value in params.items() if key not in dropped}
        found.append({"cmd": "subscribe", "params": {**mine, "channels": [channel]}})
    return found


def ours(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """What the session sends for the same request."""
    (first, *_), params = normal(frame), dict(frame.get("params", {}))
    selector = next((name for name in SELECTORS if name in first.get("params", {})), None)
    keys = tuple(first["params"][selector]) if selector else ()
    if frame["cmd"] == "subscribe":
        plain = {
            name: value for name, value in first["params"].items() if name not in (*SELECTORS, "channels")
        }
        driver = Driver()
        driver.want(tuple(params["channels"]), *keys, selector=selector, **plain)
        commands = driver.connect()
    elif frame["cmd"] == "update_subscription":
        action = first["params"]["action"]
        command = Command(1, CHANGES.get(action, action), "x", keys, 0.0, first["params"]["sids"][0])
        commands = [json.loads(encode(command, selector, {}))]
    else:
        sids = params.get("sids", [None])
        commands = [json.loads(encode(Command(1, frame["cmd"], "", (), 0.0, sid), None, {})) for sid in sids]
    for command in commands:
        del command["id"]
        if command.get("params", {}).get("channels") == ["orderbook_delta"] and "use_yes_price" not in params:
            del command["params"]["use_yes_price"]  # ours are always explicit
    return commands


@pytest.mark.parametrize("frame", client_frames(), ids=lambda frame: json.dumps(frame)[:80])
def test_a_published_client_frame_is_what_we_send(frame: dict[str, Any]) -> None:
    def text(commands: list[dict[str, Any]]) -> list[str]:
        return sorted(json.dumps(command, sort_keys=True) for command in commands)

    assert text(ours(frame)) == text(normal(frame))


def test_there_are_examples_of_every_command() -> None:
    assert {frame["cmd"] for frame in client_frames()} == {
        "subscribe", "unsubscribe", "update_subscription", "list_subscriptions",
    }  # fmt: skip
