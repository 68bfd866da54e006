"""A pytest plugin that ends the run at once unless the package under test is the copy with the bug in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import kalshi_feed

NOT_THE_COPY = 9


def pytest_sessionstart() -> None:
    copy = Path(os.environ["KALSHI_SEEDED_COPY"]).resolve()
    if copy not in Path(kalshi_feed.__file__).resolve().parents:
        pytest.exit(f"{kalshi_feed.__file__} is not the copy in {copy}", NOT_THE_COPY)
