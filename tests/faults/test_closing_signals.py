"""R37: SIGTERM and SIGHUP close a running feed. Real signals go to separate programs, and the tests count
what those stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from kalshi_feed import ConfigurationError, FeedClosedError, FeedState, KalshiFeed
from kalshi_feed.engine.signals import CLOSING_SIGNALS
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, in_thread, own_threads, program
from tests.support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")]
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)


# For use before run_forever(): a signal that comes before the handlers are installed ends the program, as it
# should.
READY = """
def ready_when_handled():
    def wait():
        while signal.SIG_DFL in map(signal.getsignal, (signal.SIGTERM, signal.SIGHUP)):
            time.sleep(0.002)
        print('ready', flush=True)
    threading.Thread(target=wait, daemon=True).start()

def ready_when_waiting():
    def wait():
        while not waiting_threads:
            time.sleep(0.002)
        print('ready', flush=True)
    from kalshi_feed.threads import waiting_threads
    threading.Thread(target=wait, daemon=True).start()
"""


@contextmanager
def running(exchange: Exchange, folder: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """Run the program, and yield it once it has printed "ready"."""
    command = program(exchange, folder, READY + textwrap.dedent(body))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            first = process.stdout.readline()
            assert first == "ready\n", process.stderr.read() if not first else first
            yield process
        finally:
            process.kill()


def taken(number: signal.Signals) -> None:
    """Wait until someone handles the signal."""
    wait_until(lambda: signal.getsignal(number) is not signal.SIG_DFL, 10, f"{number.name} to be handled")


def send(awaited: signal.Signals, number: signal.Signals) -> None:
    """Send ``number`` to this process once ``awaited`` is handled; any sooner, and it would end the tests."""
    taken(awaited)
    os.kill(os.getpid(), number)


def ended(process: subprocess.Popen[str], timeout: float = 30.0) -> list[str]:
    """Return what the program printed; it must have ended well."""
    out, err = process.communicate(timeout=timeout)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


@BOTH
def test_R37_run_forever_closes_and_delivers_what_was_accepted(
    number: signal.Signals, exchange: Exchange, tmp_path: Path
) -> None:
    body = f"""
    from kalshi_feed.sinks import Batcher, SQLiteSink
    seen = []
    with Batcher(SQLiteSink({str(tmp_path / "rows.db")!r}), batch_rows=100_000, batch_seconds=1000) as batcher, feed:
        batcher.subscribe_to(feed)
        feed.on_delta(lambda delta: (time.sleep(0.002), seen.append(delta)))  # the queue is never empty
        recording = feed.record({str(tmp_path / "all.ndjson")!r})
        feed.subscribe('orderbook_delta', '{A}').wait(10)
        feed.wait_for_book('{A}', 10)
        feed.on_state(lambda change: print(change.state.value, flush=True))
        before = signal.getsignal({int(number)})
        ready_when_handled()
        feed.run_forever()
        state, queued = feed.state.value, feed.stats().queue_depth
        received = feed.stats().messages['orderbook_delta']
        put_back = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    print(json.dumps(dict(state=state, queued=queued, received=received, seen=len(seen), put_back=put_back, threads=own_threads(),
                          default=before is signal.SIG_DFL, written=batcher.stats().written, recorded=recording.messages)))
    """  # noqa: E501
    with running(exchange, tmp_path, body) as process:
        for _ in range(500):
            exchange.change(A, "yes", "0.40", "1")
        exchange.wait_until_sent(5)
        time.sleep(0.05)  # some are read, only a few are seen; how many does not matter
        process.send_signal(number)
        lines = ended(process)
    told = json.loads(lines[-1])
    assert lines[:-1] == ["CLOSED"]
    assert (told["state"], told["queued"], told["default"], told["put_back"], told["threads"]) == (
        "CLOSED",
        0,
        True,
        True,
        [],
    )
    assert told["seen"] == told["received"] > 0
    assert told["written"] == told["received"] + 1  # the snapshot
    assert told["recorded"] >= told["written"]
    text = (tmp_path / "all.ndjson").read_text()
    assert '"end":true' in text.splitlines()[-1] and text.count('"orderbook_delta"') >= told["received"]


@BOTH
@pytest.mark.parametrize("moment", ["wait_for", "wait_for_update", "stream", "wait_for_book", "not started"])
def test_R37_closing_on_signals_ends_every_wait(
    moment: str, number: signal.Signals, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.mute_books = {"KXNEVER"}
    waits = {
        "wait_for": "feed.wait_for('trade')",
        "wait_for_update": f"feed.book('{B}').wait_for_update()",
        "stream": "list(feed.messages('trade'))",
        "wait_for_book": "feed.wait_for_book('KXNEVER')",
        "not started": "make().wait_until_connected()",
    }
    start = "feed = make()" if moment == "not started" else f"feed.start().wait_for_book('{B}', 10)"
    wait = "feed.wait_until_connected()" if moment == "not started" else waits[moment]
    body = f"""
    {start}
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    try:
        with feed.closing_on_signals():
            ready_when_waiting()
            {wait}
            print('returned', flush=True)
    except FeedClosedError:
        print('FeedClosedError', flush=True)
    print(feed.state.value, own_threads(), flush=True)
    """
    with running(exchange, tmp_path, body) as process:
        process.send_signal(number)
        # a book that becomes CLOSED has changed, too
        returns = moment in ("stream", "wait_for_update")
        assert ended(process) == ["returned" if returns else "FeedClosedError", "CLOSED []"]


SECOND = {"SIGTERM": (signal.SIGTERM, signal.SIGTERM), "SIGHUP SIGTERM": (signal.SIGHUP, signal.SIGTERM)}
SECOND |= {
    "SIGTERM SIGHUP": (signal.SIGTERM, signal.SIGHUP),
    "SIGINT SIGTERM": (signal.SIGINT, signal.SIGTERM),
}


@pytest.mark.parametrize("signals", SECOND.values(), ids=SECOND)
def test_R37_a_second_signal_acts_as_the_default(
    signals: tuple[signal.Signals, signal.Signals], exchange: Exchange, tmp_path: Path
) -> None:
    body = f"""
    feed.on_trade(lambda trade: (print('stuck', flush=True), time.sleep(60)))
    feed.start().subscribe('trade', '{A}').wait(10)
    feed.on_state(lambda change: None)
    def announce():
        while not inside_close():
            time.sleep(0.005)
        print('closing', flush=True)
    reader = next(thread for thread in threading.enumerate() if 'reader' in thread.name)
    inside_close = lambda: feed.state is FeedState.CLOSED
    threading.Thread(target=announce, daemon=True).start()
    ready_when_handled()
    feed.run_forever()
    """
    first, second = signals
    with running(exchange, tmp_path, body) as process:
        assert process.stdout is not None
        exchange.trade(A, "yes", "0.5", 1)
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(first)
        assert process.stdout.readline() == "closing\n"
        time.sleep(0.1)  # the main thread waits for the callback that does not return
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(second)
        assert process.wait(10) == -second
        assert time.monotonic() - began < 3  # the close itself takes 5 s


def test_R37_a_hangup_that_comes_more_than_once(exchange: Exchange, tmp_path: Path) -> None:
    """The kernel and the shell each send a SIGHUP when a session is lost: the second one must not cost what
    the first one saves."""
    body = f"""
    feed.start().wait_for_book('{A}', 10)
    ready_when_handled()
    feed.run_forever()
    print('closed', flush=True)
    time.sleep(0.3)  # a batch is written, say
    print('written', flush=True)
    time.sleep(60)
    """
    with running(exchange, tmp_path, body) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "closed\n"
        assert process.stdout.readline() == "written\n"

        def hang_up() -> bool:
            process.send_signal(signal.SIGHUP)
            return process.poll() is not None

        wait_until(hang_up)  # the first one that comes late enough counts as a new one
        assert process.returncode == -signal.SIGHUP


@pytest.mark.parametrize("how", ["ignored", "handled", "signals=()"])
def test_R37_a_handler_of_the_program_stays(how: str, feed: KalshiFeed, make_feed: FeedMaker) -> None:
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        feed.close()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if how == "ignored" else handler)
    other = make_feed()
    inside: list[object] = []

    def look() -> None:
        inside.extend(signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGHUP)
        if how == "ignored":
            feed.close()

    try:
        timer = (
            threading.Timer(0.3, look)
            if how == "signals=()"
            else in_thread(lambda: (taken(signal.SIGTERM), look()))
        )
        if isinstance(timer, threading.Timer):
            timer.start()
        if how == "signals=()":
            feed.run_forever(signals=())
        else:
            feed.run_forever()
        timer.join() if isinstance(timer, threading.Timer) else timer.result()
        assert seen == ([] if how == "ignored" else [signal.SIGHUP])
        assert inside[0] is (signal.SIG_IGN if how == "ignored" else handler)
        assert (inside[1] is signal.SIG_DFL) == (how == "signals=()")
        assert (
            signal.getsignal(signal.SIGHUP) is inside[0]
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert other.state is FeedState.IDLE


def test_R37_off_the_main_thread_nothing_is_installed(feed: KalshiFeed) -> None:
    with in_thread_closing(feed) as call:
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == [
            signal.SIG_DFL
        ] * 2
        feed.close()
        assert call.ended() is None


@contextmanager
def in_thread_closing(feed: KalshiFeed) -> Iterator[in_thread]:
    feed.wait_until_connected(5)
    begun = threading.Event()

    def run() -> None:
        with feed.closing_on_signals():
            begun.set()
            feed.run_forever()

    call = in_thread(run)
    assert begun.wait(5)
    yield call


def test_R37_feeds_side_by_side_and_blocks_inside_one_another(make_feed: FeedMaker) -> None:
    """Each feed whose block is open is closed, even if the other one installed its handlers first."""
    one, two, three = make_feed().start(), make_feed().start(), make_feed().start()
    for feed in (one, two, three):
        feed.wait_until_connected(5)
    with one.closing_on_signals():
        with two.closing_on_signals():
            pass
        with one.closing_on_signals():
            sender = in_thread(lambda: send(signal.SIGUSR1, signal.SIGTERM))
            two.run_forever(signals=(*CLOSING_SIGNALS, signal.SIGUSR1))
            sender.result()
        assert one.state is two.state is FeedState.CLOSED
        with pytest.raises(FeedClosedError):
            one.wait_for("trade")
    assert three.state is FeedState.CONNECTED
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == [signal.SIG_DFL] * 2


@pytest.mark.parametrize("wrong", [15, None, ("SIGTERM",), (signal.SIGKILL,), (12345,)])
def test_R37_signals_that_cannot_be_handled(wrong: object, make_feed: FeedMaker) -> None:
    feed = make_feed()
    with pytest.raises(ConfigurationError, match="signals"):
        feed.run_forever(signals=wrong)  # type: ignore[arg-type]
    assert feed.state is FeedState.IDLE
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_R37_a_signal_of_choice(feed: KalshiFeed) -> None:
    sender = in_thread(lambda: send(signal.SIGUSR1, signal.SIGUSR1))
    feed.run_forever(signals=[signal.SIGUSR1])
    sender.result()
    assert feed.state is FeedState.CLOSED
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@BOTH
def test_R37_a_forked_child_dies_of_it_like_any_process(
    number: signal.Signals, exchange: Exchange, tmp_path: Path
) -> None:
    """multiprocessing ends its workers with SIGTERM; a handler that closed the parent's feed would keep them
    alive."""
    body = f"""
    import os
    feed.start().wait_for_book('{A}', 10)
    with feed.closing_on_signals():
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        print('ready', flush=True)
        time.sleep(0.2)
        os.kill(child, {int(number)})
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), feed.state.value)
    """
    with running(exchange, tmp_path, body) as process:
        assert ended(process) == [f"{-number} CONNECTED"]


def test_R37_a_signal_right_before_the_start(exchange: Exchange, tmp_path: Path) -> None:
    """At every line of run_forever() and start(): the feed does not stay open, and the program does not
    hang."""
    body = """
    import faulthandler, logging
    logging.getLogger('kalshi_feed').addHandler(logging.NullHandler())  # the dials are refused
    faulthandler.dump_traceback_later(170, exit=True)
    from kalshi_feed.engine import engine as module
    from kalshi_feed import feed as face
    files = (module.__file__, face.__file__)
    def lines_of(at):
        count = total = 0
        def trace(frame, event, argument):
            nonlocal count, total
            if frame.f_code.co_filename not in files:
                return None
            if frame.f_code.co_name == 'wait_until_ended' and not total:
                total = count
            if event == 'line' and frame.f_code.co_name in ('run_forever', 'start'):
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGTERM)
            return trace
        feed = KalshiFeed(credentials, url='wss://127.0.0.1:1/', ssl_context=context)  # nothing listens there
        ender = threading.Timer(1.0, feed.close)
        if at < 0:
            ender.start()
        sys.settrace(trace)
        try:
            feed.run_forever()
        finally:
            sys.settrace(None)
        ender.cancel()
        assert feed.state is FeedState.CLOSED, feed
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        return total
    print('ready', flush=True)
    total = lines_of(-1)
    for at in range(3, total + 1):  # before the third line the handlers are the default ones
        lines_of(at)
    print(total > 15, own_threads())
    """
    with running(exchange, tmp_path, body) as process:
        assert ended(process, 180) == ["True []"]
    assert own_threads() == []
