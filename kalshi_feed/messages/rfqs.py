"""The messages about single RFQs and their quotes, on the communications channel: rfq_created, rfq_deleted,
quote_created, quote_accepted, quote_executed (PROTOCOL.md 6.11, 8).

Owns the types, their common base and the leg of a combo.

Every field may be None; a creator's id may be a placeholder that all hidden creators share. Here, ``*_ts``
are RFC 3339 strings. The wire's integers until 2026-03-12 are ``*_cents``, ``*_int`` (contracts) and
``*_centi_cents`` (1/10,000 dollar); the ``*_dollars`` came on 2025-10-09, the ``*_fp`` on 2026-01-22.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from msgspec import field

from .base import Id, Side, Time, ready_money, ready_price, ready_size, ready_time
from .flat import (
    STRICT,
    CountText,
    FlatMessage,
    MoneyText,
    OldCentiCents,
    OldCents,
    OldCount,
    Part,
    PriceText,
    TickerText,
)

__all__ = [
    "Communication",
    "Leg",
    "QuoteAccepted",
    "QuoteCreated",
    "QuoteExecuted",
    "RfqCreated",
    "RfqDeleted",
]


class Communication(FlatMessage, frozen=True, gc=False, kw_only=True):
    """Base of the communications channel's messages. Thread-safe: immutable."""


class Leg(Part, frozen=True, gc=False, kw_only=True):
    """One market of a combo, and which side of it. Thread-safe: immutable."""

    event_ticker: str | None = None
    market_ticker: str | None = None
    side: Side | None = None
    yes_settlement_value_dollars: MoneyText = None
    """What a yes contract of the leg paid, in dollars; only after its settlement."""

    @property
    def yes_settlement_value(self) -> Decimal | None:
        """What a yes contract of the leg paid, in dollars; None until it is settled."""
        return ready_money(self.yes_settlement_value_dollars)


class _Rfq(Communication, frozen=True, gc=False, kw_only=True):
    """An RFQ. Thread-safe: immutable."""

    id: str | None = None
    creator_id: str | None = None
    market_ticker: TickerText = None
    event_ticker: str | None = None
    contracts_fp: CountText = None
    """Contracts asked for; either this or ``target_cost_dollars``."""
    target_cost_dollars: MoneyText = None
    """Dollars to be spent."""
    contracts_int: OldCount = field(default=None, name="msg.contracts")
    target_cost_centi_cents: OldCentiCents = field(default=None, name="msg.target_cost")

    @property
    def contracts(self) -> Decimal | None:
        """Contracts asked for."""
        return ready_size(self.contracts_fp, self.contracts_int)

    @property
    def target_cost(self) -> Decimal | None:
        """Dollars to be spent."""
        return ready_money(self.target_cost_dollars, self.target_cost_centi_cents)


class RfqCreated(_Rfq, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_created"):
    """Someone asks for quotes. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_created"

    created_ts: Time = None
    mve_collection_ticker: str | None = None
    """Only for a combo."""
    mve_selected_legs: Annotated[tuple[Leg, ...] | None, STRICT] = None
    """Only for a combo."""

    @property
    def created_at(self) -> datetime | None:
        """When the RFQ was made, UTC."""
        return ready_time(None, self.created_ts)

    @property
    def time(self) -> datetime | None:
        """``created_at``."""
        return self.created_at


class RfqDeleted(_Rfq, frozen=True, gc=False, kw_only=True, tag_field="type", tag="rfq_deleted"):
    """An RFQ is no longer open. Thread-safe: immutable."""

    type: ClassVar[str] = "rfq_deleted"

    deleted_ts: Time = None

    @property
    def deleted_at(self) -> datetime | None:
        """When the RFQ was deleted, UTC."""
        return ready_time(None, self.deleted_ts)

    @property
    def time(self) -> datetime | None:
        """``deleted_at``."""
        return self.deleted_at


class _QuoteBody(Communication, frozen=True, gc=False, kw_only=True):
    """A quote for an RFQ. Thread-safe: immutable."""

    quote_id: str | None = None
    rfq_id: str | None = None
    quote_creator_id: str | None = None
    rfq_creator_id: str | None = None
    market_ticker: TickerText = None
    event_ticker: str | None = None
    subaccount: Id | None = None
    """Only on a subaccount's own quotes (since 2026-07-30; on accepted ones since 2026-03-26)."""
    yes_bid_dollars: PriceText = None
    """Dollars; 0 means no bid."""
    no_bid_dollars: PriceText = None
    """Dollars; 0 means no bid."""
    yes_contracts_offered_fp: CountText = None
    no_contracts_offered_fp: CountText = None
    rfq_target_cost_dollars: MoneyText = None
    """Dollars, if the RFQ has a target cost."""
    yes_bid_cents: OldCents = field(default=None, name="msg.yes_bid")
    no_bid_cents: OldCents = field(default=None, name="msg.no_bid")
    yes_contracts_offered_int: OldCount = field(default=None, name="msg.yes_contracts_offered")
    no_contracts_offered_int: OldCount = field(default=None, name="msg.no_contracts_offered")
    rfq_target_cost_centi_cents: OldCentiCents = field(default=None, name="msg.rfq_target_cost")

    @property
    def yes_bid(self) -> Decimal | None:
        """Dollars; 0 means no bid."""
        return ready_price(self.yes_bid_dollars, self.yes_bid_cents)

    @property
    def no_bid(self) -> Decimal | None:
        """Dollars; 0 means no bid."""
        return ready_price(self.no_bid_dollars, self.no_bid_cents)

    @property
    def yes_contracts_offered(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.yes_contracts_offered_fp, self.yes_contracts_offered_int)

    @property
    def no_contracts_offered(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.no_contracts_offered_fp, self.no_contracts_offered_int)

    @property
    def rfq_target_cost(self) -> Decimal | None:
        """Dollars, if the RFQ has a target cost."""
        return ready_money(self.rfq_target_cost_dollars, self.rfq_target_cost_centi_cents)


class QuoteCreated(_QuoteBody, frozen=True, gc=False, kw_only=True, tag_field="type", tag="quote_created"):
    """A quote for an RFQ that concerns you. Thread-safe: immutable."""

    type: ClassVar[str] = "quote_created"

    created_ts: Time = None

    @property
    def created_at(self) -> datetime | None:
        """When the quote was made, UTC."""
        return ready_time(None, self.created_ts)

    @property
    def time(self) -> datetime | None:
        """``created_at``."""
        return self.created_at


class QuoteAccepted(_QuoteBody, frozen=True, gc=False, kw_only=True, tag_field="type", tag="quote_accepted"):
    """A quote was accepted. It has no timestamp. Thread-safe: immutable."""

    type: ClassVar[str] = "quote_accepted"

    accepted_side: Side | None = None
    contracts_accepted_fp: CountText = None
    contracts_accepted_int: OldCount = field(default=None, name="msg.contracts_accepted")

    @property
    def contracts_accepted(self) -> Decimal | None:
        """Contracts."""
        return ready_size(self.contracts_accepted_fp, self.contracts_accepted_int)


class QuoteExecuted(
    Communication, frozen=True, gc=False, kw_only=True, tag_field="type", tag="quote_executed"
):
    """An accepted quote became an order. Thread-safe: immutable."""

    type: ClassVar[str] = "quote_executed"

    quote_id: str | None = None
    rfq_id: str | None = None
    quote_creator_id: str | None = None
    rfq_creator_id: str | None = None
    order_id: str | None = None
    client_order_id: str | None = None
    market_ticker: TickerText = None
    executed_ts: Time = None
    subaccount: Id | None = None
    """Only if it was for a subaccount (since 2026-03-26)."""
    rfq_batch_id: str | None = None
    """Only if the RFQ was part of a batch (since 2026-10-22)."""

    @property
    def executed_at(self) -> datetime | None:
        """When the quote was executed, UTC."""
        return ready_time(None, self.executed_ts)

    @property
    def time(self) -> datetime | None:
        """``executed_at``."""
        return self.executed_at
