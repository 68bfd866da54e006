"""The exchange's messages as frozen, typed objects, and the decoding of frames.

Owns what is on the wire, and nothing else: no socket, thread, clock or log.

    decode(frame) -> Message          one frame, all numbers checked; ProtocolError if it is not a message
    Decoder(use_yes_price)            the same for a connection's frames, and for many at once
    MESSAGE_TYPES, wire_fields(cls), ready_fields(cls)
                                      the class of each wire type, and the attributes of a class
    Message                           sid, seq, type, market_ticker, time, sent_at, extra, to_dict() …
      OrderbookSnapshot, OrderbookDelta, Ticker, Trade                               (books, market)
      Fill, UserOrder, MarketPosition, OrderGroupUpdate                              (account)
      MarketLifecycle, MultivariateMarketLifecycle, EventLifecycle, EventFeeUpdate   (lifecycle)
      Communication: RfqCreated, RfqDeleted, QuoteCreated, QuoteAccepted, QuoteExecuted   (rfqs)
                     RfqBatch…, BatchQuote…                                          (rfq_batches)
      IndexMessage: CfBenchmarksValue, CfBenchmarks5HzValue, PythValue               (indices)
      CfBenchmarksIndexList, CfBenchmarks5HzIndexList, PythUnderlyingList            (indices)
      TickerV2, MultivariateLookup    only in old recordings                         (retired)
      Reply: Subscribed, Unsubscribed, Ok, ErrorMessage                              (replies)
      UnknownMessage                  every other type

Names: a wire field keeps its name. Next to it is its ready value: a Decimal under the name without
``_dollars`` or ``_fp``, an aware datetime under the name without ``_ts_ms``, ``_ts``, ``_time`` or ``_date``
and with ``_at`` (``created_ts`` and ``created_ts_ms`` are ``created_at``). ``time`` is when the event
happened, ``sent_at`` when the frame was sent. If an integer of the old format had the ready value's name, it
is now ``…_cents``, ``…_int`` or ``…_centi_cents``. If a string has that name, the ready value gets another
one (``settlement_value``: ``settlement``; ``PriceRange.step``: ``tick``; ``IndexAverage.value``: ``average``;
``received_at``: ``received_time``; ``fee_cost``: ``fee``; ``value_usd``: ``value``). JSON numbers with a
fraction are Decimals themselves.

A new type is a FlatMessage (``flat``): each wire field is declared once, its annotation is its rule, and
``extra`` keeps the keys we do not know. The other way, a plain msgspec struct with a Body (``market``), is
several times as fast, skips unknown keys and has its checks written by hand. It is only for replies, and for
types that come by the thousand per second: today orderbook_snapshot, orderbook_delta, ticker and trade.
"""

from __future__ import annotations

from .account import Fill, MarketPosition, OrderGroupUpdate, UserOrder
from .base import Message, UnknownMessage
from .books import OrderbookDelta, OrderbookSnapshot
from .decoder import MESSAGE_TYPES, Decoder, decode, undecodable
from .describe import ready_fields, wire_fields
from .indices import (
    CfBenchmarks5HzIndexList,
    CfBenchmarks5HzValue,
    CfBenchmarksIndexList,
    CfBenchmarksValue,
    IndexAverage,
    IndexMessage,
    PythUnderlyingList,
    PythValue,
)
from .lifecycle import (
    EventFeeUpdate,
    EventLifecycle,
    MarketLifecycle,
    MarketMetadata,
    MultivariateMarketLifecycle,
    PriceRange,
)
from .market import Ticker, Trade
from .replies import ErrorMessage, ListSubscriptions, Ok, Reply, Subscribed, Unsubscribed
from .retired import MultivariateLookup, TickerV2
from .rfq_batches import (
    BatchQuote,
    BatchQuoteAccepted,
    BatchQuoteCreated,
    BatchQuoteExecuted,
    BatchRfq,
    BestQuote,
    RfqBatchBestQuotes,
    RfqBatchCreated,
    RfqBatchDeleted,
    RfqBatchExecuted,
)
from .rfqs import (
    Communication,
    Leg,
    QuoteAccepted,
    QuoteCreated,
    QuoteExecuted,
    RfqCreated,
    RfqDeleted,
)
from .values import Level

__all__ = [
    "MESSAGE_TYPES",
    "BatchQuote",
    "BatchQuoteAccepted",
    "BatchQuoteCreated",
    "BatchQuoteExecuted",
    "BatchRfq",
    "BestQuote",
    "CfBenchmarks5HzIndexList",
    "CfBenchmarks5HzValue",
    "CfBenchmarksIndexList",
    "CfBenchmarksValue",
    "Communication",
    "Decoder",
    "ErrorMessage",
    "EventFeeUpdate",
    "EventLifecycle",
    "Fill",
    "IndexAverage",
    "IndexMessage",
    "Leg",
    "Level",
    "ListSubscriptions",
    "MarketLifecycle",
    "MarketMetadata",
    "MarketPosition",
    "Message",
    "MultivariateLookup",
    "MultivariateMarketLifecycle",
    "Ok",
    "OrderGroupUpdate",
    "OrderbookDelta",
    "OrderbookSnapshot",
    "PriceRange",
    "PythUnderlyingList",
    "PythValue",
    "QuoteAccepted",
    "QuoteCreated",
    "QuoteExecuted",
    "Reply",
    "RfqBatchBestQuotes",
    "RfqBatchCreated",
    "RfqBatchDeleted",
    "RfqBatchExecuted",
    "RfqCreated",
    "RfqDeleted",
    "Subscribed",
    "Ticker",
    "TickerV2",
    "Trade",
    "UnknownMessage",
    "Unsubscribed",
    "UserOrder",
    "decode",
    "ready_fields",
    "undecodable",
    "wire_fields",
]
