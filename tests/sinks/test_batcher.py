"""Batcher: when a batch is due, what an outage costs (nothing), the bound, and what close() returns."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from kalshi_feed import (
    ConfigurationError,
    FeedForkedError,
    ReconnectPolicy,
    SinkError,
    Trade,
    WaitTimeout,
)
from kalshi_feed.sinks import Batcher, Dropped, Row, SinkTrouble
from tests.cli.support import environment
from tests.feed.support import in_thread
from tests.support import wait_until

from .support import QUICK, Stubborn, delta, gap, trade


@pytest.fixture
def sink() -> Stubborn:
    return Stubborn()


def test_a_batch_is_due_by_count(sink: Stubborn) -> None:
    with Batcher(sink) as batcher:
        for seq in range(4):
            batcher.put(delta(seq))
        assert batcher.stats().pending == 4
        batcher.put(delta(4))
        wait_until(lambda: sink.batches, what="the batch")
        assert [item.seq for item in sink.items] == list(range(5)) and sink.numbers == [1, 2, 3, 4, 5]


def test_a_batch_is_due_by_time(sink: Stubborn) -> None:
    with Batcher(sink, batch_seconds=0.02) as batcher:
        batcher.put(delta())
        wait_until(lambda: sink.batches, what="the batch")
        assert batcher.stats().written == 1


def test_no_batch_is_larger(sink: Stubborn) -> None:
    sink.go_on.clear()
    batcher = Batcher(sink, batch_rows=3)
    for seq in range(11):
        batcher.put(delta(seq))
    sink.go_on.set()
    assert batcher.close() == []
    assert [len(batch) for batch in sink.batches] == [3, 3, 3, 2] and sink.numbers == list(range(1, 12))


def test_flush(sink: Stubborn) -> None:
    with Batcher(sink, retry=QUICK) as batcher:
        batcher.flush(1)
        batcher.put(delta())
        batcher.flush(5)
        assert batcher.stats().written == 1
        sink.error = SinkError("no disk")
        batcher.put(delta())
        with pytest.raises(
            WaitTimeout, match=r"timed out after 0.05 s: 1 rows are not in stubborn \(no disk\)"
        ):
            batcher.flush(0.05)
        waiting = in_thread(lambda: batcher.flush(20))
        assert len(batcher.close(0.1)) == 1
        assert "the Batcher was closed: 1 rows are not in" in str(waiting.ended())


def test_close_writes_what_is_pending_and_closes_the_sink(sink: Stubborn) -> None:
    batcher = Batcher(sink)
    batcher.put(delta())
    assert batcher.close() == batcher.close() == []
    assert len(sink.items) == sink.closed == 1
    with pytest.raises(SinkError, match="the Batcher is closed"):
        batcher.put(delta())
    assert batcher.stats().received == 1


def test_an_outage_loses_nothing(sink: Stubborn) -> None:
    reported: list[SinkTrouble] = []
    sink.error = OSError("no disk")
    with Batcher(sink, retry=QUICK, on_trouble=reported.append) as batcher:
        for seq in range(8):
            batcher.put(delta(seq))
        wait_until(lambda: len(sink.tries) >= 5, what="five tries")
        stats = batcher.stats()
        assert stats.retried >= 4 and stats.written == 0 and stats.pending == 8
        assert (stats.is_failing, stats.last_error) == (True, "no disk")
        assert all(rows == sink.tries[0] for rows in sink.tries), (
            "a batch that is tried again must be the same"
        )
        sink.error = None
        wait_until(lambda: batcher.stats().written == 5, what="the batch")
    assert [item.seq for item in sink.items] == list(range(8))
    assert [trouble.kind for trouble in reported] == ["failing", "writing"], "each is reported once"
    assert reported[0].message == (
        "stubborn cannot be written: OSError('no disk'); retrying until it succeeds, keeping up to 200000 "
        "rows"
    )
    assert reported[0].error is not None
    assert not batcher.stats().is_failing


def test_the_bound_drops_the_newest_and_says_so_in_its_place(
    sink: Stubborn, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[SinkTrouble] = []
    sink.error = OSError("no disk")
    batcher = Batcher(sink, max_pending=6, retry=QUICK, on_trouble=reported.append)
    for seq in range(6):
        batcher.put(delta(seq))
    wait_until(lambda: [trouble.kind for trouble in reported] == ["failing"])
    with caplog.at_level(logging.WARNING, "kalshi_feed.sinks"):
        for seq, market in ((6, "KX-B"), (7, "KX-C"), (8, "KX-B")):
            batcher.put(delta(seq, market))
    assert [trouble.kind for trouble in reported] == ["failing", "full"]
    assert [record.message for record in caplog.records if ", the limit: " in record.message] == [
        reported[1].message
    ]
    stats = batcher.stats()
    assert (stats.received, stats.pending, stats.dropped) == (9, 6, 3)
    sink.error = None
    batcher.flush(5)
    batcher.put(delta(9))
    assert batcher.close() == []
    assert [getattr(item, "seq", item) for item in sink.items] == [*range(6), Dropped(3, ("KX-B", "KX-C")), 9]
    assert sink.numbers == list(range(1, 9))
    assert [trouble.kind for trouble in reported] == ["failing", "full", "writing", "room"]
    assert "3 rows were dropped in total" in reported[3].message
    stats = batcher.stats()
    assert (stats.received, stats.written, stats.pending, stats.dropped) == (10, 7, 0, 3)


def test_what_was_dropped_has_its_place_between_others_of_its_batch(sink: Stubborn) -> None:
    sink.go_on.clear()
    batcher = Batcher(sink, max_pending=8)
    for seq in range(5):
        batcher.put(delta(seq))
    sink.entered.wait(5)  # five in hand
    for seq in range(5, 10):
        batcher.put(delta(seq))  # three pending, and two dropped
    assert batcher.stats().dropped == 2
    sink.go_on.set()
    wait_until(lambda: batcher.stats().written == 5)
    batcher.put(delta(10))
    assert batcher.close() == []
    assert [getattr(row.item, "seq", row.item) for row in sink.batches[1]] == [
        5,
        6,
        7,
        Dropped(2, ("KX-A",)),
        10,
    ]


def test_full_is_reported_again_only_after_there_was_room(sink: Stubborn) -> None:
    reported: list[str] = []
    sink.go_on.clear()
    with Batcher(
        sink, batch_rows=1, max_pending=4, on_trouble=lambda trouble: reported.append(trouble.kind)
    ) as batcher:
        for seq in range(6):
            batcher.put(delta(seq))
        sink.go_on.set()
        batcher.flush(5)
        wait_until(lambda: reported == ["full", "room"])
        sink.go_on.clear()
        for seq in range(6, 12):
            batcher.put(delta(seq))
        assert reported == ["full", "room", "full"]
        sink.go_on.set()
    drops = [item.dropped for item in sink.items if isinstance(item, Dropped)]
    assert drops == [2, 2] and batcher.stats().dropped == 4


def test_the_bound_can_make_put_wait(sink: Stubborn) -> None:
    reported: list[str] = []
    sink.go_on.clear()
    with Batcher(
        sink, max_pending=5, when_full="block", on_trouble=lambda trouble: reported.append(trouble.kind)
    ) as batcher:
        for seq in range(5):
            batcher.put(delta(seq))
        waiting = in_thread(lambda: batcher.put(delta(5)))
        wait_until(lambda: reported == ["full"])
        assert waiting.is_running and batcher.stats().received == 5
        sink.go_on.set()
        waiting.result()
    assert [item.seq for item in sink.items] == list(range(6)) and batcher.stats().dropped == 0


def test_a_put_that_waits_ends_with_close(sink: Stubborn) -> None:
    reported: list[str] = []
    sink.go_on.clear()
    batcher = Batcher(
        sink, max_pending=5, when_full="block", on_trouble=lambda trouble: reported.append(trouble.kind)
    )
    for seq in range(5):
        batcher.put(delta(seq))
    waiting = in_thread(lambda: batcher.put(delta(5)))
    wait_until(lambda: reported == ["full"])
    left = batcher.close(0.05)
    assert isinstance(waiting.ended(), SinkError)
    assert [row.item.seq for row in left] == list(range(5)) and batcher.stats().pending == 5
    sink.go_on.set()
    wait_until(lambda: batcher.stats().pending == 0, what="the write in progress")


def test_close_says_what_could_not_be_written(sink: Stubborn, caplog: pytest.LogCaptureFixture) -> None:
    sink.error = OSError("no disk")
    batcher = Batcher(sink, max_pending=7, retry=QUICK)
    for seq in range(9):
        batcher.put(delta(seq))
    left = batcher.close(0.1)
    assert [(row.n, row.item.seq) for row in left] == [(n + 1, n) for n in range(7)]
    assert all(isinstance(row, Row) for row in left)
    wait_until(lambda: sink.closed == 1)
    wait_until(lambda: "closed, but 7 rows are not in stubborn (no disk)" in caplog.text)
    tries = len(sink.tries)
    assert batcher.close() == left and len(sink.tries) == tries


def test_close_tries_at_once(sink: Stubborn) -> None:
    """It does not wait for the rest of a long delay."""
    sink.error = OSError("no disk")
    batcher = Batcher(sink, batch_rows=1, retry=ReconnectPolicy(initial_delay=600, max_delay=600))
    batcher.put(delta())
    wait_until(lambda: batcher.stats().is_failing)
    sink.error = None
    assert batcher.close(5) == [] and len(sink.items) == 1


def test_close_without_time_tries_nothing(sink: Stubborn) -> None:
    batcher = Batcher(sink)
    batcher.put(delta())
    assert len(batcher.close(0)) == 1
    wait_until(lambda: sink.closed)
    assert sink.tries == []


def test_close_from_on_trouble_does_not_wait_for_itself(sink: Stubborn) -> None:
    sink.error = OSError("no disk")
    left: list[Any] = []
    batcher = Batcher(
        sink, batch_rows=1, retry=QUICK, on_trouble=lambda trouble: left.extend(batcher.close(0.05))
    )
    batcher.put(delta())
    wait_until(lambda: sink.closed)
    assert len(left) == 1


def test_errors_in_on_trouble_and_close_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Worse(Stubborn):
        def close(self) -> None:
            raise OSError("cannot close")

    sink = Worse()
    sink.error = OSError("no disk")

    def raises(trouble: SinkTrouble) -> None:
        raise RuntimeError("oh")

    batcher = Batcher(sink, batch_rows=1, retry=QUICK, on_trouble=raises)
    batcher.put(delta())
    wait_until(lambda: batcher.stats().retried > 2)
    sink.error = None
    assert batcher.close() == [] and len(sink.items) == 1
    assert (
        "on_trouble raised RuntimeError" in caplog.text
        and "closing stubborn failed: cannot close" in caplog.text
    )


def test_many_threads_put(sink: Stubborn) -> None:
    batcher = Batcher(sink, batch_rows=7, batch_seconds=0.005)
    begin = threading.Barrier(8)

    def put(market: str) -> Callable[[], None]:
        def run() -> None:
            begin.wait(10)
            for seq in range(500):
                batcher.put(delta(seq, market))

        return run

    messages = [in_thread(put(f"KX-{number}")) for number in range(8)]
    for one in messages:
        one.result(30)
    assert batcher.close() == []
    assert sink.numbers == list(range(1, 4001)) and batcher.stats().written == 4000
    for number in range(8):
        assert [item.seq for item in sink.items if item.market_ticker == f"KX-{number}"] == list(range(500))


def test_what_a_sink_takes() -> None:
    class Trades(Stubborn):
        takes = (Trade,)

    sink = Trades()
    with Batcher(sink) as batcher:
        batcher.put(trade())
        for wrong in (delta(), gap(), None, "text"):
            with pytest.raises(TypeError, match=f"stubborn takes Trade, not {type(wrong).__name__}"):
                batcher.put(wrong)
        assert batcher.stats().received == 1
    sink = Trades()
    sink.go_on.clear()
    with Batcher(sink, max_pending=5) as batcher:
        for _ in range(7):
            batcher.put(trade())
        assert batcher.stats().dropped == 2
        sink.go_on.set()
    assert [type(item) for item in sink.items] == [Trade] * 5, "a Dropped is nothing it takes"
    with Batcher(Stubborn()) as batcher:
        with pytest.raises(TypeError, match=r"stubborn takes OrderbookDelta, .*, Event, not int"):
            batcher.put(7)


def test_arguments_that_cannot_work() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"batch_rows": 0}, "batch_rows must be a whole number of rows, at least 1, not 0"),
        ({"batch_rows": True}, "batch_rows"),
        ({"batch_seconds": 0}, "batch_seconds must be a positive number"),
        ({"batch_seconds": "1"}, "must be a number of seconds"),
        ({"max_pending": 4}, r"max_pending \(4\) must not be smaller than batch_rows \(5\)"),
        ({"max_pending": 1.5}, "max_pending must be a whole number"),
        ({"when_full": "drop"}, "when_full must be 'drop_newest' or 'block', not 'drop'"),
        ({"retry": ReconnectPolicy(max_retries=3)}, "without max_retries"),
        ({"retry": 3}, "retry must be a ReconnectPolicy"),
    ]
    sink = Stubborn()
    threads = threading.active_count()
    for arguments, text in wrong:
        with pytest.raises(ConfigurationError, match=text):
            Batcher(sink, **arguments)
    with pytest.raises(
        ConfigurationError, match=r"a sink is an object with write\(rows\) and close\(\), not int"
    ):
        Batcher(7)  # type: ignore[arg-type]
    assert threading.active_count() == threads
    with Batcher(sink), pytest.raises(ConfigurationError, match="stubborn already has a Batcher"):
        Batcher(sink)


def test_any_object_with_write_and_close_is_a_sink() -> None:
    class Plain:
        def __init__(self) -> None:
            self.rows: list[Row] = []

        def write(self, rows: list[Row]) -> None:
            self.rows += rows

        def close(self) -> None:
            self.rows.append(Row(0, 0, "closed"))

    sink = Plain()
    with Batcher(sink) as batcher:  # type: ignore[arg-type]
        batcher.put(delta())
    assert [row.n for row in sink.rows] == [1, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork(sink: Stubborn) -> None:
    with Batcher(sink) as batcher:
        pid = os.fork()
        if pid == 0:
            try:
                batcher.put(delta())
            except FeedForkedError as error:
                os._exit(0 if "made before fork()" in str(error) and batcher.close() == [] else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        batcher.put(delta())
    assert len(sink.items) == 1


def test_a_batcher_left_open_is_written_at_exit(tmp_path: Any) -> None:
    code = """
import sys
from kalshi_feed.sinks import Batcher, SQLiteSink
from tests.sinks.support import delta
Batcher(SQLiteSink(sys.argv[1]), batch_seconds=600).put(delta())
"""
    file = tmp_path / "rows.db"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(file)], env=environment(), check=True, timeout=30
    )
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("select count(*) from deltas").fetchone() == (1,)
