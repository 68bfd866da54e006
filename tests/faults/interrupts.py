"""Interrupts a call of the feed at any line of the package, and checks what must hold afterwards.

``interrupt(call, n)`` raises in the n-th line that the call executes inside kalshi_feed, as a signal handler
could. ``hold()`` compares what the feed wants with its subscriptions and with what the exchange has, and its
books with the exchange's.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import kalshi_feed
from kalshi_feed import KalshiFeed, SubscriptionState
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.feed.support import wait_equal
from tests.support import wait_until

__all__ = ["Interrupt", "hold", "interrupt"]

MOST_VISITS = 2  # per line: a loop over a thousand buckets is interrupted only in its first rounds
PACKAGE = str(Path(kalshi_feed.__file__).parent)


class Interrupt(BaseException):
    """Like KeyboardInterrupt, but only these tests raise it."""


def interrupt(call: Callable[[], object], n: int) -> bool:
    """Run ``call`` and raise in its ``n``-th line (from 1); False if it has fewer lines. Works on any thread,
    and interrupts only that one."""
    left = n
    visits: Counter[tuple[object, int]] = Counter()

    def lines(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "line" and not _is_leaving(frame):
            visits[frame.f_code, frame.f_lineno] += 1
            if visits[frame.f_code, frame.f_lineno] > MOST_VISITS:
                return lines
            left -= 1
            if left == 0:
                raise Interrupt
        return lines

    def calls(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        # the callback of a weakref swallows exceptions
        is_ours = code.co_filename.startswith(PACKAGE) and "gone" not in code.co_varnames
        return lines if is_ours else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return left <= 0  # the interrupt came, and something swallowed it


@cache
def _with_lines(file: str) -> frozenset[int]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.With))


def _is_leaving(frame: FrameType) -> bool:
    """Whether a with block is being left. The interpreter looks for signals only after it has released a
    lock."""
    if frame.f_lineno not in _with_lines(frame.f_code.co_filename):
        return False
    return frame.f_lasti > min(start for start, _, line in frame.f_code.co_lines() if line == frame.f_lineno)


def hold(feed: KalshiFeed, exchange: Exchange) -> None:
    """The feed wants what its subscriptions say, the exchange has exactly that, and all books are LIVE and
    right."""
    said: dict[str, set[str]] = {}
    for subscription in feed.subscriptions:
        assert subscription.state in (SubscriptionState.ACTIVE, SubscriptionState.PENDING), subscription
        for channel in subscription.channels:
            said.setdefault(channel, set()).update(subscription.market_tickers)
    wants = {name: set(channel.keys) for name, channel in inside.wanted(feed).channels.items()}
    assert wants == said, "the feed does not want what its subscriptions say"
    wait_until(lambda: at_exchange(exchange) == said, what=f"{at_exchange(exchange)} to become {said}")
    for subscription in feed.subscriptions:
        subscription.wait(5)
    tickers = said.get("orderbook_delta", set())
    assert set(feed.books) == tickers
    wait_equal(feed, exchange, *tickers)
    gc.collect()
    with inside.store(feed).lock:
        inside.store(feed).ready_locked()
    assert inside.waiters(feed) == 0 and inside.streams(feed) == 0, "a thread still waits"


def at_exchange(exchange: Exchange) -> dict[str, set[str]]:
    """Return what the exchange has, by channel."""
    return {one["channel"]: set(one["market_tickers"] or ()) for one in exchange.subscriptions}
