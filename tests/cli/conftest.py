"""A moving exchange for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange

from .support import Access


@pytest.fixture(scope="package")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with Exchange(markets=("KX-A", "KX-B"), rate=200, seed=1) as exchange:
        yield Access(exchange, tmp_path_factory.mktemp("access"))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Access]:
    """An exchange that one test alone may spoil."""
    with Exchange(markets=("KX-A",), seed=1) as exchange:
        yield Access(exchange, tmp_path)
