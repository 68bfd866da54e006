"""All faults are counted, and reported unless a peer misbehaves all the time."""

from __future__ import annotations

from typing import Any

from kalshi_feed import FeedFault
from kalshi_feed.session.output import Output


def reported(output: Output) -> list[Any]:
    found, _, _ = output.take()
    return found


def test_fault_rate_limit() -> None:
    output = Output(faults_a_second=3)
    for n in range(10):
        output.fault("protocol", str(n), 5.0 + n / 100)
    assert [fault.message for fault in reported(output)] == ["0", "1", "2"]
    output.fault("protocol", "later", 6.0, market_ticker="A")
    output.fault("other", "last", 6.1)
    later, last = reported(output)
    assert later == FeedFault("protocol", "later", None, {"market_ticker": "A", "suppressed": 7})
    assert last.context == {}
    assert output.counts.faults == {"protocol": 11, "other": 1}


def test_fault_in_the_first_second_of_time() -> None:
    output = Output(faults_a_second=1)
    error = ValueError("x")
    output.fault("protocol", "first", 0.0, error)
    output.fault("protocol", "second", 0.5)
    (fault,) = reported(output)
    assert fault.error is error


def test_types_that_a_peer_makes_up_are_counted_together_in_the_end() -> None:
    counts = Output(1).counts
    for n in range(1000):
        counts.add(f"type-{n}", 10)
    counts.add("type-1", 10)
    counts.add("x" * 101, 10)
    assert len(counts.messages) == len(counts.bytes) == 201
    assert (counts.messages["type-1"], counts.bytes["type-1"]) == (2, 20)
    assert (counts.messages["other"], counts.messages.total()) == (801, 1002)
