"""Follow a series: what happens to its markets, and what is traded in them while they last.

.venv/bin/python samples/follow_series.py --simulate
.venv/bin/python samples/follow_series.py KXBTC15M     (KALSHI_API_KEY_ID … set)

It needs the extra ``rest``.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from _common import close_after, parser, say, series_feed_for

from kalshi_feed import FeedFault, MarketChange, StateChange, Trade

options = parser("Follow the markets of a series.", series=True).parse_args()


def clock(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%H:%M:%S}"


with series_feed_for(options) as (feed, series):
    trades: Counter[str] = Counter()  # by market; callbacks run one at a time, so no lock is needed

    @feed.on_market
    def happened(change: MarketChange) -> None:
        market, ticker, about = change.market, change.market_ticker, ""
        if change.change in ("announced", "rescheduled"):
            about = f"{market.title}, open from {clock(market.open_at)} to {clock(market.close_at)} UTC"
        elif change.change == "determined":  # minutes or hours after the close
            about = f"the answer is {market.result}, {trades.pop(ticker, 0)} trades"
        say(f"{ticker} {change.change} {about}".rstrip(), feed)

    @feed.on_trade
    def traded(trade: Trade) -> None:
        trades[trade.market_ticker] += 1
        book = feed.book(trade.market_ticker)  # its levels, and its market
        closes = book.market.close_at if book.market else None
        say(f"{trade.market_ticker} traded {trade.count} at {trade.yes_price}, closes {clock(closes)}", feed)

    @feed.on_state
    def state(change: StateChange) -> None:
        say(f"feed {change.state.value} {change.reason}", feed)

    @feed.on_error
    def trouble(fault: FeedFault) -> None:  # REST does not answer, for example; it is tried again
        say(f"{fault.kind}: {fault.message}", feed)

    feed.follow(series=series)  # ends nothing if there is no such series: its first market may come tomorrow
    close_after(feed, options.seconds)
    feed.run_forever()  # until Ctrl-C or SIGTERM
