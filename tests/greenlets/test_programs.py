"""Programs on gevent, patched first or late, and on eventlet: what greenlets broke once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange
from tests.support import wait_until

from .support import EVERYWHERE, GEVENT, finish, running

pytestmark = pytest.mark.slow

A = "KX-A"


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519", markets=(A,), rate=1000, seed=3, heartbeat=0.3) as exchange:
        yield exchange


@pytest.mark.parametrize("mode", EVERYWHERE)
def test_a_computing_callback_lets_others_run(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    def compute(message):
        end = time.perf_counter() + 0.0015
        while time.perf_counter() < end:
            pass
    with make() as feed:
        feed.on("orderbook_delta", compute)
        feed.wait_for_book("KX-A", timeout=10)
        late = []
        for _ in range(25):
            begun = time.perf_counter()
            time.sleep(0.01)
            late.append(time.perf_counter() - begun - 0.01)
        say(sorted(late)[12])
        feed.off(compute)
    """
    with running(exchange, tmp_path, mode, body) as process:
        (median,) = finish(process, 40)
    assert float(median) < 0.5  # it was over a second


@pytest.mark.parametrize("mode", GEVENT)
def test_a_computing_request_stops_neither_the_reader_nor_the_pongs(
    mode: str, exchange: Exchange, tmp_path: Path
) -> None:
    body = """
    with make() as feed:
        book = feed.wait_for_book("KX-A", timeout=10)
        say("computing")
        end, oldest, sequence = time.perf_counter() + 4, 0.0, book.view().version
        while time.perf_counter() < end:
            oldest = max(oldest, feed.stats().last_message_age)
        say(oldest, book.is_live, book.view().version > sequence)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert process.stdout is not None and process.stdout.readline() == "computing\n"
        pongs = exchange.pongs
        wait_until(lambda: exchange.pongs >= pongs + 3, 3.8, "three pongs while it computes")
        (said,) = finish(process)
    oldest, *rest = said.split()
    assert float(oldest) < 2 and rest == ["True", "True"]  # 4 s if the reader could not run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("mode", EVERYWHERE)
def test_a_forked_child_makes_no_connection(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    with make() as feed:
        book = feed.wait_for_book("KX-A", timeout=10)
        warnings.simplefilter("ignore")
        pid = os.fork()
        if pid == 0:
            time.sleep(1)  # any greenlet may run
            os._exit(0)
        seen = book.view().version
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            time.sleep(0.02)
        say(ended[1], book.is_live, book.view().version > seen, feed.stats().reconnects)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert finish(process) == ["0 True True 0"]
    assert len(exchange.handshakes) == 1


@pytest.mark.parametrize("callback", ["pass", "sum(range(200_000))"], ids=["quick", "computing"])
@pytest.mark.parametrize("mode", EVERYWHERE)
def test_one_ctrl_c_ends_run_forever(mode: str, callback: str, exchange: Exchange, tmp_path: Path) -> None:
    body = f"""
    feed = make()
    @feed.on("orderbook_delta")
    def compute(message):
        {callback}
    feed.subscribe("orderbook_delta", "KX-A")
    try:
        feed.start().wait_for_book("KX-A", timeout=10)
        say("ready")
        feed.run_forever()
    except KeyboardInterrupt:
        pass
    feed.close()
    say(feed.state.value)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # somewhere in its loop
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out.strip().lower()) == (0, "closed"), (out, err)
    exchange.wait_for_connections(0)


@pytest.mark.parametrize("waiting", ["feed.run_forever()", "busy()"], ids=["hub", "greenlet"])
@pytest.mark.parametrize("mode", EVERYWHERE)
def test_close_in_a_signal_handler(mode: str, waiting: str, exchange: Exchange, tmp_path: Path) -> None:
    body = f"""
    feed = make()
    signal.signal(signal.SIGTERM, lambda *_: feed.close())
    def busy():
        while feed.state.value.lower() != "closed":
            time.perf_counter()
    feed.start().wait_for_book("KX-A", timeout=10)
    say("ready")
    {waiting}
    say(feed.state.value.lower())
    feed.close()
    """
    if mode == "eventlet" and waiting == "busy()":
        pytest.skip("eventlet's reader is a greenlet: it cannot run while another one computes")
    with running(exchange, tmp_path, mode, body) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # in run_forever()
        process.send_signal(signal.SIGTERM)
        assert finish(process, 10) == ["closed"]
    exchange.wait_for_connections(0)


@pytest.mark.parametrize("mode", EVERYWHERE)
def test_close_is_quick_and_one_process_feed_is_made(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    def make_slowly():
        time.sleep(0.1)  # the other greenlets ask meanwhile
        return make()

    feeds = kalshi_feed.contrib.process.ProcessFeed(make_slowly)
    found = []
    threads = [threading.Thread(target=lambda: found.append(feeds.get())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found[0].wait_for_book("KX-A", timeout=10)
    begun = time.monotonic()
    feeds.close()
    say(len(found), len(set(found)), time.monotonic() - begun < 2)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert finish(process) == ["6 1 True"]
    assert len(exchange.handshakes) == 1


@pytest.mark.parametrize("mode", GEVENT[1:])
def test_a_feed_made_before_the_patch_says_so(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    for use in (early.start, lambda: early.subscribe("trade", "KX-A"), lambda: early.wait_for_book("KX-A", timeout=5)):
        try:
            use()
        except ConfigurationError as error:
            say(error)
    """  # noqa: E501
    with running(exchange, tmp_path, mode, body, before="early = make()") as process:
        said = finish(process)
    assert len(said) == 3
    assert all("made before gevent patched the standard library" in line for line in said)


@pytest.mark.parametrize("mode", GEVENT)
def test_gevents_own_threads_may_wait(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    import gevent
    with make() as feed:
        feed.subscribe("orderbook_delta", "KX-A").wait(5)
        waiting = gevent.get_hub().threadpool.spawn(feed.wait_for, "orderbook_delta", timeout=5)
        message = waiting.get(timeout=10)
        say(message.market_ticker)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert finish(process) == [A]


@pytest.mark.parametrize("mode", GEVENT)
def test_a_real_thread_that_sleeps_makes_no_event_loop(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = """
    from gevent._hub_local import get_hub_if_exists
    from kalshi_feed.recording.files import patiently
    from kalshi_feed.threads import ServiceThread
    tries, loops = [], []
    def remove():
        tries.append(1)
        if len(tries) < 3:
            raise PermissionError
    def work():
        patiently(remove)
        loops.append(get_hub_if_exists())
    thread = ServiceThread(work, "recorder", is_real=True)
    thread.start()
    thread.join(10)
    say(len(tries), loops)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert finish(process) == ["3 [None]"]


@pytest.mark.parametrize("mode", EVERYWHERE)
def test_a_recording_replayed_in_recorded_time(mode: str, exchange: Exchange, tmp_path: Path) -> None:
    body = f"""
    path = {str(tmp_path / "recording.ndjson")!r}
    with make() as feed:
        recording = feed.record(path)
        feed.wait_for_book("KX-A", timeout=10)
        for _ in range(20):
            feed.wait_for("orderbook_delta", timeout=5)
    heard = []
    with KalshiFeed.replay(path, speed="wait") as again:
        again.on("orderbook_delta", heard.append)
        again.subscribe("orderbook_delta", "KX-A")
        again.wait_for_book("KX-A", timeout=10)
        try:
            while True:
                again.sleep(0.05)
        except FeedClosedError:
            pass
    say(len(heard) >= 20)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert finish(process) == ["True"]


@pytest.mark.parametrize(
    ("mode", "is_warned"),
    [pytest.param("none", True, id="unpatched"), pytest.param("first", False, id="patched")],
)
def test_socketio_without_the_patch_is_warned_of_once(
    mode: str, is_warned: bool, exchange: Exchange, tmp_path: Path
) -> None:
    pytest.importorskip("gevent", reason="gevent (extra hosts) is not installed")
    pytest.importorskip("engineio", reason="python-socketio (extra hosts) is not installed")
    body = """
    import socketio
    server = socketio.Server(async_mode="gevent")
    with make() as feed:
        feed.wait_for_book("KX-A", timeout=10)
        say("connected")
        while feed.stats().reconnects == 0:  # it is not warned of again
            time.sleep(0.01)
    """
    with running(exchange, tmp_path, mode, body) as process:
        assert process.stdout is not None and process.stdout.readline() == "connected\n"
        exchange.disconnect()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    lines = [line for line in err.splitlines() if "Socket.IO" in line]
    assert len(lines) == is_warned
    assert all("WARNING" in line and "monkey.patch_all()" in line for line in lines)
