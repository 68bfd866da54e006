"""The book messages of a subscription made with use_yes_price: no prices on the wire are on the yes scale
(0.30 is sent as 0.70).

Owns two types that differ from those of messages.books in one class variable, so that which scale it was
costs nothing per message. They bear the same names, are instances of them, and pickle by this module's path.
Must not import anything of the package but messages.books.
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
    """books.OrderbookSnapshot whose no levels on the wire are on the yes scale. Thread-safe: immutable."""

    use_yes_price: ClassVar[bool] = True
