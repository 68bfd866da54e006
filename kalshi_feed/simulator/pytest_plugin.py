"""The pytest plugin of this package (entry point ``pytest11``): the fixture ``kalshi_exchange``.

Owns the fixture. Libraries of the extra ``simulator`` are imported once a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .exchange import Exchange


@pytest.fixture
def kalshi_exchange() -> Iterator[Exchange]:
    """A loopback exchange, started for this test and closed after it; its markets KXSIM-A and KXSIM-B do not
    move."""
    from . import Exchange

    with Exchange(markets=("KXSIM-A", "KXSIM-B")) as exchange:
        yield exchange
