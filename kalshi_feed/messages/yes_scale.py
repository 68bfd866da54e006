"""The book messages of a subscription with use_yes_price: the wire's no prices are on the yes scale (0.30 is
sent as 0.70).

Owns two types that differ from those in messages.books by one class variable, so that remembering the scale
costs nothing per message. They have the same names, are instances of those types, and pickle by this module.
"""

from __future__ import annotations

from typing import ClassVar

from . import books

__all__ = ["OrderbookDelta", "OrderbookSnapshot"]


class OrderbookDelta(books.OrderbookDelta, frozen=True, gc=False, kw_only=True, tag="orderbook_delta"):
    """books.OrderbookDelta whose wire price is on the yes scale. Thread-safe: immutable."""

    use_yes_price: ClassVar[bool] = True


class OrderbookSnapshot(
    books.OrderbookSnapshot, frozen=True, gc=False, kw_only=True, tag="orderbook_snapshot"
):
    """books.OrderbookSnapshot whose wire no levels are on the yes scale. Thread-safe: immutable."""

    use_yes_price: ClassVar[bool] = True
