"""A relay at odd moments: forked, interrupted, dropped, at the interpreter's exit, hit by our own bugs."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from kalshi_feed import FeedForkedError, FeedState, KalshiFeed
from kalshi_feed.relay import Relay, publishing
from kalshi_feed.relay.layout import EntryKind
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, FeedMaker, Recorder, wait_equal
from tests.relay.redis_server import RedisServer
from tests.relay.stream import ALICE, RelayKeys
from tests.support import end_if_it_hangs, wait_until

PROGRAM = """
from kalshi_feed import KalshiFeed
from kalshi_feed.relay import Relay
TICKER = "{ticker}"
feed = KalshiFeed.from_env()
feed.subscribe("orderbook_delta", TICKER)
relay = Relay(feed, "{url}", name="{name}")
{how}
"""


def test_a_forked_child_leaves_the_relay_alone(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        child = os.fork()
        if not child:
            end_if_it_hangs()
            code = 1
            try:
                relay.close()
                with pytest.raises(FeedForkedError):
                    relay.start()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        exchange.change(A, "yes", "0.40", 1)
        wait_equal(feed, exchange, A)
        assert relay.is_writer
        assert relay.stats().errors == 0
    assert relayed.entries()[-1].kind is EntryKind.END


@pytest.mark.slow
def test_the_end_of_the_program_is_the_end_of_the_stream(
    exchange: Exchange, redis_server: RedisServer, tmp_path: Any
) -> None:
    """At the interpreter's exit without a close(), and by signals in run_forever()."""
    key, ca = exchange.write_credentials(tmp_path)
    environment = {
        **os.environ,
        "KALSHI_API_KEY_ID": exchange.api_key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(key),
        "KALSHI_CA_FILE": str(ca),
        "KALSHI_URL": exchange.url,
    }
    programs = {}
    for how in ("exit", "SIGTERM", "SIGINT"):
        what = "relay.start(); feed.wait_for_book(TICKER, 10)" if how == "exit" else "relay.run_forever()"
        text = PROGRAM.format(url=redis_server.url, name=how, ticker=A, how=what)
        programs[how] = subprocess.Popen([sys.executable, "-W", "error", "-c", text], env=environment)
    try:
        for how, process in programs.items():
            relayed = RelayKeys(redis_server.client(), how)
            wait_until(lambda: "orderbook_snapshot" in relayed.messages(), 60)  # noqa: B023
            if how != "exit":
                process.send_signal(getattr(signal, how))
            assert process.wait(30) == 0
            assert relayed.entries()[-1].kind is EntryKind.END
            assert redis_server.client().get(relayed.keys.lease) is None
    finally:
        for process in programs.values():
            process.kill()
            process.wait()


def test_ctrl_c_while_it_waits_for_the_lease_leaves_nothing_behind(
    make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    redis_server.client().set(relayed.keys.lease, "another one", px=3000)
    relay = Relay(make_feed(), redis_server.url)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        relay.start()
    assert relay.stats().state == "idle"
    assert relay.feed.state is FeedState.IDLE
    redis_server.client().delete(relayed.keys.lease)
    with relay:
        assert relay.is_writer


def test_a_dropped_relay_ends_with_its_feed(exchange: Exchange, redis_server: RedisServer) -> None:
    relayed = RelayKeys(redis_server.client())
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    relay = Relay(feed, redis_server.url).start()
    del feed
    gc.collect()
    assert relay.is_writer  # it holds its feed
    with pytest.warns(ResourceWarning, match="dropped without close"):
        del relay
        gc.collect()
    wait_until(lambda: relayed.entries()[-1].kind is EntryKind.END)


def test_a_callback_may_close_it(exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer) -> None:
    feed = make_feed()
    relay = Relay(feed, redis_server.url)
    feed.subscribe("orderbook_delta", [A])
    feed.on_snapshot(lambda _: relay.close())
    relay.start()
    wait_until(lambda: relay.stats().state == "ended" and feed.state is FeedState.CLOSED)


@pytest.mark.parametrize("where", ["encode_read", "push", "compressed_checkpoint"])
def test_a_bug_of_ours_costs_a_new_generation(
    exchange: Exchange,
    feed: KalshiFeed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    relayed = RelayKeys(redis_server.client())
    seen = Recorder(feed)
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints)
        generation = relay.stats().generation
        intact = getattr(publishing, where)

        def broken(*_: Any, **__: Any) -> None:
            monkeypatch.setattr(publishing, where, intact)
            raise ZeroDivisionError("planted")

        monkeypatch.setattr(publishing, where, broken)
        relayed.want(ALICE, requests=[])
        relay._publisher.ask_for_checkpoint()  # type: ignore[union-attr]
        exchange.change(A, "yes", "0.40", 1)
        wait_until(lambda: relay.is_writer and relay.stats().generation > generation)
        wait_until(lambda: (id := relayed.checkpoint_id()) is not None and id.generation > generation)
        wait_equal(feed, exchange, A)
    assert ["planted" in fault.message for fault in seen.faults if fault.kind == "relay"] == [True]


def test_a_new_session_after_a_bug_is_a_hole_for_consumers(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, tmp_path: Any
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints == 1)
        engine = feed._engine
        receive, planted = engine.session.receive, threading.Event()

        def broken(*arguments: Any) -> None:
            if not planted.is_set():
                planted.set()
                raise ZeroDivisionError("planted")
            receive(*arguments)

        engine.session.receive = broken  # type: ignore[method-assign]
        exchange.change(A, "yes", "0.40", 1)
        wait_until(lambda: relay.stats().checkpoints == 2 and feed.book(A).is_live)
        exchange.change(A, "yes", "0.40", 1)
        wait_equal(feed, exchange, A)
    numbers = [entry.id.number for entry in relayed.entries()]
    assert len(set(range(1, numbers[-1])).difference(numbers)) == 1
    assert relayed.replayed_books(tmp_path / "relayed.ndjson", A) == [exchange.book(A)]


def test_a_standby_ends_at_once(make_feed: FeedMaker, redis_server: RedisServer) -> None:
    with Relay(make_feed(), redis_server.url):
        standby = Relay(make_feed(), redis_server.url, standby=True).start()
        began = time.monotonic()
        standby.close()
        assert time.monotonic() - began < 1.0
        assert standby.stats().state == "ended"
        assert standby.feed.state is FeedState.CLOSED
