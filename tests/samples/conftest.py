"""An exchange for each test, which samples reach through the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    with Exchange(markets=("KX-A", "KX-B"), rate=300) as exchange:
        yield Access(exchange, tmp_path / "access")
