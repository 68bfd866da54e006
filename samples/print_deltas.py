"""Callbacks in a script: every change of some order books, as it arrives.

.venv/bin/python samples/print_deltas.py --simulate
.venv/bin/python samples/print_deltas.py KXNFLGAME-25OCT13-SF-KC     (KALSHI_API_KEY_ID … set)
"""

from __future__ import annotations

from _common import close_after, feed_for, parser, say

from kalshi_feed import Gap, OrderbookDelta, StateChange, Trade

options = parser("Print every change of some order books.").parse_args()

with feed_for(options) as (feed, tickers):
    # Callbacks run on a worker thread of the feed, one at a time and in order: no locks needed here.
    # The markets are named because a relay's consumer gets everything that its relay has.

    @feed.on_delta(market_tickers=tickers)
    def moved(delta: OrderbookDelta) -> None:
        book = feed.book(delta.market_ticker)  # at this delta or newer
        best = book.best_bid()
        say(
            f"{delta.market_ticker} {delta.side} {delta.price} {delta.delta:+} best bid "
            f"{best.price if best else '-'}",
            feed,
        )

    @feed.on_trade(market_tickers=tickers)
    def traded(trade: Trade) -> None:
        say(f"{trade.market_ticker} traded {trade.count} at {trade.yes_price}", feed)

    @feed.on_state
    def state(change: StateChange) -> None:
        say(f"feed {change.state.value} {change.reason}", feed)

    @feed.on_gap
    def missed(gap: Gap) -> None:
        say(
            f"messages are missing on {gap.channel}; {len(gap.market_tickers)} books STALE until their next "
            "snapshot",
            feed,
        )

    feed.subscribe(["orderbook_delta", "trade"], tickers)
    close_after(feed, options.seconds)
    feed.run_forever()  # until Ctrl-C or SIGTERM; raises if the key is refused, for example
