"""R13: a child process can use nothing of the feed, says so, and does not harm the parent."""

# mypy: no-strict-equality

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedForkedError, KalshiFeed
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.connection.raw_server import Peer, RawServer
from tests.feed.support import A, B, FeedMaker, Recorder, program, wait_equal
from tests.support import end_if_it_hangs, open_descriptors, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "add_markets": (B,),
    "delete_markets": (A,),
    "best_ask": ("yes",),
    "cost_to_buy": ("yes", 1),
    "cost_to_sell": ("yes", 1),
    "depth_at": ("yes", "0.4"),
    "book": (A,),
    "list_subscriptions": (1,),
    "every": (1,),
    "messages": ("trade",),
    "sleep": (1,),
    "on": ("trade", print),
    "record": ("recording.ndjson",),
    "subscribe": ("ticker",),
    "subscribe_indices": ("BRTI",),
    "subscribe_underlyings": ("BTC",),
    "unsubscribe_indices": ("BRTI",),
    "unsubscribe_underlyings": ("BTC",),
    "wait": (1,),
    "wait_for": ("trade", None, 1),
    "wait_for_book": (A, 1),
    "wait_for_update": (1,),
    "wait_until_connected": (1,),
}
HARMLESS = {"close", "from_env", "from_relay", "market_ticker", "replay"}


def _uses(thing: Any) -> dict[str, Callable[[], Any]]:
    """Return every public property and method of an object, ready to be called."""
    uses: dict[str, Callable[[], Any]] = {}
    kind = type(thing)
    for name in dir(kind):
        if name.startswith("_") or name in HARMLESS:
            continue
        if callable(getattr(kind, name)):
            given = ARGUMENTS.get(name, (print,) if name.startswith("on_") or name == "off" else ())
            uses[f"{kind.__name__}.{name}"] = lambda name=name, given=given: getattr(thing, name)(*given)  # type: ignore[misc]
        else:
            uses[f"{kind.__name__}.{name}"] = lambda name=name: getattr(thing, name)  # type: ignore[misc]
    return uses


def _in_child(work: Callable[[], str]) -> str:
    """Return what ``work`` returns in a child made by os.fork(). The child exits at once, without cleaning
    up."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: fork with threads
        pid = os.fork()
    if pid == 0:
        try:
            end_if_it_hangs()
            try:
                said = work()
            except BaseException as error:
                said = f"raised {error!r}"
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    time.sleep(0.001)  # gevent closes it when its loop next runs
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return said or f"the child ended with {status}"


def _refusals(uses: dict[str, Callable[[], Any]]) -> str:
    wrong = []
    for name, use in uses.items():
        try:
            use()
            wrong.append(f"{name} returned")
        except FeedForkedError:
            pass
        except BaseException as error:
            wrong.append(f"{name} raised {error!r}")
    return "; ".join(wrong) or "all refused"


@pytest.mark.greenlets
def test_R13_every_public_call_is_refused_in_the_child_and_the_parent_unharmed(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    heard = Recorder(feed)
    subscription = feed.subscribe(["orderbook_delta", "trade"], [A]).wait(5)
    book, books = feed.wait_for_book(A, timeout=5), feed.books
    stream = feed.messages("trade")
    exchange.trade(A, "yes", "0.5", 1)
    wait_until(lambda: heard.of("trade"))
    uses: dict[str, Callable[[], Any]] = {}
    for thing in (feed, book, subscription):
        uses |= _uses(thing)
    uses |= {
        "with": feed.__enter__,
        "books[]": lambda: books[A],
        "len(books)": lambda: len(books),
        "list(books)": lambda: list(books),
        "next(stream)": lambda: next(stream),
        "stream.get": lambda: stream.get(1),
    }
    assert len(uses) > 70

    def child() -> str:
        refused = _refusals(uses)
        shown = f"{feed!r} {book!r} {subscription!r} {books!r} {stream!r}"  # a repr never raises
        # there is nothing to close, and a with statement that the child leaves must not fail because of it
        feed.close()
        return f"{refused}, {'forked' in shown}"

    assert _in_child(child) == "all refused, True"
    assert stream.get(0).count == 1  # the parent's messages are for the parent to read
    exchange.trade(A, "yes", "0.5", 2)
    exchange.change(A, "yes", "0.4", 1)
    wait_until(lambda: len(heard.of("trade")) == 2)
    wait_equal(feed, exchange, A)
    assert feed.stats().reconnects == 0


def _of_the_feed(feed: KalshiFeed) -> set[str]:
    """Return the connection and the wake-up pair, as /proc names them."""
    reader, transport = inside.reader(feed), inside.transport(feed)
    assert reader is not None and transport is not None
    numbers = [transport.fileno(), reader.wakeup.fileno(), reader.wakeup._writer.fileno()]
    return {os.readlink(f"/proc/self/fd/{number}") for number in numbers}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc here")
@pytest.mark.greenlets
def test_R13_the_child_holds_no_descriptor_of_the_feed(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed().start()
    feed.wait_for_book(A, timeout=5)
    mine = _of_the_feed(feed)
    assert len(mine) == 3
    assert _in_child(lambda: f"{len(mine & set(open_descriptors()))} left") == "0 left"
    assert mine <= set(open_descriptors())
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)


def test_R13_a_child_does_not_keep_the_connection_open(make_feed: FeedMaker) -> None:
    """The child says nothing to the peer. When the parent's end is gone, the peer sees it although the child
    lives on."""
    ended: list[float] = []

    def serve(peer: Peer) -> None:
        peer.handshake()
        frames = []
        try:
            while True:
                # a farewell from the child would arrive as one, or end the reading
                frames.append(peer.read_frame())
        except (ConnectionError, OSError):
            ended.append(time.monotonic())
        assert [opcode for opcode, _ in frames] == [8]

    with RawServer(serve) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2", ssl_context=None).start()
        feed.wait_until_connected(5)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent has seen enough
            os._exit(0)
        os.close(reading)
        try:
            assert not ended
            feed.close(timeout=0.2)
            wait_until(lambda: ended, what="the peer to see the end")
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        finally:
            os.close(writing)
            os.waitpid(pid, 0)


def test_R13_multiprocessing(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            book.best_bid()
            answers.put("returned")
        except FeedForkedError as error:
            answers.put(str(error))

    process = context.Process(target=child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    said = answers.get()
    process.join(10)
    assert process.exitcode == 0
    process.close()
    answers.close()
    assert "made before fork()" in said and "Make a new KalshiFeed" in said
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)


def test_R13_the_child_makes_a_feed_of_its_own(exchange: Exchange, tmp_path: Path) -> None:
    body = f"""
    feed.start().wait_for_book('{A}', 5)
    pid = os.fork()
    if pid == 0:
        with make() as own:
            print('child', own.wait_for_book('{A}', 5).best_bid().price, flush=True)
        sys.exit(0)  # the whole way out, atexit and all
    print('status', os.waitpid(pid, 0)[1], flush=True)
    print('parent', feed.wait_for_book('{A}', 5).best_bid().price, feed.stats().reconnects, own_threads())
    """
    command = program(exchange, tmp_path, body)
    # 3.12 and later warn about any fork with threads
    command[command.index("error")] = "error::ResourceWarning"
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    threads = ["kalshi-feed-reader", "kalshi-feed-worker-0"]
    assert done.stdout.splitlines() == ["child 0.4000", "status 0", f"parent 0.4000 0 {threads}"]


@pytest.mark.parametrize("ending", ["os._exit(7)", "pass", "raise LookupError", "feed.close()"])
def test_R13_fork_in_a_callback(ending: str, exchange: Exchange, tmp_path: Path) -> None:
    """A child that returns from the callback gets nothing more and ends; what it does inside is its own
    business."""
    body = f"""
    import logging
    logging.disable(logging.CRITICAL)
    parent, seen, children = os.getpid(), [], []

    @feed.on_trade
    def trade(trade):
        if os.getpid() != parent:
            os.write(1, b'a trade in the child;')
        seen.append(trade)
        if len(seen) == 1:
            pid = os.fork()
            if pid == 0:
                {ending}
            else:
                children.append(pid)

    feed.start().subscribe(['trade', 'orderbook_delta'], '{A}').wait(5)
    print('ready', flush=True)
    while len(seen) < 50:
        time.sleep(0.005)
    print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]), feed.stats().reconnects, len(seen), flush=True)
    print(feed.wait_for_book('{A}', 5).is_live, flush=True)
    feed.close()
    """  # noqa: E501
    command = program(exchange, tmp_path, body)
    command[command.index("error")] = "error::ResourceWarning"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(50):
            exchange.trade(A, "yes", "0.5", 1)
        out, err = process.communicate(timeout=20)
    assert err == ""
    assert out.splitlines() == ["7 0 50" if "_exit" in ending else "0 0 50", "True"]
