"""What each REST endpoint answers (PROTOCOL.md 12.2).

Owns the paths and their parameters. The data is the exchange's own: its listing, and its history of trades
and of the account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any

from . import rest_json
from .core import Core
from .facts import FILTERS, rest_status
from .history import History, Kept, TradeRecord
from .listing import Listing
from .markets import Market
from .rest_pages import BadParameter, Pages, Parameters
from .wire import go_time, money_text

MULTIVARIATE = "KXMVE"
TIERS = {  # read tokens a second (PROTOCOL.md 12.1)
    "basic": 200,
    "advanced": 300,
    "expert": 600,
    "premier": 1_200,
    "paragon": 2_400,
    "prime": 4_800,
    "prestige": 12_000,
}
BURST_SECONDS = 3
CLOCK_SLACK = 3_600  # seconds that the exchange's clock may have been set back
FOREVER_US = 1 << 62
STATUSES = ("unopened", "open", "closed", "settled")
# which statuses may be asked for with which group of times
_TIMES = {
    "created": ("unopened", "open", ""),
    "close": ("closed", ""),
    "settled": ("settled", ""),
    "updated": ("",),
}


class NotFound(Exception):
    """There is no such market, event or series: 404."""


Answer = Callable[["Endpoints", Parameters, str], dict[str, Any]]


class Endpoints:
    """The endpoints. Not thread-safe: every method needs the exchange's lock held."""

    def __init__(self, core: Core, listing: Listing, history: History) -> None:
        self._core = core
        self._settings = core.settings
        self._listing = listing
        self._history = history
        self._pages = Pages(core.settings)

    def expire_cursors(self) -> None:
        """Make every cursor handed out so far invalid."""
        self._pages.expire()

    def rate(self) -> float | None:
        """How many tokens a second a client has; None: any number."""
        settings = self._settings
        if settings.rest_tokens is not None or settings.rest_tier is None:
            return settings.rest_tokens
        return TIERS.get(settings.rest_tier, TIERS["basic"])

    # -- markets ---------------------------------------------------------------------------------------------
    def markets(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /markets``."""
        status = parameters.choice("status", *STATUSES)
        mve = parameters.choice("mve_filter", "only", "exclude")
        tickers = parameters.names("tickers", 1000)
        series, event = parameters.text("series_ticker"), parameters.text("event_ticker")
        in_time = self._time_filter(parameters, status)

        def wanted(market: Market) -> bool:
            return (
                (not tickers or market.ticker in tickers)
                and (not event or market.event_ticker == event)
                and (not series or self._listing.series_of(market) == series)
                and (not status or self._filter_of(market) == status)
                and (not mve or market.ticker.startswith(MULTIVARIATE) == (mve == "only"))
                and in_time(market)
            )

        limit = parameters.limit(0)
        markets = self._newest_first()
        return self._pages.cut(
            "markets", parameters, limit, markets, wanted, lambda one: one.facts.serial, self._show
        )

    def market(self, parameters: Parameters, ticker: str) -> dict[str, Any]:
        """``GET /markets/{ticker}``."""
        return {"market": self._show(self._market(ticker))}

    def book(self, parameters: Parameters, ticker: str) -> dict[str, Any]:
        """``GET /markets/{ticker}/orderbook``."""
        depth = parameters.number("depth", 0)
        if depth is None or not 0 <= depth <= 100:
            raise BadParameter("depth must be from 0 to 100")
        return rest_json.book_json(self._market(ticker), depth)

    def events(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /events``. Multivariate events are not among them."""
        status = parameters.choice("status", *STATUSES)
        series = parameters.text("series_ticker")
        nested = bool(parameters.flag("with_nested_markets"))
        closes = parameters.number("min_close_ts")
        limit = parameters.limit(1, 200)
        groups = self._events()

        def wanted(entry: tuple[str, list[Market]]) -> bool:
            ticker, markets = entry
            return (
                not ticker.startswith(MULTIVARIATE)
                and (not series or self._series_of_event(ticker) == series)
                and (not status or any(self._filter_of(market) == status for market in markets))
                and (closes is None or any(one.facts.close_us >= closes * 1_000_000 for one in markets))
            )

        places = {ticker: number for number, ticker in enumerate(groups)}
        return self._pages.cut(
            "events",
            parameters,
            limit,
            reversed(groups.items()),
            wanted,
            lambda entry: places[entry[0]],
            lambda entry: self._show_event(*entry, nested=nested),
        )

    def event(self, parameters: Parameters, ticker: str) -> dict[str, Any]:
        """``GET /events/{ticker}``."""
        groups = self._events()
        if ticker not in groups:
            raise NotFound("event")
        nested = bool(parameters.flag("with_nested_markets"))
        found = {"event": self._show_event(ticker, groups[ticker], nested=nested)}
        return found if nested else {**found, "markets": [self._show(market) for market in groups[ticker]]}

    def all_series(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /series``."""
        category, tags = parameters.text("category"), parameters.names("tags", 100)
        volume = bool(parameters.flag("include_volume"))
        shown = [rest_json.series_json(*item) for item in self._series(volume=volume).items()]
        return {
            "series": [
                one
                for one in shown
                if (not category or one["category"] == category) and (not tags or tags & set(one["tags"]))
            ]
        }

    def one_series(self, parameters: Parameters, ticker: str) -> dict[str, Any]:
        """``GET /series/{ticker}``."""
        known = self._series(volume=bool(parameters.flag("include_volume")))
        if ticker not in known:
            raise NotFound("series")
        return {"series": rest_json.series_json(ticker, known[ticker])}

    # -- trades ----------------------------------------------------------------------------------------------
    def trades(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /markets/trades``."""
        cutoff = self._cutoff_us()
        return self._trades(parameters, lambda trade: trade.created_us >= cutoff)

    def old_trades(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /historical/trades``."""
        cutoff = self._cutoff_us()
        return self._trades(parameters, lambda trade: trade.created_us < cutoff)

    def cutoff(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /historical/cutoff``."""
        at = go_time(self._cutoff_us())
        return dict.fromkeys(("market_settled_ts", "trades_created_ts", "orders_updated_ts"), at)

    # -- the account -----------------------------------------------------------------------------------------
    def fills(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /portfolio/fills``."""
        tickers, order_id = parameters.names("ticker", 100), parameters.text("order_id")
        in_time, mine = parameters.between(), self._subaccount(parameters)

        def wanted(fill: Kept) -> bool:
            return (
                (not tickers or fill.msg["market_ticker"] in tickers)
                and (not order_id or fill.msg["order_id"] == order_id)
                and in_time(rest_json.fill_ms(fill) * 1000)
                and mine(fill.msg.get("subaccount", 0))
            )

        differ = self._settings.quirks.rest_fill_ids_differ
        return self._kept(
            "fills",
            parameters,
            self._history.fills(),
            wanted,
            lambda fill: rest_json.fill_json(fill, ids_differ=differ),
        )

    def orders(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /portfolio/orders``."""
        ticker, events = parameters.text("ticker"), parameters.names("event_ticker", 10)
        status = parameters.choice("status", "resting", "canceled", "executed")
        in_time, mine = parameters.between(), self._subaccount(parameters)

        def wanted(order: Kept) -> bool:
            return (
                (not ticker or order.msg["ticker"] == ticker)
                and (not events or self._event_of(order.msg["ticker"]) in events)
                and (not status or order.msg["status"] == status)
                and in_time(order.msg["created_ts_ms"] * 1000)
                and mine(order.msg["subaccount_number"])
            )

        return self._kept("orders", parameters, self._history.orders(), wanted, rest_json.order_json)

    def positions(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /portfolio/positions``."""
        ticker, events = parameters.text("ticker"), parameters.names("event_ticker", 10)
        counted = parameters.names("count_filter", 2)
        settlement = parameters.choice("settlement_status", "all", "unsettled", "settled") or "unsettled"
        mine = self._subaccount(parameters)
        if not counted <= {"position", "total_traded"}:
            raise BadParameter("count_filter must be of position, total_traded")
        by_market: dict[str, list[Kept]] = {}
        for item in self._history.positions():
            if mine(item.msg["subaccount"]):
                by_market.setdefault(item.msg["market_ticker"], []).append(item)

        def wanted(entry: tuple[str, list[Kept]]) -> bool:
            name, items = entry
            held, traded = (sum(item.msg[key] for item in items) for key in ("quantity", "traded"))
            return (
                (not ticker or name == ticker)
                and (not events or self._event_of(name) in events)
                and ("position" not in counted or held != 0)
                and ("total_traded" not in counted or traded != 0)
                and (settlement == "all" or self._is_settled(name) == (settlement == "settled"))
            )

        found = self._pages.cut(
            "market_positions",
            parameters,
            parameters.limit(1),
            by_market.items(),
            wanted,
            lambda entry: entry[1][0].serial,
            lambda entry: entry[1],
        )
        pages: list[list[Kept]] = found["market_positions"]
        found["market_positions"] = rest_json.positions_json(item for items in pages for item in items)
        found["event_positions"] = self._event_positions(pages)
        return found

    def limits(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /account/limits``."""
        rate = self.rate()
        bucket = {"refill_rate": int(rate or 10**6), "bucket_capacity": int((rate or 10**6) * BURST_SECONDS)}
        tier = self._settings.rest_tier or "unlimited"
        return {"usage_tier": tier, "read": bucket, "write": bucket, "grants": []}

    # -- the exchange ----------------------------------------------------------------------------------------
    def status(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /exchange/status``."""
        return {
            "exchange_active": self._settings.exchange_active,
            "trading_active": self._settings.trading_active,
            "exchange_estimated_resume_time": None,
        }

    def user_data_timestamp(self, parameters: Parameters, _: str) -> dict[str, Any]:
        """``GET /exchange/user_data_timestamp``."""
        return {"as_of_time": go_time(self._history.as_of_us())}

    # -- inside ----------------------------------------------------------------------------------------------
    def _market(self, ticker: str) -> Market:
        market = self._listing.find(ticker)
        if market is None:
            raise NotFound("market")
        return market

    def _newest_first(self) -> list[Market]:
        return sorted(self._listing.markets(), key=lambda market: market.facts.serial, reverse=True)

    def _show(self, market: Market) -> dict[str, Any]:
        return rest_json.market_json(market, self._core.now_us())

    def _filter_of(self, market: Market) -> str:
        return FILTERS[rest_status(market.status, market.facts, self._core.now_us())]

    def _time_filter(self, parameters: Parameters, status: str) -> Callable[[Market], bool]:
        given = [
            group for group in _TIMES if f"min_{group}_ts" in parameters or f"max_{group}_ts" in parameters
        ]
        if len(given) > 1:
            raise BadParameter(f"the times {' and '.join(given)} exclude each other")
        if not given:
            return lambda market: True
        (group,) = given
        if status not in _TIMES[group]:
            raise BadParameter(f"status {status} cannot be combined with {group} times")
        inside = parameters.between(f"min_{group}_ts", f"max_{group}_ts")

        def in_time(market: Market) -> bool:
            at = getattr(market.facts, f"{group}_us")
            return at is not None and inside(at)

        return in_time

    def _events(self) -> dict[str, list[Market]]:
        """The events with their markets, the oldest first."""
        groups: dict[str, list[Market]] = {ticker: [] for ticker in self._listing.events()}
        for market in self._listing.markets():
            groups.setdefault(market.event_ticker, []).append(market)
        return groups

    def _series_of_event(self, ticker: str) -> str:
        return str(self._listing.event(ticker).get("series_ticker") or ticker.partition("-")[0])

    def _show_event(self, ticker: str, markets: list[Market], *, nested: bool) -> dict[str, Any]:
        found = rest_json.event_json(ticker, self._listing.event(ticker), self._series_of_event(ticker))
        return {**found, "markets": [self._show(market) for market in markets]} if nested else found

    def _series(self, *, volume: bool) -> Mapping[str, int | None]:
        """Every series, with the contracts traded in it if ``volume``."""
        volumes: dict[str, int] = {self._series_of_event(ticker): 0 for ticker in self._listing.events()}
        for market in self._listing.markets():
            series = self._listing.series_of(market)
            volumes[series] = volumes.get(series, 0) + market.volume
        return {series: total if volume else None for series, total in volumes.items()}

    def _cutoff_us(self) -> int:
        return self._core.now_us() - int(self._settings.rest_trades_seconds * 1e6)

    def _trades(self, parameters: Parameters, is_mine: Callable[[TradeRecord], bool]) -> dict[str, Any]:
        in_time, block = parameters.between(), parameters.flag("is_block_trade")
        differ = self._settings.quirks.rest_trade_ids_differ
        all_trades = self._history.trades(parameters.text("ticker") or None)
        first = parameters.number("min_ts")
        # trades are in the order of their times, unless the exchange's clock was changed
        since_us = -FOREVER_US if first is None else (first - CLOCK_SLACK) * 1_000_000
        return self._pages.cut(
            "trades",
            parameters,
            parameters.limit(0),
            takewhile(lambda trade: trade.created_us >= since_us, all_trades),
            lambda trade: not block and is_mine(trade) and in_time(trade.created_us),
            lambda trade: trade.serial,
            lambda trade: rest_json.trade_json(trade, ids_differ=differ),
        )

    def _kept(
        self,
        name: str,
        parameters: Parameters,
        items: Iterable[Kept],
        wanted: Callable[[Kept], bool],
        show: Callable[[Kept], Any],
    ) -> dict[str, Any]:
        return self._pages.cut(
            name, parameters, parameters.limit(1), items, wanted, lambda item: item.serial, show
        )

    def _subaccount(self, parameters: Parameters) -> Callable[[int], bool]:
        number = parameters.number("subaccount")
        return lambda subaccount: number is None or subaccount == number

    def _event_of(self, ticker: str) -> str:
        market = self._listing.find(ticker)
        return ticker.rpartition("-")[0] if market is None else market.event_ticker

    def _is_settled(self, ticker: str) -> bool:
        market = self._listing.find(ticker)
        return market is None or market.status == "settled"

    def _event_positions(self, pages: list[list[Kept]]) -> list[dict[str, Any]]:
        sums: dict[str, dict[str, int]] = {}
        for item in (item for items in pages for item in items):
            mine = sums.setdefault(self._event_of(item.msg["market_ticker"]), {})
            for name in ("traded", "cost", "realized", "fees"):
                mine[name] = mine.get(name, 0) + item.msg[name]
        return [
            {
                "event_ticker": event,
                "total_cost_dollars": money_text(mine["traded"]),
                "event_exposure_dollars": money_text(mine["cost"]),
                "realized_pnl_dollars": money_text(mine["realized"]),
                "fees_paid_dollars": money_text(mine["fees"]),
            }
            for event, mine in sums.items()
        ]


# path -> its answer, and whether it needs a signature
ENDPOINTS: Mapping[str, tuple[Answer, bool]] = {
    "/markets": (Endpoints.markets, False),
    "/markets/trades": (Endpoints.trades, False),
    "/markets/{ticker}": (Endpoints.market, False),
    "/markets/{ticker}/orderbook": (Endpoints.book, False),
    "/events": (Endpoints.events, False),
    "/events/{ticker}": (Endpoints.event, False),
    "/series": (Endpoints.all_series, False),
    "/series/{ticker}": (Endpoints.one_series, False),
    "/historical/cutoff": (Endpoints.cutoff, False),
    "/historical/trades": (Endpoints.old_trades, False),
    "/portfolio/fills": (Endpoints.fills, True),
    "/portfolio/orders": (Endpoints.orders, True),
    "/portfolio/positions": (Endpoints.positions, True),
    "/account/limits": (Endpoints.limits, True),
    "/exchange/status": (Endpoints.status, False),
    "/exchange/user_data_timestamp": (Endpoints.user_data_timestamp, False),
}


def route(path: str) -> tuple[str, str] | None:
    """The endpoint that serves a path, and the ticker in it; None if there is none."""
    if path in ENDPOINTS:
        return path, ""
    parts = path.split("/")
    if len(parts) < 3 or not parts[2]:
        return None
    ticker, parts[2] = parts[2], "{ticker}"
    name = "/".join(parts)
    return (name, ticker) if name in ENDPOINTS else None
