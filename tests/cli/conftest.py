"""A moving exchange for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalshi_feed.simulator import Exchange

from .support import Access


@pytest.fixture(scope="package")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with Exchange(markets=("KX-A", "KX-B"), rate=200, seed=1) as exchange:
        yield Access(exchange, tmp_path_factory.mktemp("access"))
