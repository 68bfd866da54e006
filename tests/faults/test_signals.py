"""R09: signal handlers close the feed on top of whatever the main thread is doing, in a separate program."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed
from kalshi_feed.engine import live
from kalshi_feed.engine.requests import UserRequests
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, own_threads, program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here"),
]

SECONDS = 4.0  # per signal: half of it with many closes, half with few

# Every signal comes every 0.5 ms; one in `share` of them closes the feed, the others look at it.
STORM = """
import faulthandler, logging, random
from tests import inside
faulthandler.dump_traceback_later(30, exit=True)
dice = random.Random(9)
logging.lastResort.emit = lambda record: (print(record.getMessage(), file=sys.stderr), faulthandler.dump_traceback())
handled = closes = live = rounds = depth = 0
longest = 0.0
share, kind = {share}, {kind!r}

def handler(number, frame):
    global handled, closes, longest, depth
    handled += 1
    began = time.monotonic()
    depth += 1
    if depth > 50:  # a machine too slow for this pace, not a feed that recurses
        pass
    elif dice.random() < 1 / share:
        closes += 1
        feed.close(timeout=2)
    else:
        dice.choice((feed.stats, feed.health, feed.book('{a}').view, lambda: feed.subscriptions, lambda: feed.state))()
    depth -= 1
    longest = max(longest, time.monotonic() - began)

signal.signal(signal.SIGALRM, handler)
signal.signal(signal.SIGTERM, handler)
ended = False

def terminate():
    while not ended:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(0.0005)

until = time.monotonic() + {seconds}
sender = threading.Thread(target=terminate)
if kind == 'SIGTERM':
    sender.start()
else:
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
enough = lambda: handled > 200 and closes > 3 and rounds > 5 or time.monotonic() > until + 10  # a loaded machine takes longer
while time.monotonic() < until or not enough():
    rounds += 1
    try:
        feed.start()
        subscription = feed.subscribe(['orderbook_delta', 'trade'], ['{a}', '{b}'])
        feed.wait_for_book('{a}', timeout=0.2)
        live += 1
        subscription.wait(0.05)
        feed.on_trade(print)
        feed.off(print)
        feed.book('{b}').wait_for_update(0.005)
    except (KalshiFeedError, OSError):
        pass
    for subscription in feed.subscriptions:
        subscription.unsubscribe()
    if dice.random() < 0.1:
        feed.close(timeout=2)
ended = True
signal.setitimer(signal.ITIMER_REAL, 0)
if kind == 'SIGTERM':
    sender.join()
began = time.monotonic()
feed.close(timeout=1)
took = time.monotonic() - began
left = time.monotonic() + 2
while own_threads() and time.monotonic() < left:
    time.sleep(0.01)
with feed:  # none the worse for it
    again = feed.wait_for_book('{a}', timeout=5).is_live
print(json.dumps(dict(handled=handled, closes=closes, live=live, rounds=rounds, longest=longest, took=took, again=again,
                      threads=own_threads(), state=feed.state.value, waiters=inside.waiters(feed))))
"""  # noqa: E501


@pytest.mark.parametrize("share", [3, 200])
@pytest.mark.parametrize("kind", ["SIGALRM", "SIGTERM"])
def test_R09_close_in_a_signal_handler_every_half_millisecond(
    kind: str, share: int, exchange: Exchange, tmp_path: Path
) -> None:
    body = STORM.format(share=share, kind=kind, seconds=SECONDS / 2, a=A, b=B)
    done = subprocess.run(program(exchange, tmp_path, body), capture_output=True, text=True, timeout=45)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert told["handled"] > 200
    assert told["closes"] > 3
    assert told["rounds"] > 5
    assert told["took"] < 2
    assert told["longest"] < 5  # 2 s of waiting, 0.5 s of grace, and handlers on top of handlers
    assert (told["threads"], told["state"], told["waiters"], told["again"]) == ([], "CLOSED", 0, True)
    exchange.wait_for_connections(0)


@pytest.mark.parametrize("moment", ["run_forever", "wait_for_book", "close", "messages"])
def test_R09_sigterm_ends_a_program_that_waits(moment: str, exchange: Exchange, tmp_path: Path) -> None:
    """The usual way to stop a service: a handler of SIGTERM that closes the feed."""
    waits = {
        "run_forever": "feed.run_forever()",
        "wait_for_book": "feed.wait_for_book('KXNEVER')",
        "close": "came.wait(10); feed.close(2)",
        "messages": "list(feed.messages('trade'))",
    }
    exchange.mute_books = {"KXNEVER"}  # its book never becomes LIVE
    body = f"""
    signal.signal(signal.SIGTERM, lambda number, frame: feed.close(timeout=2))
    came = threading.Event()
    feed.on_trade(lambda trade: (print('closing', flush=True), came.set(), time.sleep(60)))
    feed.start().subscribe('trade', '{A}').wait(5)
    print('ready', flush=True)
    try:
        {waits[moment]}
        print('returned', flush=True)
    except FeedClosedError:
        print('FeedClosedError', flush=True)
    """
    with subprocess.Popen(
        program(exchange, tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if moment == "close":
            exchange.trade(A, "yes", "0.5", 1)
            assert process.stdout.readline() == "closing\n"
        elif moment == "wait_for_book":
            exchange.wait_for_command("subscribe", n=2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
        took = time.monotonic() - began
    assert out.split() == (["FeedClosedError"] if moment == "wait_for_book" else ["returned"]), err
    assert process.returncode == 0, err
    assert took < 6


def test_R09_close_in_a_signal_handler_on_top_of_start(
    make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that is about to start does not start, because nothing would close it again."""
    feed = make_feed()
    real = live.Reader

    def interrupted(*args: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(*args)

    before = signal.signal(signal.SIGTERM, lambda number, frame: feed.close())
    try:
        with monkeypatch.context() as patch:
            patch.setattr(live, "Reader", interrupted)
            feed.run_forever()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert feed.state is FeedState.CLOSED
    assert own_threads() == []
    assert feed.start().wait_for_book(A, timeout=5).is_live


def test_R09_close_in_a_signal_handler_on_top_of_subscribe(
    make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler finds a market that is wanted and does not have a book yet."""
    feed = make_feed()
    told: list[Any] = []

    def handler(number: int, frame: Any) -> None:
        told.append((feed.state, feed.health().status, list(feed.books)))
        feed.close()

    real = UserRequests.open_book_locked

    def interrupted(requests: UserRequests, market_ticker: str) -> None:
        if not told:
            signal.raise_signal(signal.SIGTERM)
        real(requests, market_ticker)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(UserRequests, "open_book_locked", interrupted)
            feed.subscribe("orderbook_delta", [A, B])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [(FeedState.IDLE, "down", [])]
    assert feed.state is FeedState.CLOSED
    assert feed.start().wait_for_book(B, timeout=5).is_live


def test_R09_signals_on_top_of_a_close_that_waits(exchange: Exchange, feed: KalshiFeed) -> None:
    """The peer does not answer the close frame. The close() of each signal finds another one waiting below
    it, and leaves the work to that one."""
    feed.wait_until_connected(5)
    exchange.freeze()
    inside = deepest = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal inside, deepest
        inside += 1
        deepest = max(deepest, inside)
        feed.close(timeout=1)
        inside -= 1

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)  # 200 times before the close gives up
    began = time.monotonic()
    try:
        feed.close(timeout=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 5
    assert 0 < deepest < 50
    assert feed.state is FeedState.CLOSED
