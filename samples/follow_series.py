"""Follow a series: what happens to its markets, and what is traded in them while they last, gaps filled.

.venv/bin/python samples/follow_series.py --simulate
.venv/bin/python samples/follow_series.py KXBTC15M --file series.db     (KALSHI_API_KEY_ID … set)

With --file it also records: snapshots, deltas, trades, and what is missing, if anything is. The next start
with the same file fetches the trades since its last row. It needs the extra ``rest``.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from datetime import datetime

from _common import close_after, parser, say, series_for

from kalshi_feed import FeedFault, GapFilled, MarketChange, StateChange, Trade
from kalshi_feed.sinks import Batcher, SQLiteSink

arguments = parser("Follow the markets of a series.", series=True)
arguments.add_argument("--file", help="an SQLite file to store it in")
options = arguments.parse_args()


def clock(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%H:%M:%S}"


with series_for(options) as (series, make_feed), ExitStack() as stack:
    if options.file:
        sink = SQLiteSink(options.file)
        batcher = stack.enter_context(Batcher(sink))  # closed after the feed
        feed = make_feed(fill_gaps=True, fill_since=sink.stored_until())
        batcher.subscribe_to(feed)
    else:
        feed = make_feed(fill_gaps=True)

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
        late = f", late: at {clock(trade.time)}" if trade.source == "rest" else ""
        say(
            f"{trade.market_ticker} traded {trade.count} at {trade.yes_price}, closes {clock(closes)}{late}",
            feed,
        )

    @feed.on_state
    def state(change: StateChange) -> None:
        say(f"feed {change.state.value} {change.reason}", feed)

    @feed.on_gap_filled
    def filled(gap: GapFilled) -> None:  # after a lost connection, or a restart with the same file
        how = "complete" if gap.complete else f"not complete: {gap.reason}"
        say(f"{gap.channel} from {clock(gap.since)} to {clock(gap.until)}: {gap.found} fetched, {how}", feed)

    @feed.on_error
    def trouble(fault: FeedFault) -> None:  # REST does not answer, for example; it is tried again
        say(f"{fault.kind}: {fault.message}", feed)

    feed.follow(series=series)  # ends nothing if there is no such series: its first market may come tomorrow
    close_after(feed, options.seconds)
    with feed:
        feed.run_forever()  # until Ctrl-C or SIGTERM
