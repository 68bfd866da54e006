from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kalshi_feed.dispatch import Dispatcher

from .support import soon

Make = Callable[..., Dispatcher]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes dispatchers, and closes them after the test."""
    made: list[Dispatcher] = []

    def build(start: bool = True, **settings: Any) -> Dispatcher:
        settings.setdefault("view_of", lambda ticker: ticker)
        dispatcher = Dispatcher(**settings)
        made.append(dispatcher)
        if start:
            dispatcher.start()
        return dispatcher

    yield build
    for dispatcher in made:
        dispatcher.close(soon(5.0))


@pytest.fixture
def short_switches() -> Iterator[None]:
    """Makes threads switch as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
