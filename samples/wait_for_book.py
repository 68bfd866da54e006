"""Blocking calls only: wait for a book, then for each of its changes. No callbacks.

.venv/bin/python samples/wait_for_book.py --simulate
.venv/bin/python samples/wait_for_book.py KXNFLGAME-25OCT13-SF-KC     (KALSHI_API_KEY_ID … set)
"""

from __future__ import annotations

import math
import time

from _common import feed_for, parser, say

from kalshi_feed import BookView, FeedClosedError, WaitTimeout

options = parser("Print the top of one order book whenever it changes.").parse_args()


def top(view: BookView) -> str:
    bid, ask = view.best_bid("yes"), view.best_ask("yes")  # None if a side is empty
    return f"yes {bid.price if bid else '-'} / {ask.price if ask else '-'}, spread {view.spread()}"


with feed_for(options) as (feed, tickers), feed, feed.closing_on_signals():  # SIGTERM closes it too
    end = time.monotonic() + (options.seconds or math.inf)
    try:
        # Subscribes, and returns once the book is LIVE. If the key is refused it raises at once.
        book = feed.wait_for_book(tickers[0], timeout=10)
        view = book.view()  # the whole book at one moment
        say(f"{book.market_ticker} {view.status.value}: {top(view)}", feed)
        while (left := end - time.monotonic()) > 0:
            before = view
            try:
                view = book.wait_for_update(timeout=min(left, 30), after=before.version)
            except WaitTimeout:
                continue  # a quiet market
            if not view.is_live:
                say(f"{book.market_ticker} {view.status.value}: do not rely on it", feed)
            elif top(view) != top(before) or not before.is_live:
                say(f"{book.market_ticker} {view.status.value}: {top(view)}", feed)
    except (KeyboardInterrupt, FeedClosedError):
        pass
