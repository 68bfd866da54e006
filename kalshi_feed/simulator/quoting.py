"""The ``communications`` channel: RFQs, quotes, batches, and their execution (PROTOCOL.md 6.11).

Owns the open requests and quotes. A quote is private to its requester and its maker, and the account is
always one of the two: the quotes on its own requests come from other traders, and the quotes on other
traders' requests are its own. Which of the two gets which message of a batch is inferred from the fields: the
requester gets the best quotes and ``rfq_batch_executed``, the maker gets the ``batch_quote_...`` messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from . import wire
from .core import Core
from .listing import Listing
from .markets import SIDES, known_side, other
from .matching import Matching
from .portfolio import Order, Portfolio, yes_price
from .rfqs import HIDDEN_ID, OTHER_MAKER_ID, MakerBatchQuote, Quote, Rfq, RfqBatch, new_id
from .wire import DOLLAR, Number, money_units, price_units, size_units

Leg = tuple[str, str]  # market ticker, side


class Quoting:
    """Requests and quotes of the account and of others. Thread-safe."""

    def __init__(self, core: Core, listing: Listing, matching: Matching, portfolio: Portfolio) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching
        self._portfolio = portfolio
        self._rfqs: dict[str, Rfq] = {}
        self._quotes: dict[str, Quote] = {}
        self._batches: dict[str, RfqBatch] = {}
        self._batch_quotes: dict[str, MakerBatchQuote] = {}

    # -- single requests -------------------------------------------------------------------------------------
    def create_rfq(
        self,
        market_ticker: str,
        *,
        contracts: Number | None = None,
        target_cost: Number | None = None,
        own: bool = True,
        legs: Sequence[Leg] = (),
        collection_ticker: str | None = None,
        subaccount: int = 0,
    ) -> str:
        """Create a request for ``contracts``, or for contracts of a ``target_cost`` (dollars); returns its
        rfq_id.

        ``own``: the account asks; False: another trader does, whose id is hidden. ``legs``: (market ticker,
        side) of a combo. Raises ValueError, LookupError for an unknown market.
        """
        with self._core.step():
            rfq = self._new_rfq(market_ticker, own, contracts, target_cost, collection_ticker, subaccount)
            rfq.legs = [self._leg(*leg) for leg in legs]
            self._rfqs[rfq.rfq_id] = rfq
            msg = rfq.message(self._requester_id(own), "created_ts", self._time())
            self._send("rfq_created", rfq.key, own, msg, request=True)
        return rfq.rfq_id

    def delete_rfq(self, rfq_id: str) -> None:
        """Withdraw a request. Raises LookupError if it is not open."""
        with self._core.step():
            rfq = self._open_rfq(rfq_id)
            rfq.open = False
            msg = rfq.message(self._requester_id(rfq.own), "deleted_ts", self._time())
            self._send("rfq_deleted", rfq.key, rfq.own, msg, request=True)

    def quote(self, rfq_id: str, yes_bid: Number = 0, no_bid: Number = 0, *, subaccount: int = 0) -> str:
        """Quote a maker's bids for a request (0: no bid for that outcome); returns the quote_id.

        ``subaccount``: the account's, when it is the maker. Raises ValueError, LookupError.
        """
        with self._core.step():
            rfq = self._open_rfq(rfq_id)
            quote = self._new_quote(rfq, yes_bid, no_bid, subaccount)
            msg = {**quote.offers(), **self._parties(quote), "created_ts": self._time()}
            self._send("quote_created", rfq.key, rfq.own, msg)
        return quote.quote_id

    def accept(self, quote_id: str, side: str = "yes") -> None:
        """Have the requester accept the bid for ``side``: the maker will gain that outcome.

        Raises ValueError, LookupError.
        """
        with self._core.step():
            quote = self._open_quote(quote_id)
            self._accept(quote, known_side(side))
            msg = {**quote.accepted_offers(), **self._parties(quote), "accepted_side": side}
            self._send("quote_accepted", quote.rfq.key, quote.rfq.own, msg)

    def execute(self, quote_id: str) -> str:
        """Carry out an accepted quote: a trade, the account's order, fill and position. Returns the order_id.

        The request is closed; no message reports that. Raises ValueError if it is not accepted, LookupError.
        """
        with self._core.step():
            quote = self._open_quote(quote_id)
            if quote.accepted_side is None:
                raise ValueError(f"quote {quote_id} is not accepted: use accept first")
            return self._execute_quote(quote)

    # -- batches ---------------------------------------------------------------------------------------------
    def create_rfq_batch(
        self,
        rfqs: Mapping[str, Sequence[Leg]],
        *,
        contracts: Number | None = None,
        target_cost: Number | None = None,
        own: bool = True,
        client_batch_id: str | None = None,
        collection_ticker: str | None = None,
        subaccount: int = 0,
    ) -> str:
        """Create a request of one size for each of these combo markets with its legs; returns the batch's id.

        Raises ValueError, LookupError for an unknown market.
        """
        if not rfqs:
            raise ValueError("a batch needs at least one request")
        legs = list(dict.fromkeys(leg for chosen in rfqs.values() for leg in chosen))
        with self._core.step():
            batch = RfqBatch(own, [self._leg(*leg) for leg in legs], client_batch_id, subaccount)
            for ticker, chosen in rfqs.items():
                rfq = self._new_rfq(ticker, own, contracts, target_cost, collection_ticker, subaccount)
                rfq.batch, rfq.leg_indices = batch, [legs.index(leg) for leg in chosen]
                batch.rfqs.append(rfq)
            self._rfqs.update((rfq.rfq_id, rfq) for rfq in batch.rfqs)
            self._batches[batch.batch_id] = batch
            msg = batch.created(self._requester_id(own), self._time())
            self._send("rfq_batch_created", batch.batch_id, own, msg, request=True)
        return batch.batch_id

    def batch_rfq_ids(self, batch_id: str) -> dict[str, str]:
        """The rfq_id of each market ticker of a batch. Raises LookupError."""
        with self._core.lock:
            return {rfq.market_ticker: rfq.rfq_id for rfq in self._batch(batch_id).rfqs}

    def delete_rfq_batch(self, batch_id: str) -> None:
        """Withdraw a batch and those of its requests that are open. Raises LookupError."""
        with self._core.step():
            batch = self._batch(batch_id)
            del self._batches[batch_id]
            ids = [rfq.rfq_id for rfq in batch.rfqs if rfq.open]
            for rfq in batch.rfqs:
                rfq.open = False
            msg = {
                "id": batch_id,
                "creator_id": self._requester_id(batch.own),
                "rfq_ids": ids,
                "deleted_ts": self._time(),
            }
            self._send("rfq_batch_deleted", batch_id, batch.own, msg, request=True)

    def quote_batch(
        self, batch_id: str, bids: Mapping[str, tuple[Number, Number]], *, subaccount: int = 0
    ) -> str:
        """Quote a maker's (yes, no) bids for market tickers of a batch; returns the batch_quote_id.

        The maker gets ``batch_quote_created``, the requester ``rfq_batch_best_quotes``. Raises ValueError,
        LookupError.
        """
        with self._core.step():
            batch = self._batch(batch_id)
            by_ticker = {rfq.market_ticker: rfq for rfq in batch.rfqs if rfq.open}
            unknown = set(bids) - set(by_ticker)
            if unknown or not bids:
                raise LookupError(
                    f"the batch has open requests for {sorted(by_ticker)}, not for {sorted(unknown)}"
                )
            quotes = [self._new_quote(by_ticker[ticker], *pair, subaccount) for ticker, pair in bids.items()]
            made = MakerBatchQuote(batch, quotes, subaccount)
            self._batch_quotes[made.batch_quote_id] = made
            batch.quotes.append(made)
            if batch.own:
                msg = batch.best_quotes(self._time())
                self._send("rfq_batch_best_quotes", batch_id, True, msg, request=True)
            else:
                msg = {
                    "batch_quote_id": made.batch_quote_id,
                    "rfq_batch_id": batch_id,
                    "quote_creator_id": self._maker_id(batch.own),
                    "created_ts": self._time(),
                    "quotes": [quote.offers() for quote in quotes],
                    "subaccount": subaccount,
                }
                self._send("batch_quote_created", batch_id, False, msg)
        return made.batch_quote_id

    def accept_batch(self, batch_quote_id: str, side: str = "yes") -> None:
        """Have the requester accept every bid for ``side`` of the batch; only the maker gets a message.

        Raises ValueError if there is no such bid, LookupError.
        """
        with self._core.step():
            made = self._batch_quote(batch_quote_id)
            chosen = [quote for quote in made.quotes if quote.bids[known_side(side)] and quote.rfq.open]
            if not chosen:
                raise ValueError(f"batch quote {batch_quote_id} has no bid for {side}")
            for quote in chosen:
                self._accept(quote, side)
            made.accepted = chosen
            msg = {
                "batch_quote_id": batch_quote_id,
                "rfq_batch_id": made.batch.batch_id,
                "quote_creator_id": self._maker_id(made.batch.own),
                "rfq_creator_id": self._requester_id(made.batch.own),
                "accepted_side": side,
                "accepted_ts": self._time(),
                "quotes": [quote.accepted_offers() for quote in chosen],
                "subaccount": made.subaccount,
            }
            if not made.batch.own:
                self._send("batch_quote_accepted", made.batch.batch_id, False, msg)

    def execute_batch(self, batch_quote_id: str, failed: Sequence[str] = ()) -> list[str]:
        """Carry out an accepted batch quote, except for the market tickers in ``failed``; returns the
        order_ids.

        Each request's ``quote_executed`` comes first. Raises ValueError if it is not accepted, LookupError.
        """
        with self._core.step():
            made = self._batch_quote(batch_quote_id)
            batch = made.batch
            if not made.accepted:
                raise ValueError(f"batch quote {batch_quote_id} is not accepted: use accept_batch first")
            del self._batch_quotes[batch_quote_id]
            orders = [
                self._execute_quote(quote) for quote in made.accepted if quote.rfq.market_ticker not in failed
            ]
            lost = [quote.rfq.rfq_id for quote in made.accepted if quote.rfq.market_ticker in failed]
            msg = made.executed(self._requester_id(batch.own), lost, self._time())
            if batch.own:
                msg |= batch.requester()
                self._send("rfq_batch_executed", batch.batch_id, True, msg, request=True)
            else:
                msg |= {"batch_quote_id": batch_quote_id, "subaccount": made.subaccount}
                self._send("batch_quote_executed", batch.batch_id, False, msg)
        return orders

    # -- under the lock --------------------------------------------------------------------------------------
    def _send(self, type_: str, key: str, own: bool, msg: dict[str, Any], *, request: bool = False) -> None:
        """Send to the subscriptions to that shard; ``own`` and ``request`` as in
        ``OpenChannel.wants_communication``."""
        listeners = self._core.subscribed("communications")
        self._core.send(
            [pair for pair in listeners if pair[1].wants_communication(key, own, request)], type_, lambda: msg
        )

    def _time(self) -> str:
        return wire.go_time(self._core.now_us())

    def _own_id(self) -> str:
        return hashlib.sha256(self._portfolio.user_id.encode()).hexdigest()

    def _requester_id(self, own: bool) -> str:
        return self._own_id() if own else HIDDEN_ID

    def _maker_id(self, own_request: bool) -> str:
        return OTHER_MAKER_ID if own_request else self._own_id()

    def _parties(self, quote: Quote) -> dict[str, Any]:
        own = quote.rfq.own
        return {
            "quote_creator_id": self._maker_id(own),
            "rfq_creator_id": self._requester_id(own),
            "subaccount": quote.rfq.subaccount if own else quote.subaccount,
        }

    def _leg(self, market_ticker: str, side: str) -> dict[str, Any]:
        market = self._listing.find(market_ticker)
        event = market_ticker.rpartition("-")[0] if market is None else market.event_ticker
        return {"event_ticker": event, "market_ticker": market_ticker, "side": known_side(side)}

    def _new_rfq(
        self,
        ticker: str,
        own: bool,
        contracts: Number | None,
        target_cost: Number | None,
        collection_ticker: str | None,
        subaccount: int,
    ) -> Rfq:
        if (contracts is None) == (target_cost is None):
            raise ValueError("an RFQ needs either contracts or target_cost")
        count = None if contracts is None else size_units(contracts)
        cost = None if target_cost is None else money_units(target_cost)
        if (count or cost or 0) <= 0:
            raise ValueError("contracts and target_cost must be above zero")
        event = self._listing.market(ticker).event_ticker
        return Rfq(ticker, event, own, count, cost, subaccount, collection_ticker)

    def _new_quote(self, rfq: Rfq, yes_bid: Number, no_bid: Number, subaccount: int) -> Quote:
        bids = dict(zip(SIDES, (price_units(yes_bid), price_units(no_bid)), strict=True))
        if not 0 < sum(bids.values()) <= DOLLAR or DOLLAR in bids.values():
            raise ValueError(f"a quote needs bids below 1 whose sum is above 0 and at most 1, got {bids!r}")
        if not all(rfq.offered(bid) for bid in bids.values() if bid):
            raise ValueError(f"the target_cost buys less than 0.01 contract at these bids: {bids!r}")
        quote = Quote(rfq, bids, subaccount)
        self._quotes[quote.quote_id] = quote
        return quote

    def _accept(self, quote: Quote, side: str) -> None:
        bid = quote.bids[side]
        if not bid or quote.accepted_side is not None:
            raise ValueError(f"quote {quote.quote_id} has no bid for {side}, or is accepted already")
        quote.accepted_side, quote.accepted = side, quote.rfq.offered(bid)

    def _execute_quote(self, quote: Quote) -> str:
        rfq, side = quote.rfq, quote.accepted_side
        assert side is not None
        market, bid = self._listing.market(rfq.market_ticker), quote.bids[side]
        requester = other(side)
        gained, price = (requester, DOLLAR - bid) if rfq.own else (side, bid)
        order = Order(
            rfq.market_ticker,
            gained,
            price,
            quote.accepted,
            self._core.now_us(),
            exchange_index=market.exchange_index,
            client_order_id=new_id(),
            subaccount=rfq.subaccount if rfq.own else quote.subaccount,
        )
        self._portfolio.add(order)
        trade_id = self._listing.trade(market, requester, yes_price(side, bid), quote.accepted)
        self._matching.execute(market, order, price, quote.accepted, rfq.own, trade_id)
        rfq.open = False
        msg = {
            "quote_id": quote.quote_id,
            "rfq_id": rfq.rfq_id,
            "order_id": order.order_id,
            "client_order_id": order.client_order_id,
            "market_ticker": rfq.market_ticker,
            "executed_ts": self._time(),
            **self._parties(quote),
        }
        if rfq.batch is not None:
            msg["rfq_batch_id"] = rfq.batch.batch_id
        self._send("quote_executed", rfq.key, rfq.own, msg)
        return order.order_id

    def _open_rfq(self, rfq_id: str) -> Rfq:
        rfq = self._rfqs.get(rfq_id)
        if rfq is None or not rfq.open or rfq.batch is not None:
            raise LookupError(f"there is no open request {rfq_id!r} (requests of a batch do not count)")
        return rfq

    def _open_quote(self, quote_id: str) -> Quote:
        quote = self._quotes.get(quote_id)
        if quote is None or not quote.rfq.open or quote.rfq.batch is not None:
            raise LookupError(f"there is no open quote {quote_id!r} (quotes of a batch do not count)")
        return quote

    def _batch(self, batch_id: str) -> RfqBatch:
        try:
            return self._batches[batch_id]
        except KeyError:
            raise LookupError(f"there is no batch {batch_id!r}") from None

    def _batch_quote(self, batch_quote_id: str) -> MakerBatchQuote:
        made = self._batch_quotes.get(batch_quote_id)
        if made is None or made.batch.batch_id not in self._batches:
            raise LookupError(f"there is no open batch quote {batch_quote_id!r}")
        return made
