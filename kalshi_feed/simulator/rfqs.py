"""Requests for quotes, quotes and batches of them, and the messages that report them (PROTOCOL.md 6.11).

Owns what they are and how they are written. Pure data: times are arguments, as RFC 3339 strings.

A requester names contracts or a cost; a maker bids for yes, for no, or for both; the requester accepts one
bid. Then the maker gains that outcome at its bid, and the requester gains the other one at 1 - bid. A bid of
0 means no bid.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .markets import SIDES
from .wire import DOLLAR

HIDDEN_ID = hashlib.sha256(b"").hexdigest()  # all hidden creators of RFQs share it
OTHER_MAKER_ID = hashlib.sha256(b"another maker").hexdigest()


def new_id() -> str:
    """A new random id."""
    return str(uuid.uuid4())


@dataclass
class Rfq:
    """One request, alone or in a batch. Not thread-safe: the exchange's lock guards it."""

    market_ticker: str
    event_ticker: str
    own: bool  # whether the account asks, or another trader
    contracts: int | None = None
    target_cost: int | None = None
    subaccount: int = 0
    collection_ticker: str | None = None
    legs: list[dict[str, Any]] = field(default_factory=list)
    leg_indices: list[int] = field(default_factory=list)
    rfq_id: str = field(default_factory=new_id)
    batch: RfqBatch | None = None
    open: bool = True

    @property
    def key(self) -> str:
        """The string that decides the shard of its messages."""
        return self.market_ticker if self.batch is None else self.batch.batch_id

    def offered(self, bid: int) -> int:
        """How many contracts a bid is for: a cost buys them at 1 - bid."""
        if self.contracts is not None:
            return self.contracts
        return (self.target_cost or 0) // (DOLLAR - bid)

    def size(self) -> dict[str, Any]:
        """The field that says what is asked for: contracts or a cost."""
        if self.contracts is not None:
            return {"contracts_fp": wire.size_text(self.contracts)}
        return {"target_cost_dollars": wire.money_text(self.target_cost or 0)}

    def message(self, creator_id: str, time_field: str, time: str) -> dict[str, Any]:
        """The ``msg`` of an rfq_created or rfq_deleted."""
        msg: dict[str, Any] = {
            "id": self.rfq_id,
            "creator_id": creator_id,
            "market_ticker": self.market_ticker,
            "event_ticker": self.event_ticker,
            **self.size(),
            time_field: time,
        }
        if time_field == "created_ts" and self.collection_ticker is not None:
            msg["mve_collection_ticker"] = self.collection_ticker
        if time_field == "created_ts" and self.legs:
            msg["mve_selected_legs"] = self.legs
        return msg

    def child(self) -> dict[str, Any]:
        """Its entry in an rfq_batch_created."""
        msg = {
            "id": self.rfq_id,
            "market_ticker": self.market_ticker,
            "event_ticker": self.event_ticker,
            **self.size(),
            "leg_indices": self.leg_indices,
        }
        if self.collection_ticker is not None:
            msg["mve_collection_ticker"] = self.collection_ticker
        return msg


@dataclass
class Quote:
    """A maker's bids for one request. Not thread-safe: the exchange's lock guards it."""

    rfq: Rfq
    bids: dict[str, int]  # by side
    subaccount: int
    quote_id: str = field(default_factory=new_id)
    accepted_side: str | None = None
    accepted: int = 0  # contracts

    def offers(self) -> dict[str, Any]:
        """The fields that all messages of a quote share."""
        msg: dict[str, Any] = {
            "quote_id": self.quote_id,
            "rfq_id": self.rfq.rfq_id,
            "market_ticker": self.rfq.market_ticker,
            "event_ticker": self.rfq.event_ticker,
        }
        for side in SIDES:
            bid = self.bids[side]
            msg[f"{side}_bid_dollars"] = wire.price_text(bid)
            if bid:
                msg[f"{side}_contracts_offered_fp"] = wire.size_text(self.rfq.offered(bid))
        if self.rfq.target_cost is not None:
            msg["rfq_target_cost_dollars"] = wire.money_text(self.rfq.target_cost)
        return msg

    def accepted_offers(self) -> dict[str, Any]:
        """``offers`` and how many contracts were accepted."""
        return {**self.offers(), "contracts_accepted_fp": wire.size_text(self.accepted)}


@dataclass
class RfqBatch:
    """Requests that are made and executed together. Not thread-safe: the exchange's lock guards it."""

    own: bool
    legs: list[dict[str, Any]]
    client_batch_id: str | None
    subaccount: int
    rfqs: list[Rfq] = field(default_factory=list)
    quotes: list[MakerBatchQuote] = field(default_factory=list)
    batch_id: str = field(default_factory=new_id)
    version: int = 0  # of the best quotes

    def created(self, creator_id: str, time: str) -> dict[str, Any]:
        """The ``msg`` of an rfq_batch_created."""
        return {
            "id": self.batch_id,
            "creator_id": creator_id,
            "created_ts": time,
            "legs": self.legs,
            "rfqs": [rfq.child() for rfq in self.rfqs],
        }

    def best_quotes(self, time: str) -> dict[str, Any]:
        """The ``msg`` of the next version of rfq_batch_best_quotes."""
        self.version += 1
        entries = []
        complete = dict.fromkeys(SIDES, True)
        for rfq in self.rfqs:
            entry = {
                "rfq_id": rfq.rfq_id,
                "market_ticker": rfq.market_ticker,
                "event_ticker": rfq.event_ticker,
            }
            for side in SIDES:
                bids = (one.bids[side] for quote in self.quotes for one in quote.quotes if one.rfq is rfq)
                best = max(bids, default=0)
                complete[side] &= best > 0
                if best:
                    entry[f"{side}_bid_dollars"] = wire.price_text(best)
                    entry[f"{side}_contracts_offered_fp"] = wire.size_text(rfq.offered(best))
            if rfq.contracts is not None:
                entry["contracts_fp"] = wire.size_text(rfq.contracts)
            else:
                entry["rfq_target_cost_dollars"] = wire.money_text(rfq.target_cost or 0)
            entries.append(entry)
        return {
            "rfq_batch_id": self.batch_id,
            "version": self.version,
            "updated_ts": time,
            "yes_complete": complete["yes"],
            "no_complete": complete["no"],
            "rfqs": entries,
            **self.requester(),
        }

    def requester(self) -> dict[str, Any]:
        """The fields that only the requester gets."""
        msg: dict[str, Any] = {"subaccount": self.subaccount}
        if self.client_batch_id is not None:
            msg["client_batch_id"] = self.client_batch_id
        return msg


@dataclass
class MakerBatchQuote:
    """A maker's quotes for a batch. Not thread-safe: the exchange's lock guards it."""

    batch: RfqBatch
    quotes: list[Quote]
    subaccount: int
    batch_quote_id: str = field(default_factory=new_id)
    accepted: list[Quote] = field(default_factory=list)

    def executed(self, rfq_creator_id: str, failed: Sequence[str], time: str) -> dict[str, Any]:
        """The fields that rfq_batch_executed and batch_quote_executed share."""
        done = [quote.rfq.rfq_id for quote in self.accepted if quote.rfq.rfq_id not in failed]
        reason = "executed" if not failed else "partially executed" if done else "execution failed"
        return {
            "rfq_batch_id": self.batch.batch_id,
            "rfq_creator_id": rfq_creator_id,
            "executed_rfq_ids": done,
            "failed_rfq_ids": list(failed),
            "executed_ts": time,
            "close_reason": reason,
        }
