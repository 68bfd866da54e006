"""The pytest plugin of this package (entry point ``pytest11``): the fixture ``kalshi_exchange``.

Imports nothing that the extra ``simulator`` brings until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .exchange import Exchange


@pytest.fixture
def kalshi_exchange() -> Iterator[Exchange]:
    """A started loopback exchange of this test's own, with the quiet markets KXSIM-A and KXSIM-B; closed
    after the test.
    """
    from . import Exchange

    with Exchange(markets=("KXSIM-A", "KXSIM-B")) as exchange:
        yield exchange
