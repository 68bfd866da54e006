"""The queue without threads: what is dropped, what takes its place, and in which order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.dispatch.mailbox import MAX_FAULTS, MAX_TICKERS, Batch, Counters, Lag, MessageQueue, Token
from kalshi_feed.events import Event, FeedFault, Lagged


@dataclass(frozen=True)
class Item:
    number: int
    market_ticker: str | None = "A"
    type: str = "trade"


@dataclass(frozen=True)
class Control(Event):
    after: int  # put after this many messages


def new_queue(size: int = 10, workers: int = 1, block: bool = False) -> MessageQueue:
    return MessageQueue(threading.Lock(), Counters(), size, workers, block)


def counters(queue: MessageQueue) -> Counters:
    return queue._counters


def drain(queue: MessageQueue, box: int = 0, steps: int | None = None) -> list[Any]:
    """What a worker would deliver, one by one."""
    out: list[Any] = []
    while steps is None or steps > 0:
        work = queue.take(queue.boxes[box])
        if work is None:
            break
        if isinstance(work, Batch):
            out.extend(queue.boxes[box].current)
        elif isinstance(work, Lag):
            out.append(work.event())
        elif isinstance(work, Token):
            out.append(work.event)
        else:
            out.append(work)
        steps = None if steps is None else steps - 1
    return out


def items(*numbers: int) -> list[Any]:
    return [Item(number) for number in numbers]


def test_the_oldest_go_and_a_lagged_stands_in_their_place() -> None:
    queue = new_queue(size=4)
    assert queue.put([items(0, 1, 2)], {}, 0.0) == []
    (warning,) = queue.put([items(3, 4, 5)], {}, 0.0)
    assert "too slow" in warning
    lagged, *rest = drain(queue)
    assert lagged == Lagged(2, ("A",), lagged.at)
    assert lagged.at.tzinfo is not None
    assert rest == items(2, 3, 4, 5)
    assert counters(queue).dropped == 2
    assert counters(queue).high_water == 4
    assert counters(queue).depth == 0


def test_a_loss_grows_while_drops_follow_one_another() -> None:
    queue = new_queue(size=2)
    for number in range(10):
        queue.put([items(number)], {}, 0.0)
    lagged, *rest = drain(queue)
    assert lagged.dropped == 8
    assert rest == items(8, 9)


def test_control_events_stay_and_part_the_losses() -> None:
    queue = new_queue(size=2)
    queue.put([items(0, 1), Control(2), items(2), Control(3), Control(3), items(3, 4, 5)], {}, 0.0)
    first, control, second, third, fourth, *rest = drain(queue)
    assert (first.dropped, control, second.dropped, third, fourth) == (
        2,
        Control(2),
        1,
        Control(3),
        Control(3),
    )
    lagged, *left = rest
    assert lagged.dropped == 1
    assert left == items(4, 5)


def test_a_batch_larger_than_the_queue() -> None:
    queue = new_queue(size=3)
    queue.put([items(*range(1000))], {}, 0.0)
    lagged, *rest = drain(queue)
    assert lagged.dropped == 997
    assert rest == items(997, 998, 999)
    assert counters(queue).high_water == 3


def test_one_warning_for_one_run_of_losses() -> None:
    queue = new_queue(size=8)
    warnings = [w for n in range(100) for w in queue.put([items(n)], {}, 0.0)]
    assert len(warnings) == 1
    drain(queue)
    assert queue.put([items(100)], {}, 0.0) == []
    assert len(queue.put([items(*range(101, 120))], {}, 0.0)) == 1


def test_at_most_a_thousand_tickers_are_named() -> None:
    queue = new_queue(size=1)
    queue.put([[Item(n, f"K{n}") for n in range(5000)]], {}, 0.0)
    queue.put([[Item(n, None) for n in range(5)]], {}, 0.0)
    lagged = drain(queue)[0]
    assert lagged.dropped == 5004
    assert lagged.market_tickers == tuple(f"K{n}" for n in range(MAX_TICKERS))


def test_the_fullest_mailbox_loses() -> None:
    queue = new_queue(size=100, workers=2)
    tickers = {hash(t) % 2: t for t in (f"K{n}" for n in range(50))}
    queue.put([[Item(n, tickers[0]) for n in range(90)]], {}, 0.0)
    queue.put([[Item(n, tickers[1]) for n in range(30)]], {}, 0.0)
    assert drain(queue, 1) == [Item(n, tickers[1]) for n in range(30)]
    lagged, *rest = drain(queue, 0)
    assert lagged.dropped == 20
    assert lagged.market_tickers == (tickers[0],)
    assert rest == [Item(n, tickers[0]) for n in range(20, 90)]


def test_what_has_no_market_goes_to_the_first_worker() -> None:
    queue = new_queue(size=100, workers=4)
    queue.put([[Item(n, None) for n in range(10)]], {}, 0.0)
    assert len(drain(queue, 0)) == 10


def test_dirty_markets_come_after_each_chunk_not_after_the_backlog() -> None:
    queue = new_queue(size=1000)
    queue.put([items(*range(500))], {"A": None, "B": None}, 0.0)
    delivered = drain(queue)
    place = delivered.index({"A": None, "B": None})
    assert place <= 64
    assert delivered[:place] + delivered[place + 1 :] == items(*range(500))


def test_a_long_chunk_is_asked_to_look_at_dirty_markets() -> None:
    queue = new_queue()
    box = queue.boxes[0]
    box.started = 100.0
    queue.put([], {"A": None}, 100.01)
    assert not box.attention
    queue.put([items(1)], (), 100.06)  # the market is still dirty
    assert box.attention
    assert queue.take_dirty(box) == {"A": None}
    assert not box.attention


def test_small_reads_are_taken_together() -> None:
    queue = new_queue(size=1000)
    for n in range(10):
        queue.put([items(n)], (), float(n))
    work = queue.take(queue.boxes[0])
    assert isinstance(work, Batch)
    assert (len(work.items), work.first_read_at, work.last_read_at) == (10, 0.0, 9.0)


def test_faults_stop_if_no_one_takes_them_and_other_events_do_not() -> None:
    queue = new_queue(size=1)
    fault = FeedFault("protocol", "bad frame")
    warnings = [w for _ in range(MAX_FAULTS + 5) for w in queue.put([fault], {}, 0.0)]
    assert warnings
    assert "on_error" in warnings[0]
    queue.put([Control(0)], {}, 0.0)
    out = drain(queue)
    assert out[-1] == Control(0)
    assert len(out) <= MAX_FAULTS + 2


def test_after_discard_everything_is_counted() -> None:
    queue = new_queue(size=100)
    queue.put([items(*range(50))], {}, 0.0)
    box = queue.boxes[0]
    taken = queue.take(box)
    assert isinstance(taken, Batch)
    in_hand = len(taken.items)
    assert next(box.current) == Item(0)
    queue.discard()
    assert list(box.current) == []  # the worker's loop ends after the current message
    assert counters(queue).dropped == 49
    lagged = drain(queue)
    assert [event.dropped for event in lagged] == [in_hand - 1 + 50 - in_hand]
    queue.put([items(50, 51)], {}, 0.0)
    assert counters(queue).dropped == 51
    assert queue.take(box) is None


Step = st.one_of(
    st.integers(1, 7).map(lambda n: ("data", n)),
    st.just(("control", 0)),
    st.integers(1, 6).map(lambda n: ("take", n)),
    st.integers(1, 3).map(lambda n: ("stream loss", n)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(Step, max_size=60), st.integers(1, 9), st.integers(1, 5))
def test_whatever_happens_nothing_is_lost_unannounced(
    steps: list[tuple[str, int]], size: int, chunk: int
) -> None:
    queue = new_queue(size=size)
    queue.boxes[0].chunk = chunk
    out: list[Any] = []
    number = controls = elsewhere = 0
    for what, count in steps:
        if what == "data":
            queue.put([[Item(n) for n in range(number, number + count)]], {}, 0.0)
            number += count
        elif what == "control":
            queue.put([Control(number)], {}, 0.0)
            controls += 1
        elif what == "stream loss":
            lag = Lag()
            lag.add([Item(-1, None)] * count)
            queue.put([lag], {}, 0.0)
            elsewhere += count
        else:
            out += drain(queue, steps=count)
        assert counters(queue).depth == queue.depth <= size
        assert counters(queue).high_water <= size
    out += drain(queue)

    delivered = [item.number for item in out if isinstance(item, Item)]
    lost = sum(event.dropped for event in out if isinstance(event, Lagged))
    assert lost == counters(queue).dropped == number - len(delivered) + elsewhere
    assert sum(isinstance(event, Control) for event in out) == controls
    expected = room = 0
    for item in out:
        if isinstance(item, Lagged):
            room += item.dropped
        elif isinstance(item, Item):
            assert item.number >= expected
            assert item.number - expected <= room, "a loss was not announced before the next message"
            room -= item.number - expected
            expected = item.number + 1
            if not elsewhere:
                assert room == 0
        else:
            assert expected <= item.after <= expected + room, "a control event changed places"
