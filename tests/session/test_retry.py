"""When the next dial comes, and when there is none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from kalshi_feed import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    HandshakeRejected,
    ProxyError,
    ReconnectPolicy,
    TLSError,
)
from kalshi_feed.errors import KalshiFeedError
from kalshi_feed.session.retry import Retries

GUIDE = ReconnectPolicy(max_retries=5, initial_delay=1, max_delay=60, jitter=False)
PLAIN = ReconnectPolicy(jitter=False)


def retries(policy: ReconnectPolicy = PLAIN, chance: float = 1.0) -> Retries:
    return Retries(policy, lambda: chance)


def delays(of: Retries, n: int, error: KalshiFeedError | None = None) -> list[float]:
    return [of.next_delay(error or ConnectionLost(1006), healthy=False) for _ in range(n)]


def test_the_guides_policy() -> None:
    counted = retries(GUIDE)
    assert delays(counted, 5) == [1, 2, 4, 8, 16]
    with pytest.raises(ConnectionLost, match="gave up after 5 retries") as last:
        counted.next_delay(ConnectionLost(1006, "gone"), healthy=False)
    assert (last.value.code, last.value.reason) == (1006, "gone; gave up after 5 retries")


def test_defaults_double_up_to_the_maximum_without_end() -> None:
    assert delays(retries(), 9) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    counted = retries()
    counted.count = 10**6
    assert delays(counted, 1) == [30]


def test_overflowing_multipliers() -> None:
    assert ReconnectPolicy(multiplier=1e8, jitter=False).delay(1000, 0.0) == 30
    assert ReconnectPolicy(multiplier=10**8, jitter=False).delay(1000, 0.0) == 30
    assert ReconnectPolicy(initial_delay=0, max_delay=0, jitter=False).delay(3, 0.0) == 0


def test_jitter_is_between_half_and_whole() -> None:
    policy = ReconnectPolicy(initial_delay=4, max_delay=60)
    assert (policy.delay(1, 0.0), policy.delay(1, 1.0), policy.delay(2, 0.5)) == (2, 4, 6)
    drawn = Retries(policy, random.Random(1).random)
    found = [drawn.next_delay(ConnectionLost(), healthy=True) for _ in range(200)]
    assert 2 <= min(found) < 2.2 and 3.8 < max(found) <= 4


def test_a_healthy_session_starts_the_count_again() -> None:
    counted = retries(GUIDE)
    delays(counted, 4)
    assert counted.next_delay(ConnectionLost(), healthy=True) == 1
    assert delays(counted, 1) == [2]


def test_never_raises_the_error_itself() -> None:
    error = ConnectionFailed("refused")
    with pytest.raises(ConnectionFailed) as last:
        retries(ReconnectPolicy.never()).next_delay(error, healthy=True)
    assert last.value is error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionFailed("refused"), "refused; gave up after 1 retry"),
        (ProxyError("proxy said 502", 502), "proxy said 502; gave up after 1 retry"),
        (HandshakeRejected("busy", 503, "Unavailable", 7.0), "busy; gave up after 1 retry"),
        (ConnectionLost(), "the connection was lost: gave up after 1 retry"),
    ],
)
def test_exhausted_keeps_type_data_and_cause(error: KalshiFeedError, text: str) -> None:
    counted = retries(ReconnectPolicy(max_retries=1))
    counted.next_delay(error, healthy=False)
    error.__cause__ = OSError("why")
    with pytest.raises(type(error)) as last:
        counted.next_delay(error, healthy=False)
    assert str(last.value) == text
    assert last.value.__cause__ is error.__cause__
    assert {
        k: v for k, v in vars(last.value).items() if k != "reason" or v == vars(error)[k]
    }.items() <= vars(error).items()


def test_exhausted_by_an_error_of_another_kind() -> None:
    class Odd(KalshiFeedError):
        retryable = True

    counted = retries(ReconnectPolicy(max_retries=1))
    counted.next_delay(Odd("odd"), healthy=False)
    with pytest.raises(ConnectionLost, match="odd; gave up"):
        counted.next_delay(Odd("odd"), healthy=False)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no", 401),
        AuthenticationError("no", 403),
        HandshakeRejected("gone", 404),
        TLSError("certificate"),
        ProxyError("auth", 407),
        ConfigurationError("x"),
    ],
)
def test_fatal_at_once(error: KalshiFeedError) -> None:
    with pytest.raises(type(error)) as last:
        retries().next_delay(error, healthy=False)
    assert last.value is error


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_temporary_answers(status: int) -> None:
    assert delays(retries(), 1, HandshakeRejected("x", status)) == [0.5]


@pytest.mark.parametrize("status", [200, 301, 302, 303, 307, 308])
def test_H07_H14_pages_and_redirects_are_tried_slowly(status: int) -> None:
    assert delays(retries(chance=0.0), 1, HandshakeRejected("x", status)) == [2.5]
    assert delays(retries(), 6, HandshakeRejected("x", status)) == [5, 5, 5, 5, 8, 16]
    assert delays(retries(chance=0.0), 1, HandshakeRejected("x", status, retry_after=20.0)) == [20]
    counted = retries(ReconnectPolicy(max_retries=1))
    counted.next_delay(HandshakeRejected("moved", status), healthy=False)
    with pytest.raises(HandshakeRejected, match="moved; gave up after 1 retry"):
        counted.next_delay(HandshakeRejected("moved", status), healthy=False)


@pytest.mark.parametrize("error", [TLSError("expired"), ProxyError("password", 407)])
def test_what_stands_between_and_fails_after_a_healthy_session_is_tried_slowly(
    error: KalshiFeedError,
) -> None:
    counted = retries()
    counted.next_delay(ConnectionLost(), healthy=True)
    assert delays(counted, 2, error) == [30, 30]
    counted = retries(ReconnectPolicy(initial_delay=0, max_delay=0), chance=0.0)
    counted.next_delay(ConnectionLost(), healthy=True)
    assert delays(counted, 1, error) == [2.5]
    with pytest.raises(AuthenticationError):
        counted.next_delay(AuthenticationError("revoked", 401), healthy=True)


def test_retry_after_is_heeded_and_capped() -> None:
    def delay(seconds: float | None, chance: float) -> float:
        return delays(retries(chance=chance), 1, HandshakeRejected("busy", 429, retry_after=seconds))[0]

    assert delay(20.0, 0.0) == 20
    assert delay(20.0, 1.0) == pytest.approx(22)
    assert delay(10_000.0, 0.0) == 60
    assert delay(0.1, 0.0) == 0.5
    assert delay(None, 0.0) == delay(0.0, 0.0) == 0.5


@pytest.mark.parametrize("code", [1008, 1012, 1013])
def test_restarts_and_refusals_are_not_dialed_at_once(code: int) -> None:
    assert delays(retries(chance=0.0), 1, ConnectionLost(code)) == [2.5]
    assert delays(retries(chance=1.0), 1, ConnectionLost(code)) == [5]
    assert delays(retries(ReconnectPolicy(initial_delay=20, jitter=False)), 1, ConnectionLost(code)) == [20]
    assert delays(retries(), 1, ConnectionLost(1001)) == [0.5]


def test_five_policy_closes_are_enough() -> None:
    counted = retries()
    delays(counted, 4, ConnectionLost(1008, "no"))
    with pytest.raises(ConnectionLost, match=r"code 1008: no \(five times without a healthy session\)"):
        counted.next_delay(ConnectionLost(1008, "no"), healthy=False)
    counted = retries()
    delays(counted, 4, ConnectionLost(1008))
    counted.next_delay(ConnectionLost(1008), healthy=True)
    delays(counted, 3, ConnectionLost(1008))
    with pytest.raises(ConnectionLost, match="policy violation"):
        counted.next_delay(ConnectionLost(1008), healthy=False)


@pytest.mark.parametrize("name", ["initial_delay", "max_delay", "multiplier"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**400, True, "1", None])
def test_numbers_that_cannot_work(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a number"):
        ReconnectPolicy(**{name: value})


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", float("inf")])
def test_max_retries_that_cannot_work(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_retries"):
        ReconnectPolicy(max_retries=value)


def test_delays_in_the_wrong_order_and_shrinking_ones() -> None:
    with pytest.raises(ConfigurationError, match="must not be smaller"):
        ReconnectPolicy(initial_delay=5, max_delay=4)
    with pytest.raises(ConfigurationError, match="multiplier must be a number of 1 or more"):
        ReconnectPolicy(multiplier=0.5)
