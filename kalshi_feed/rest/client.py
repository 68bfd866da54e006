"""Rest: the face of this package. Checks arguments and delegates; has no other logic. Thread-safe."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args
from urllib.parse import quote

from ..connection.context import check_context, default_context
from ..connection.environment import PRODUCTION_REST_URL, exchange_context, rest_url
from ..connection.failures import peer_words
from ..connection.proxy import find_proxy
from ..connection.redaction import without_locals
from ..connection.url import parse_rest_url
from ..credentials import KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE, Credentials
from ..errors import ConfigurationError, RestError
from ..messages import Fill, MarketPosition, Trade, UserOrder, from_rest
from ..messages.values import from_seconds, parse_time
from ..session.channels import names
from .asking import Asking, Query, SleepingClock
from .budget import shared_budget
from .records import (
    Event,
    ExchangeStatus,
    Limits,
    Market,
    Series,
    event_in,
    limits_in,
    market_in,
    series_in,
    status_in,
)
from .sessions import Sessions

if TYPE_CHECKING:
    import ssl

__all__ = ["MarketStatus", "Rest"]

MarketStatus = Literal["unopened", "open", "closed", "settled"]
OrderStatus = Literal["resting", "canceled", "executed"]
When = datetime | float | None
"""An aware datetime, Unix seconds, or None for no limit."""

_T = TypeVar("_T")
_MOST: Final = 1000  # objects of a page (PROTOCOL.md 12.2)
_MOST_EVENTS: Final = 200
_MOST_ORDERS: Final = 200
_MOST_TICKERS: Final = 100  # in one request
_NO_MARKET: Final = (
    "check the ticker: write all of it, in uppercase; production and demo have different markets"
)


class Rest:
    """Kalshi's REST API, read only. Thread-safe; a context manager. Needs the extra ``rest``.

    ``credentials`` are needed for the account's own data only; with them, every request is signed, so that
    the limits of your tier apply. ``url``: by default production's; https:// (http:// on loopback only).
    ``ssl_context``: by default certifi's certificates; one that does not verify the server is refused, except
    on loopback. ``proxy``: the url of an HTTP proxy, or "" for none; by default the environment's
    HTTPS_PROXY, ALL_PROXY and NO_PROXY, as for a feed. ``timeout``: seconds for each of connecting, the
    beginning of an answer, and its content. ``retry_for``: seconds within which a request is repeated after
    429, 5xx or a failed connection, with growing, random delays; 0 for never.

    Requests are kept below the rate that the exchange allows (``tokens_per_second``; by default that of the
    lowest tier, 200, or with a key what the exchange says about its tier): a call waits for its turn. All
    Rest objects of a process with the same key and url share that budget. A call may be made from any thread;
    an iterator belongs to one thread, and asks for a page when it gets there.

    Calls raise RestError, iterators while you iterate; wrong arguments raise ConfigurationError at once.
    """

    _clock: SleepingClock = time  # tests have one of their own

    @without_locals
    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        url: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        timeout: float = 10.0,
        retry_for: float = 30.0,
        tokens_per_second: float | None = None,
    ) -> None:
        if credentials is not None and not isinstance(credentials, Credentials):
            raise ConfigurationError(
                "credentials must be a Credentials or None: write Credentials.from_file(api_key_id, path) or "
                "Rest.from_env()"
            )
        endpoint = parse_rest_url(PRODUCTION_REST_URL if url is None else url)
        check_context(ssl_context, endpoint)
        _check_number("timeout", timeout, least=0.001)
        _check_number("retry_for", retry_for, least=0)
        context = (ssl_context or default_context()) if endpoint.is_secure else None
        budget = shared_budget("" if credentials is None else credentials.api_key_id, endpoint.url)
        if tokens_per_second is not None:
            _check_number("tokens_per_second", tokens_per_second, least=1)
            budget.set_rate(tokens_per_second)
        self._url = endpoint.url
        self._asking = Asking(
            credentials,
            endpoint,
            Sessions(endpoint, context, find_proxy(endpoint, proxy, os.environ), timeout),
            budget,
            retry_for=retry_for,
            clock=self._clock,
        )

    @classmethod
    def from_env(cls, *, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Rest:
        """Make a Rest with the exchange and, if there is one, the key named by the environment.

        Reads KALSHI_REST_URL or, without it, what belongs to KALSHI_URL or KALSHI_ENV; KALSHI_CA_FILE; and
        what Credentials.from_env() reads, if any of it is set. ``overrides`` are arguments of Rest; each wins
        over the environment. Raises ConfigurationError, also for a KALSHI_URL that is neither production's
        nor the demo environment's without a KALSHI_REST_URL.
        """
        if "url" not in overrides:
            overrides["url"] = rest_url(environ)
        if "ssl_context" not in overrides:
            overrides["ssl_context"] = exchange_context(environ)
        if "credentials" not in overrides:
            named = any(environ.get(name) for name in (KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE))
            overrides["credentials"] = Credentials.from_env(environ) if named else None
        return cls(**overrides)

    @property
    def url(self) -> str:
        """Where it sends its requests."""
        return self._url

    @property
    def clock_skew(self) -> float | None:
        """This machine's clock minus the exchange's, in seconds (to one or two), at the last answer; None
        before the first."""
        return self._asking.clock_skew

    # -- markets ---------------------------------------------------------------------------------------------

    def market(self, market_ticker: str) -> Market:
        """Return one market. Raises RestError, with the status 404 for a market that does not exist."""
        path = f"/markets/{_one('market_ticker', market_ticker)}"
        return self._object(path, "market", market_in, advice=_NO_MARKET)

    def markets(
        self,
        *,
        series: str | None = None,
        event: str | None = None,
        tickers: str | Iterable[str] | None = None,
        status: MarketStatus | None = None,
        combos: bool | None = None,
    ) -> Iterator[Market]:
        """Iterate over the markets of a series, of an event, or with these tickers; without any of them, over
        all markets, which are tens of thousands.

        ``status``: "unopened", "open", "closed" or "settled". ``combos``: True for combinations (KXMVE…)
        only, False for none of them. The order is the exchange's.
        """
        query: Query = {
            "series_ticker": _name("series", series),
            "event_ticker": _name("event", event),
            "status": _choice("status", status, get_args(MarketStatus)),
            "mve_filter": None if combos is None else "only" if combos else "exclude",
            "limit": _MOST,
        }
        return self._listed("/markets", query, "markets", "ticker", market_in, "tickers", tickers)

    def event(self, event_ticker: str) -> Event:
        """Return an event with its markets. Raises RestError, with the status 404 for one that does not
        exist."""
        path = f"/events/{_one('event_ticker', event_ticker)}"
        advice = "check the ticker of the event: write all of it, in uppercase"
        answer = self._asking.get(path, {"with_nested_markets": "true"}, advice)
        event = answer.get("event")
        if not isinstance(event, dict):
            raise RestError(200, "", "the answer has no event", path)
        beside = answer.get("markets") if event.get("markets") is None else None
        return _read(lambda wire: event_in(wire, beside), event, path)

    def events(
        self, *, series: str | None = None, status: MarketStatus | None = None, with_markets: bool = False
    ) -> Iterator[Event]:
        """Iterate over events, by default without their markets."""
        query: Query = {
            "series_ticker": _name("series", series),
            "status": _choice("status", status, get_args(MarketStatus)),
            "with_nested_markets": "true" if with_markets else None,
            "limit": _MOST_EVENTS,
        }
        return self._listed("/events", query, "events", "event_ticker", event_in)

    def series(self, series_ticker: str) -> Series:
        """Return one series. Raises RestError, with the status 404 for one that does not exist."""
        path = f"/series/{_one('series_ticker', series_ticker)}"
        advice = "check the ticker of the series: write it in uppercase"
        return self._object(path, "series", series_in, advice=advice)

    def series_list(self, *, category: str | None = None, tags: str | None = None) -> list[Series]:
        """Return all series, or those of a category or with these tags, as the exchange spells them. Raises
        RestError."""
        answer = self._asking.get("/series", {"category": category, "tags": tags})
        objects = self._asking.objects(answer, "series", "/series")
        return [_read(series_in, one, "/series") for one in objects]

    def trades(
        self,
        market_ticker: str | None = None,
        *,
        since: When = None,
        until: When = None,
        historical: bool = False,
    ) -> Iterator[Trade]:
        """Iterate over the public trades of a market, or of all: messages of the feed's own type, with
        ``source == "rest"``.

        ``since`` and ``until``: aware datetimes or Unix seconds. The exchange counts whole seconds, so there
        may be trades from up to a second before and two seconds after. ``historical``: only trades older than
        historical_cutoff().
        """
        query: Query = {
            "ticker": _name("market_ticker", market_ticker),
            **_between(since, until),
            "limit": _MOST,
        }
        path = "/historical/trades" if historical else "/markets/trades"
        return self._listed(path, query, "trades", "trade_id", from_rest.trade)

    # -- the account -----------------------------------------------------------------------------------------

    def fills(
        self,
        *,
        since: When = None,
        until: When = None,
        market_tickers: str | Iterable[str] | None = None,
        order_id: str | None = None,
        subaccount: int | None = None,
    ) -> Iterator[Fill]:
        """Iterate over the account's fills: messages of the feed's own type, with ``source == "rest"``. Needs
        a key.

        REST lags behind the feed: it is complete up to user_data_timestamp(). ``since`` and ``until`` are as
        in trades().
        """
        query: Query = {
            **_between(since, until),
            "order_id": order_id,
            "subaccount": subaccount,
            "limit": _MOST,
        }
        path = "/portfolio/fills"
        return self._listed(
            path, query, "fills", "fill_id", from_rest.fill, "ticker", market_tickers, "market_tickers"
        )

    def orders(
        self,
        market_ticker: str | None = None,
        *,
        status: OrderStatus | None = None,
        since: When = None,
        until: When = None,
        subaccount: int | None = None,
    ) -> Iterator[UserOrder]:
        """Iterate over the account's orders as they are now: messages of the feed's own type. Needs a key.

        ``status``: "resting", "canceled" or "executed". Lags as fills() does.
        """
        query: Query = {
            "ticker": _name("market_ticker", market_ticker),
            "status": _choice("status", status, get_args(OrderStatus)),
            **_between(since, until),
            "subaccount": subaccount,
            "limit": _MOST_ORDERS,
        }
        return self._listed("/portfolio/orders", query, "orders", "order_id", from_rest.order)

    def positions(
        self, market_ticker: str | None = None, *, event: str | None = None, subaccount: int | None = None
    ) -> Iterator[MarketPosition]:
        """Iterate over the account's positions as they are now: messages of the feed's own type. Needs a key.

        Lags as fills() does.
        """
        query: Query = {
            "ticker": _name("market_ticker", market_ticker),
            "event_ticker": _name("event", event),
            "subaccount": subaccount,
            "limit": _MOST,
        }
        return self._listed("/portfolio/positions", query, "market_positions", "ticker", from_rest.position)

    def user_data_timestamp(self) -> datetime:
        """Return the time (UTC) up to which fills, orders and positions are complete. Raises RestError."""
        return self._time("/exchange/user_data_timestamp", "as_of_time")

    def limits(self) -> Limits:
        """Return the limits of the account's tier; later requests keep to them. Needs a key. Raises
        RestError."""
        limits = _read(limits_in, self._asking.get("/account/limits"), "/account/limits")
        self._asking.set_tier(limits)
        return limits

    # -- the exchange ----------------------------------------------------------------------------------------

    def exchange_status(self) -> ExchangeStatus:
        """Return whether the exchange is open. Raises RestError."""
        return _read(status_in, self._asking.get("/exchange/status"), "/exchange/status")

    def historical_cutoff(self) -> datetime:
        """Return the time (UTC) before which trades are historical: about three months ago. Raises
        RestError."""
        return self._time("/historical/cutoff", "trades_created_ts")

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections, and end calls that wait for their turn: they and later ones raise
        RestError."""
        self._asking.close()

    def __enter__(self) -> Rest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Rest {self._url}>"

    # -- inside ----------------------------------------------------------------------------------------------

    def _object(self, path: str, name: str, read: Callable[[Mapping[str, Any]], _T], *, advice: str) -> _T:
        wire = self._asking.get(path, advice=advice).get(name)
        if not isinstance(wire, dict):
            raise RestError(200, "", f"the answer has no {name}", path)
        return _read(read, wire, path)

    def _listed(
        self,
        path: str,
        query: Query,
        name: str,
        key: str,
        read: Callable[[Mapping[str, Any]], _T],
        parameter: str = "",
        tickers: str | Iterable[str] | None = None,
        argument: str = "tickers",
    ) -> Iterator[_T]:
        """Iterate over all pages of ``name``; ``tickers`` go into ``parameter``, some at a time."""
        wanted = () if tickers is None else names(tickers, argument)  # checked now, not at the first next()
        return self._read_pages(path, query, name, key, read, parameter, wanted)

    def _read_pages(
        self,
        path: str,
        query: Query,
        name: str,
        key: str,
        read: Callable[[Mapping[str, Any]], _T],
        parameter: str,
        tickers: tuple[str, ...],
    ) -> Iterator[_T]:
        for first in range(0, max(len(tickers), 1), _MOST_TICKERS):
            some = tickers[first : first + _MOST_TICKERS]
            asked = {**query, parameter: ",".join(some)} if some else query
            for wire in self._asking.pages(path, asked, name, key):
                yield _read(read, wire, path)

    def _time(self, path: str, name: str) -> datetime:
        time = self._asking.get(path).get(name)
        try:
            return from_seconds(time) if type(time) is int else parse_time(str(time))
        except ValueError:
            raise RestError(200, "", f"the answer has no {name} that is a time", path) from None


def _read(read: Callable[[Mapping[str, Any]], _T], wire: Mapping[str, Any], path: str) -> _T:
    try:
        return read(wire)
    except (ValueError, RecursionError) as error:
        raise RestError(200, "", f"the answer cannot be read: {peer_words(str(error))}", path) from None


def _name(argument: str, value: str | None) -> str | None:
    """A ticker or None. Raises ConfigurationError."""
    return None if value is None else _single(argument, value)


def _one(argument: str, value: str) -> str:
    """A ticker as it is written in a path. Raises ConfigurationError."""
    return quote(_single(argument, value), safe="")


def _single(argument: str, value: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"must be a string, not {type(value).__name__}", argument)
    return names(value, argument)[0]


def _choice(argument: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise ConfigurationError(f"must be {', '.join(map(repr, allowed))} or None, not {value!r}", argument)
    return value


def _check_number(argument: str, value: float, *, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
        raise ConfigurationError(f"must be a number of at least {least:g}, not {value!r}", argument)


def _between(since: When, until: When) -> dict[str, int | None]:
    """The exchange's whole seconds around an interval. Raises ConfigurationError."""
    begin, end = _seconds("since", since), _seconds("until", until)
    if begin is not None and end is not None and begin > end:
        raise ConfigurationError("is after until", "since")
    return {
        "min_ts": None if begin is None else math.floor(begin),
        "max_ts": None if end is None else math.ceil(end),
    }


def _seconds(argument: str, value: When) -> float | None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ConfigurationError(
                "has no time zone: write datetime.now(timezone.utc), for example", argument
            )
        return value.timestamp()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise ConfigurationError(f"must be an aware datetime or Unix seconds, not {value!r}", argument)
    return float(value)
