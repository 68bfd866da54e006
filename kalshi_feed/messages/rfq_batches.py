"""The messages about batches of RFQs, on the communications channel since 2026-10-26: rfq_batch_created,
rfq_batch_deleted, batch_quote_created, rfq_batch_best_quotes, batch_quote_accepted, rfq_batch_executed,
batch_quote_executed (PROTOCOL.md 6.11).

Owns the types. They are about several markets: ``market_ticker`` is None, and each RFQ or quote inside has
its own. Every field may be None; ``*_ts`` are RFC 3339 strings.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from .base import Id, Side, Time, ready_money, ready_price, ready_size, ready_time
from .flat import STRICT, CountText, MoneyText, Part, PriceText
from .rfqs import Communication, Leg

__all__ = [
    "BatchQuote",
    "BatchQuoteAccepted",
    "BatchQuoteCreated",
    "BatchQuoteExecuted",
    "BatchRfq",
    "BestQuote",
    "RfqBatchBestQuotes",
    "RfqBatchCreated",
    "RfqBatchDeleted",
    "RfqBatchExecuted",
]


class BatchRfq(Part, frozen=True, gc=False, kw_only=True):
    """One RFQ of a batch. Thread-safe: immutable."""

    id: str | None = None
    market_ticker: str | None = None
    event_ticker: str | None = None
    contracts_fp: CountText = None
    """Contracts asked for; either this or ``target_cost_dollars``."""
    target_cost_dollars: MoneyText = None
    """Dollars to be spent."""
    mve_collection_ticker: str | None = None
    leg_indices: tuple[Id, ...] | None = None
    """The indices of its legs in the batch's ``legs``, from 0."""

    @property
    def contracts(self) -> Decimal | None:
        """Contracts asked for."""
        return ready_size(self.contracts_fp)

    @property
    def target_cost(self) -> Decimal | None:
        """Dollars to be spent."""
        return ready_money(self.target_cost_dollars)


class _Quote(Part, frozen=True, gc=False, kw_only=True):
    """The two bids for one RFQ of a batch. Thread-safe: immutable."""

    rfq_id: str | None = None
    market_ticker: str | None = None
    event_ticker: str | None = None
    yes_bid_dollars: PriceText = None
    """Dollars; 0 or None means no bid."""
    no_bid_dollars: PriceText = None
    """Dollars; 0 or None means no bid."""
    yes_contracts_offered_fp: CountText = None
    no_contracts_offered_fp: CountText = None
    rfq_target_cost_dollars: MoneyText = None
    """Dollars, if the RFQ has a target cost."""

    @property
    def yes_bid(self) -> Decimal | None:
        """Dollars; 0 or None means no bid."""
        return ready_price(self.yes_bid_dollars)

    @property
    def no_bid(self) -> Decimal | None:
        """Dollars; 0 or None means no bid."""
        return ready_price(self.no_bid_dollars)

    @property
    def yes_contracts_offered(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.yes_contracts_offered_fp)

    @property
    def no_contracts_offered(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.no_contracts_offered_fp)

    @property
    def rfq_target_cost(self) -> Decimal | None:
        """Dollars, if the RFQ has a target cost."""
        return ready_money(self.rfq_target_cost_dollars)


class BatchQuote(_Quote, frozen=True, gc=False, kw_only=True):
    """The quote for one RFQ of a batch. Thread-safe: immutable."""

    quote_id: str | None = None
    contracts_accepted_fp: CountText = None
    """Only in a batch_quote_accepted."""

    @property
    def contracts_accepted(self) -> Decimal | None:
        """Contracts; only in a batch_quote_accepted."""
        return ready_size(self.contracts_accepted_fp)


class BestQuote(_Quote, frozen=True, gc=False, kw_only=True):
    """The best bids for one RFQ of a batch. Thread-safe: immutable."""

    contracts_fp: CountText = None
    """Contracts asked for, if the RFQ names them."""

    @property
    def contracts(self) -> Decimal | None:
        """Contracts asked for, if the RFQ names them."""
        return ready_size(self.contracts_fp)


class RfqBatchCreated(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_batch_created"
):
    """Someone asks for quotes on several combos at once. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_batch_created"

    id: str | None = None
    creator_id: str | None = None
    created_ts: Time = None
    legs: Annotated[tuple[Leg, ...] | None, STRICT] = None
    """All legs of the batch; each RFQ refers to its own by index."""
    rfqs: Annotated[tuple[BatchRfq, ...] | None, STRICT] = None

    @property
    def created_at(self) -> datetime | None:
        """When the batch was made, UTC."""
        return ready_time(None, self.created_ts)

    @property
    def time(self) -> datetime | None:
        """``created_at``."""
        return self.created_at


class RfqBatchDeleted(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_batch_deleted"
):
    """A batch of RFQs is no longer open. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_batch_deleted"

    id: str | None = None
    creator_id: str | None = None
    rfq_ids: tuple[str, ...] | None = None
    deleted_ts: Time = None

    @property
    def deleted_at(self) -> datetime | None:
        """When the batch was deleted, UTC."""
        return ready_time(None, self.deleted_ts)

    @property
    def time(self) -> datetime | None:
        """``deleted_at``."""
        return self.deleted_at


class BatchQuoteCreated(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="batch_quote_created"
):
    """A quote for a batch that concerns you. Thread-safe: immutable."""

    type: ClassVar[str] = "batch_quote_created"

    batch_quote_id: str | None = None
    rfq_batch_id: str | None = None
    quote_creator_id: str | None = None
    created_ts: Time = None
    quotes: Annotated[tuple[BatchQuote, ...] | None, STRICT] = None
    subaccount: Id | None = None
    """Only if it was for a subaccount."""

    @property
    def created_at(self) -> datetime | None:
        """When the quote was made, UTC."""
        return ready_time(None, self.created_ts)

    @property
    def time(self) -> datetime | None:
        """``created_at``."""
        return self.created_at


class RfqBatchBestQuotes(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_batch_best_quotes"
):
    """The best quotes for your batch; ignore one whose ``version`` is not higher. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_batch_best_quotes"

    rfq_batch_id: str | None = None
    client_batch_id: str | None = None
    """What you named the batch, if you did."""
    version: Annotated[Id | None, STRICT] = None
    """Grows with each change of the batch."""
    updated_ts: Time = None
    yes_complete: bool | None = None
    """Whether every RFQ has a yes bid."""
    no_complete: bool | None = None
    """Whether every RFQ has a no bid."""
    rfqs: Annotated[tuple[BestQuote, ...] | None, STRICT] = None
    subaccount: Id | None = None
    """Only if it was for a subaccount."""

    @property
    def updated_at(self) -> datetime | None:
        """When the best quotes last changed, UTC."""
        return ready_time(None, self.updated_ts)

    @property
    def time(self) -> datetime | None:
        """``updated_at``."""
        return self.updated_at


class BatchQuoteAccepted(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="batch_quote_accepted"
):
    """A quote for a batch was accepted. Thread-safe: immutable."""

    type: ClassVar[str] = "batch_quote_accepted"

    batch_quote_id: str | None = None
    rfq_batch_id: str | None = None
    quote_creator_id: str | None = None
    rfq_creator_id: str | None = None
    accepted_side: Side | None = None
    accepted_ts: Time = None
    quotes: Annotated[tuple[BatchQuote, ...] | None, STRICT] = None
    """Only the accepted ones."""
    subaccount: Id | None = None
    """Only if it was for a subaccount."""

    @property
    def accepted_at(self) -> datetime | None:
        """When the quote was accepted, UTC."""
        return ready_time(None, self.accepted_ts)

    @property
    def time(self) -> datetime | None:
        """``accepted_at``."""
        return self.accepted_at


class _Executed(Communication, frozen=True, gc=False, kw_only=True):
    """The outcome of an accepted batch. Thread-safe: immutable."""

    rfq_batch_id: str | None = None
    rfq_creator_id: str | None = None
    executed_rfq_ids: tuple[str, ...] | None = None
    failed_rfq_ids: tuple[str, ...] | None = None
    executed_ts: Time = None
    close_reason: str | None = None
    """ "executed", "execution failed" or "partially executed"; the exchange may add others."""
    subaccount: Id | None = None
    """Only if it was for a subaccount."""

    @property
    def executed_at(self) -> datetime | None:
        """When it was executed, UTC."""
        return ready_time(None, self.executed_ts)

    @property
    def time(self) -> datetime | None:
        """``executed_at``."""
        return self.executed_at


class RfqBatchExecuted(
    _Executed, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_batch_executed"
):
    """Your batch was executed, at least in part. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_batch_executed"

    client_batch_id: str | None = None
    """What you named the batch, if you did."""


class BatchQuoteExecuted(
    _Executed, frozen=True, gc=False, kw_only=True, tag_field="type", tag="batch_quote_executed"
):
    """Your quote for a batch was executed, at least in part. Thread-safe: immutable."""

    type: ClassVar[str] = "batch_quote_executed"

    batch_quote_id: str | None = None
