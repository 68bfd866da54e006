"""An exchange of each test's own, and an environment that names no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import Access


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("KALSHI_"):
            monkeypatch.delenv(name)


@pytest.fixture
def access(tmp_path: Path) -> Iterator[Access]:
    with Exchange(markets=("KX-A", "KX-B"), rate=200, seed=5) as exchange:
        yield Access(exchange, tmp_path / "access")
