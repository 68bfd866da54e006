"""The lives of markets and events, and the messages that report them (PROTOCOL.md 6.7, 6.8).

Owns no state: it changes the markets. Multivariate markets and events (``KXMVE...``) are reported on
``multivariate_market_lifecycle``, all others on ``market_lifecycle_v2``. No message reports a scheduled open
or close. Times are in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import schemas, wire
from .core import Core
from .facts import SECOND
from .listing import Listing
from .markets import Market
from .matching import Matching
from .wire import DOLLAR, Number, Side, levels_units, price_units

MULTIVARIATE = "KXMVE"
STEPS = {"linear_cent": "0.0100", "deci_cent": "0.0010"}  # of structures with a single step from 0 to 1
HOUR = 3600


class Lifecycle:
    """The lives of markets and events. Thread-safe."""

    def __init__(self, core: Core, listing: Listing, matching: Matching) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching

    # -- markets ---------------------------------------------------------------------------------------------
    def create_market(
        self,
        /,
        market_ticker: str,
        yes: Side = None,
        no: Side = None,
        *,
        event_ticker: str | None = None,
        open_ts: int | None = None,
        close_ts: int | None = None,
        price_level_structure: str = "linear_cent",
        price_ranges: Sequence[Mapping[str, str]] | None = None,
        exchange_index: int = 0,
        opened: bool = True,
        **metadata: Any,
    ) -> None:
        """Create a market: a ``created`` message, then as with ``add_market``.

        ``open_ts``, ``close_ts``: by default now, and an hour later. ``opened``: False leaves it without
        trading until ``open_market``. ``metadata``: fields of ``additional_metadata`` that replace the
        made-up ones. Raises ValueError.
        """
        market = Market(market_ticker)
        market.set_book(levels_units(yes), levels_units(no))
        market.exchange_index = exchange_index
        market.status = "active" if opened else "initialized"
        if event_ticker is not None:
            market.event_ticker = event_ticker
        opens = self._core.now_us() // 1_000_000 if open_ts is None else open_ts
        closes = opens + HOUR if close_ts is None else close_ts
        msg: dict[str, Any] = {
            "open_ts": opens,
            "close_ts": closes,
            "exchange_index": exchange_index,
            "additional_metadata": {
                "name": market_ticker,
                "title": f"Will {market_ticker} happen?",
                "yes_sub_title": "Yes",
                "no_sub_title": "No",
                "rules_primary": "The simulator decides.",
                "rules_secondary": "",
                "can_close_early": True,
                "event_ticker": market.event_ticker,
                "expected_expiration_ts": closes,
                **metadata,
            },
            "price_level_structure": price_level_structure,
        }
        if not _multivariate(market_ticker):
            msg["price_ranges"] = _ranges(price_level_structure, price_ranges)
        self._check(market_ticker, "created", msg)
        facts = market.facts
        facts.open_us, facts.close_us = opens * SECOND, closes * SECOND
        facts.price_level_structure = price_level_structure
        facts.price_ranges = msg.get("price_ranges", facts.price_ranges)
        facts.update(msg["additional_metadata"])
        with self._core.step():
            self._matching.list_market(market)
            self._report(market, "created", msg)
            self._listing.send_snapshot(market)

    def open_market(self, market_ticker: str, yes: Side = None, no: Side = None) -> None:
        """Open a market that was created with ``opened=False``: no message says so, its first levels come as
        deltas.

        Raises ValueError, LookupError.
        """
        levels = {"yes": levels_units(yes), "no": levels_units(no)}
        changes = [(side, price, size) for side, sizes in levels.items() for price, size in sizes.items()]
        with self._core.step():
            market = self._listing.market(market_ticker)
            _need(market, "initialized")
            market.status = "active"
            if changes:
                self._listing.change(market, changes)

    def deactivate(self, market_ticker: str) -> None:
        """Pause a market: it stands still and takes no orders. Raises ValueError, LookupError."""
        with self._core.step():
            market = self._listing.market(market_ticker)
            _need(market, "active")
            market.status, market.moving_again, market.moving = "inactive", market.moving, False
            self._report(market, "deactivated", {"is_deactivated": True})

    def activate(self, market_ticker: str) -> None:
        """End a pause or reopen a closed market: all resting orders are cancelled, a snapshot empties the
        book.

        Raises ValueError, LookupError.
        """
        with self._core.step():
            market = self._listing.market(market_ticker)
            _need(market, "inactive", "closed")
            market.status, market.moving = "active", market.moving_again
            self._matching.replace_book(market, {}, {}, "HaltCancel")
            self._report(market, "activated", {"is_deactivated": False})

    def update_close(self, market_ticker: str, close_ts: int) -> None:
        """Change a market's close time. Raises LookupError."""
        with self._core.step():
            market = self._listing.market(market_ticker)
            market.facts.close_us = close_ts * SECOND
            self._report(market, "close_date_updated", {"close_ts": close_ts})

    def determine(self, market_ticker: str, result: str, settlement_value: Number | None = None) -> None:
        """Make the outcome known: the market closes if it is open (its book is emptied), then ``determined``.

        ``settlement_value``: what a yes contract is worth; by default 1 for yes, 0 for no. Raises ValueError,
        LookupError.
        """
        if settlement_value is None and result not in ("yes", "no"):
            raise ValueError(f"a result other than yes or no ({result!r}) needs a settlement_value")
        value = price_units(settlement_value if settlement_value is not None else int(result == "yes"))
        with self._core.step():
            market = self._listing.market(market_ticker)
            market.moving = market.moving_again = False
            market.status, market.settlement_value = "determined", value
            market.facts.result = result
            self._matching.replace_book(market, {}, {}, "CloseCancel")
            msg = {
                "determination_ts": self._core.now_us() // 1_000_000,
                "result": result,
                "settlement_value": wire.price_text(value),
            }
            self._report(market, "determined", msg)

    def settle_market(self, market_ticker: str) -> None:
        """Pay out a determined market: ``settled``, and the account's positions in it are closed.

        Raises ValueError if it is not determined, LookupError.
        """
        with self._core.step():
            market = self._listing.market(market_ticker)
            _need(market, "determined")
            market.status, market.facts.settled_us = "settled", self._core.now_us()
            self._report(market, "settled", {"settled_ts": self._core.now_us() // 1_000_000})
            self._matching.settle_positions(market, market.settlement_value)

    def update_price_levels(
        self,
        market_ticker: str,
        price_level_structure: str,
        price_ranges: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Change a market's price grid.

        ``price_ranges`` ({start, end, step}) may be left out for linear_cent and deci_cent. The book does not
        change. Raises ValueError (also for multivariate markets, which have no such message), LookupError.
        """
        ranges = _ranges(price_level_structure, price_ranges)
        msg = {"price_level_structure": price_level_structure, "price_ranges": ranges}
        self._check(market_ticker, "price_level_structure_updated", msg)
        with self._core.step():
            market = self._listing.market(market_ticker)
            market.tick = min(price_units(item["step"]) for item in ranges)
            market.facts.price_level_structure, market.facts.price_ranges = price_level_structure, ranges
            self._report(market, "price_level_structure_updated", msg)

    def update_metadata(self, /, market_ticker: str, **fields: Any) -> None:
        """Send ``metadata_updated`` with any of strike_type, floor_strike, cap_strike, custom_strike,
        yes_sub_title.

        Raises ValueError (also for multivariate markets), LookupError.
        """
        self._check(market_ticker, "metadata_updated", fields)
        with self._core.step():
            market = self._listing.market(market_ticker)
            market.facts.update(fields)
            self._report(market, "metadata_updated", fields)

    # -- events ----------------------------------------------------------------------------------------------
    def create_event(
        self,
        event_ticker: str,
        *,
        title: str | None = None,
        subtitle: str = "",
        collateral_return_type: str = "",
        series_ticker: str | None = None,
        exchange_index: int = 0,
        strike_date: int | None = None,
        strike_period: str | None = None,
    ) -> None:
        """Send ``event_lifecycle`` for a new event. Raises ValueError."""
        msg: dict[str, Any] = {
            "event_ticker": event_ticker,
            "exchange_index": exchange_index,
            "title": f"What about {event_ticker}?" if title is None else title,
            "subtitle": subtitle,
            "collateral_return_type": collateral_return_type,
            "series_ticker": event_ticker.partition("-")[0] if series_ticker is None else series_ticker,
        }
        if strike_date is not None:
            msg["strike_date"] = strike_date
        if strike_period is not None:
            msg["strike_period"] = strike_period
        schemas.check("event_lifecycle", msg)
        with self._core.step():
            self._listing.add_event(msg)
            self._core.publish(_channel(event_ticker), None, "event_lifecycle", lambda: msg)

    def update_event_fees(
        self, event_ticker: str, fee_type: str | None = None, fee_multiplier: float | int | None = None
    ) -> None:
        """Send ``event_fee_update``; None clears an override. Raises ValueError."""
        msg = {
            "event_ticker": event_ticker,
            "fee_type_override": fee_type,
            "fee_multiplier_override": fee_multiplier,
        }
        schemas.check("event_fee_update", msg)
        with self._core.step():
            self._core.publish("market_lifecycle_v2", None, "event_fee_update", lambda: msg)

    # -- under the lock, except _check -----------------------------------------------------------------------
    def _check(self, market_ticker: str, event_type: str, msg: Mapping[str, Any]) -> None:
        schemas.check(
            _channel(market_ticker), {"market_ticker": market_ticker, "event_type": event_type, **msg}
        )

    def _report(self, market: Market, event_type: str, msg: Mapping[str, Any]) -> None:
        channel = _channel(market.ticker)
        market.facts.updated_us = self._core.now_us()
        whole = {"market_ticker": market.ticker, "event_type": event_type, **msg}
        self._core.publish(channel, None, channel, lambda: whole)


def _need(market: Market, *statuses: str) -> None:
    if market.status not in statuses:
        raise ValueError(f"{market.ticker} is {market.status}, not {' or '.join(statuses)}")


def _multivariate(ticker: str) -> bool:
    return ticker.startswith(MULTIVARIATE)


def _channel(ticker: str) -> str:
    return "multivariate_market_lifecycle" if _multivariate(ticker) else "market_lifecycle_v2"


def _ranges(structure: str, ranges: Sequence[Mapping[str, str]] | None) -> list[dict[str, str]]:
    if ranges is not None:
        return [dict(item) for item in ranges]
    if structure not in STEPS:
        raise ValueError(f"price_ranges are needed for the price level structure {structure!r}")
    return [{"start": wire.price_text(0), "end": wire.price_text(DOLLAR), "step": STEPS[structure]}]
