"""The communications channel: RFQs, quotes and their batches."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import TypeVar

import pytest

from kalshi_feed.messages import (
    BatchQuoteAccepted,
    BatchQuoteCreated,
    BatchQuoteExecuted,
    Communication,
    Message,
    QuoteAccepted,
    QuoteCreated,
    QuoteExecuted,
    RfqBatchBestQuotes,
    RfqBatchCreated,
    RfqBatchDeleted,
    RfqBatchExecuted,
    RfqCreated,
    RfqDeleted,
    decode,
)

from .frames import FLAT, text

M = TypeVar("M", bound=Message)


def of(cls: type[M]) -> M:
    message = decode(text(FLAT[cls.type]))
    assert isinstance(message, cls)
    return message


def utc(minute: int, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2024, 12, 1, 10, minute, second, microsecond, tzinfo=timezone.utc)


COMMUNICATIONS: dict[type[Communication], datetime | None] = {
    RfqCreated: utc(0),
    RfqDeleted: utc(5),
    QuoteCreated: utc(2),
    QuoteAccepted: None,
    QuoteExecuted: utc(5, 0, 123456),
    RfqBatchCreated: utc(0),
    RfqBatchDeleted: utc(5),
    BatchQuoteCreated: utc(2),
    RfqBatchBestQuotes: utc(2, 30),
    BatchQuoteAccepted: utc(3),
    RfqBatchExecuted: utc(3, 5),
    BatchQuoteExecuted: utc(3, 5),
}


@pytest.mark.parametrize(
    ("cls", "time"), COMMUNICATIONS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_common(cls: type[Communication], time: datetime | None) -> None:
    message = of(cls)
    assert isinstance(message, Communication)
    assert message.time == time
    assert message.market_ticker == (None if "Batch" in cls.__name__ else "MARKET-A")


def test_times_that_cannot_be_read() -> None:
    message = decode(text(FLAT["rfq_created"], created_ts="yesterday"))
    assert isinstance(message, RfqCreated)
    assert (message.created_ts, message.created_at, message.time) == ("yesterday", None, None)


def test_rfq() -> None:
    created, deleted = of(RfqCreated), of(RfqDeleted)
    for rfq in (created, deleted):
        assert (rfq.id, rfq.contracts, rfq.target_cost) == ("rfq-1", Decimal(100), Decimal("0.35"))
    legs = created.mve_selected_legs
    assert legs is not None
    assert [(leg.market_ticker, leg.side, leg.yes_settlement_value) for leg in legs] == [
        ("MARKET-A", "no", Decimal(1)),
        ("MARKET-B", "yes", None),
    ]


def test_quotes() -> None:
    for quote in (of(QuoteCreated), of(QuoteAccepted)):
        assert (str(quote.yes_bid), str(quote.no_bid)) == ("0.3500", "0.6500")
        assert (quote.yes_contracts_offered, quote.no_contracts_offered) == (Decimal(100), Decimal(200))
        assert (quote.rfq_target_cost, quote.subaccount) == (Decimal("0.35"), 3)
    accepted, executed = of(QuoteAccepted), of(QuoteExecuted)
    assert (accepted.accepted_side, accepted.contracts_accepted) == ("yes", Decimal(50))
    assert (executed.order_id, executed.rfq_batch_id) == ("order-1", "batch-1")


def test_rfq_batch() -> None:
    created, deleted = of(RfqBatchCreated), of(RfqBatchDeleted)
    assert created.legs is not None
    assert created.rfqs is not None
    first, second = created.rfqs
    assert (first.contracts, first.target_cost, first.leg_indices, first.mve_collection_ticker) == (
        Decimal(100),
        Decimal("0.35"),
        (0, 1),
        "COMBO",
    )
    assert [created.legs[index].event_ticker for index in first.leg_indices or ()] == ["EVENT-A", "EVENT-B"]
    assert (second.contracts, second.target_cost, second.leg_indices) == (None, None, ())
    assert deleted.rfq_ids == ("rfq-1", "rfq-2")


def test_batch_quotes() -> None:
    created, best, accepted = of(BatchQuoteCreated), of(RfqBatchBestQuotes), of(BatchQuoteAccepted)
    assert created.quotes is not None
    assert best.rfqs is not None
    assert accepted.quotes is not None
    for quote in (created.quotes[0], best.rfqs[0], accepted.quotes[0]):
        assert (quote.yes_bid, quote.no_bid) == (Decimal("0.35"), Decimal("0.65"))
        assert (quote.yes_contracts_offered, quote.no_contracts_offered) == (Decimal(100), Decimal(200))
        assert quote.rfq_target_cost == Decimal("0.35")
    assert created.quotes[1].yes_bid is created.quotes[1].contracts_accepted is None
    assert (best.version, best.yes_complete, best.no_complete, best.rfqs[0].contracts) == (
        7,
        False,
        True,
        Decimal("6.25"),
    )
    assert (accepted.accepted_side, accepted.quotes[0].contracts_accepted) == ("no", Decimal(20))


def test_batches_executed() -> None:
    rfq, quote = of(RfqBatchExecuted), of(BatchQuoteExecuted)
    assert (rfq.executed_rfq_ids, rfq.failed_rfq_ids, rfq.close_reason) == (
        ("rfq-1",),
        ("rfq-2",),
        "partially executed",
    )
    assert (rfq.client_batch_id, quote.batch_quote_id, quote.failed_rfq_ids) == (
        "my-batch",
        "batch-quote-1",
        (),
    )
