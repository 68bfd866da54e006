"""kalshi-feed check: its last step, the REST API."""

from __future__ import annotations

import re

import pytest

from .checks import checked, says
from .support import Access

pytestmark = pytest.mark.slow


def test_the_rest_api(mine: Access) -> None:
    steps, failed = checked(mine)
    assert failed == {} and steps["rest"]["status"] == "ok" and steps["rest"]["seconds"] > 0
    assert "tier basic, 20 requests a second; trading is open" in steps["rest"]["found"]
    mine.exchange.trading_active = False
    assert "trading is closed" in checked(mine)[0]["rest"]["found"]


def test_a_rest_api_that_does_not_answer(mine: Access) -> None:
    mine.exchange.rest_down = 503
    steps, failed = checked(mine, "--timeout", "1")
    assert failed["step"] == "rest" and "was answered with 503" in failed["found"]
    assert "the feed itself works" in says(failed) and steps["subscribe"]["status"] == "ok"
    steps, failed = checked(mine, "--rest-url", "https://127.0.0.1:9/x", "--timeout", "1")
    assert "nothing is listening there" in failed["found"] and "--rest-url" in says(failed)
    _, failed = checked(mine, "--rest-url", "http://exchange.example")
    assert failed["found"].startswith("--rest-url would send the signed headers")


def test_a_clock_that_rest_corrects(mine: Access) -> None:
    mine.exchange.max_clock_skew, mine.exchange.clock_offset = 1e9, 300
    steps, failed = checked(mine)
    assert failed == {} and steps["rest"]["status"] == "warning"
    assert re.search(r"(299|300) s behind REST's", steps["rest"]["found"])
    assert "timedatectl" in says(steps["rest"])


def test_an_exchange_without_a_rest_api(mine: Access) -> None:
    steps, failed = checked(mine, KALSHI_REST_URL="")
    assert failed == {} and steps["rest"]["status"] == "skipped"
    assert "KALSHI_REST_URL is not set" in steps["rest"]["found"]
    steps, failed = checked(mine, KALSHI_REST_URL="ftp://x")
    assert "KALSHI_REST_URL must start with https://" in failed["found"]
