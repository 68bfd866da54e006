"""An exchange for each test, and Rest objects that reach it and are closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange

MakeRest = Callable[..., Rest]


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519") as running:
        running.add_market("KXA-26NOV30-T1", yes={"0.40": 10}, no={"0.55": 7})
        running.add_market("KXA-26NOV30-T2", yes={"0.10": 1})
        running.add_market("KXB-26NOV30")
        yield running


@pytest.fixture
def make_rest(exchange: Exchange) -> Iterator[MakeRest]:
    with contextlib.ExitStack() as stack:

        def make(cls: type[Rest] = Rest, **options: Any) -> Rest:
            known: dict[str, Any] = {
                "credentials": exchange.credentials,
                "url": exchange.rest_url,
                "ssl_context": exchange.ssl_context,
            }
            return stack.enter_context(cls(**{**known, **options}))

        yield make


@pytest.fixture
def rest(make_rest: MakeRest) -> Rest:
    return make_rest()
