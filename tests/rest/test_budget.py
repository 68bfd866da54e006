"""The rate stays below what the exchange allows, for all Rest objects of a key together."""

from __future__ import annotations

import random
import threading

import pytest

from kalshi_feed.rest.budget import BASIC_TOKENS, COST, Budget, shared_budget
from kalshi_feed.simulator import Exchange

from .conftest import MakeRest
from .support import FakeClock, with_clock


def test_a_burst_then_the_rate() -> None:
    budget, now, sent = Budget(), 0.0, []
    for _ in range(200):
        now += budget.take(now)
        sent.append(now)
    assert sent[53] == 0.0 < sent[54]
    for number, at in enumerate(sent):  # the exchange's own bucket
        assert (number + 1) * COST <= 3 * BASIC_TOKENS + at * BASIC_TOKENS
    assert (199 - 54) / (sent[199] - sent[54]) == pytest.approx(18)


def test_waits_are_served_in_turn() -> None:
    budget = Budget()
    waits = [budget.take(0.0) for _ in range(100)]
    assert waits == sorted(waits) and waits[99] > waits[80] > 0


def test_429_empties_it() -> None:
    budget = Budget()
    budget.take(0.0)
    budget.empty(0.0)
    assert budget.take(0.0) == pytest.approx(COST / (BASIC_TOKENS * 0.9))
    assert budget.take(100.0) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_exchanges_bucket_never_runs_dry(seed: int) -> None:
    """Whatever the pauses are, and if the way to the exchange takes up to 150 ms longer for some."""
    chance, budget, now = random.Random(seed), Budget(), 0.0
    arrivals = []
    for _ in range(2000):
        now += chance.choice((0.0, 0.0, 0.01, chance.random() * 4))
        now += budget.take(now)
        arrivals.append(now + chance.random() * 0.15)
    level, last = 3 * BASIC_TOKENS, 0.0
    for at in sorted(arrivals):
        level, last = min(3 * BASIC_TOKENS, level + (at - last) * BASIC_TOKENS) - COST, at
        assert level >= 0


def test_all_of_a_key_share_one(make_rest: MakeRest, exchange: Exchange) -> None:
    assert shared_budget("key", "url") is shared_budget("key", "url")
    assert shared_budget("key", "url") is not shared_budget("", "url")
    rests = [make_rest() for _ in range(4)]

    def ask(number: int) -> None:
        for _ in range(20):
            rests[number].exchange_status()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    usage = exchange.rest_usage
    assert usage.requests >= 80 and usage.refused == 0 and usage.lowest_tokens > 0
    assert exchange.rest_requests["/account/limits"] == 1  # it had to wait, so it asked for the tier


def test_the_tier_is_asked_for_before_a_long_wait(make_rest: MakeRest, exchange: Exchange) -> None:
    exchange.rest_tier = "prime"
    clock = FakeClock()
    rest = make_rest(with_clock(clock))
    for _ in range(500):
        rest.exchange_status()
    assert exchange.rest_requests["/account/limits"] == 1
    assert clock.slept < 5  # of 25 at the lowest tier


def test_a_rate_can_be_given(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    rest = make_rest(with_clock(clock), tokens_per_second=20)
    for _ in range(20):
        rest.exchange_status()
    assert 7 < clock.slept < 9
    assert "/account/limits" not in exchange.rest_requests


def test_without_a_key_it_is_the_lowest_tiers(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    exchange.rest_tier = None  # its own clock stands still
    rest = make_rest(with_clock(clock), credentials=None)
    for _ in range(72):
        rest.exchange_status()
    assert 0.9 < clock.slept < 1.1 and "/account/limits" not in exchange.rest_requests


def test_after_429_everyone_slows_down(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    first, second = make_rest(with_clock(clock)), make_rest(with_clock(clock))
    exchange.refuse_rest(1, 429)
    first.exchange_status()
    before = clock.slept
    for _ in range(18):
        second.exchange_status()
    assert clock.slept - before > 0.4  # a full bucket would have let them pass
