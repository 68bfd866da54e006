"""``python -m tests.soak.relay.parts CONFIG``: a relay or one of its consumers, as a process of its own.

CONFIG is a Part as JSON. The process writes lines of JSON, which begin with ``what``, and ends when its input
ends or at SIGTERM; then the last line of a consumer is its report.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from kalshi_feed import BookView, Credentials, FeedFault, KalshiFeedError, StateChange
from kalshi_feed.relay import Relay, registry, serving, wish_list, wishes
from tests.faults.oracle import Findings, Ledger, SharedTruth, Views
from tests.soak.line import CONNECT_SECONDS, IDLE_SECONDS, POLICY, SoakFeed
from tests.soak.relay.plants import PLANTS
from tests.soak.report import resident_mb

__all__ = ["KEEP", "OLD", "SILENCE", "ConsumerPart", "RelayPart", "scale_lease"]

SILENCE: Final = 2.0
KEEP: Final = 10.0
SAMPLE_SECONDS: Final = 0.1
FRESH: Final = 1.0  # seconds: a LIVE book that is older has not recovered yet
# None should be LIVE that is older than this, and none become LIVE: late entries, beats, some slack.
OLD: Final = SILENCE + 2.0
AGAIN: Final = 2.0
_STALL: Final = 0.5  # between two samples: this process stood still
_AFTER_STALL: Final = 1.5  # seconds until its books are judged by their age again
# The same, if the relay stood still: its own feed is LIVE then, until it has read what the kernel has kept.
_AFTER_RELAY_STALL: Final = 4.0
_BEAT: Final = 0.5


@dataclasses.dataclass(frozen=True)
class RelayPart:
    """A relay. ``key`` and ``ca``: files. ``lease``: how long wishes hold, in seconds, if not as usual."""

    redis: str
    exchange: str
    key_id: str
    key: str
    ca: str
    standby: bool = False
    lease: float | None = None
    role: str = "relay"


@dataclasses.dataclass(frozen=True)
class ConsumerPart:
    """A consumer. ``truth``: the oracle's file, for ``all_tickers``, or just ``tickers``, which it wants.
    ``plant``: a bug, see plants.py."""

    redis: str
    truth: str
    tickers: tuple[str, ...]
    name: str
    queue_size: int = 65_536
    workers: int = 1
    lease: float | None = None
    plant: str = ""
    all_tickers: tuple[str, ...] = ()
    role: str = "consumer"


def tell(what: str, **more: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"what": what, "at": time.monotonic(), **more}) + "\n")
    sys.stdout.flush()


class _Commands:
    """What the other process writes: "count" (what is in memory), or "excuse" (until ``excused_until``, books
    may be old). ``stop`` is set at the end of the input and by SIGTERM."""

    def __init__(self) -> None:
        self.excused_until = 0.0
        self.stop = threading.Event()
        self.count = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            if line.strip() == "count":
                self.count.set()
            elif line.strip() == "excuse":
                self.excused_until = time.monotonic() + _AFTER_RELAY_STALL
        self.stop.set()

    def look(self) -> None:
        """Do what was asked for."""
        if self.count.is_set():
            self.count.clear()
            gc.collect()
            kinds = Counter(type(item).__name__ for item in gc.get_objects())
            tell("count", objects=kinds.total(), kinds=dict(kinds.most_common(40)), mb=resident_mb())


def scale_lease(seconds: float | None) -> None:
    """Let wishes hold so long, so that a run sees them end. Relay and consumers must agree."""
    if seconds is not None:
        for module in (wishes, registry, serving, wish_list):
            assert hasattr(module, "LEASE")
            module.LEASE = seconds  # type: ignore[attr-defined]
        wish_list.RENEW_EVERY = seconds / 3  # type: ignore[misc]


# -- the relay -----------------------------------------------------------------------------------------------


def run_relay(part: RelayPart) -> int:
    """Run a relay until it is to end (0), or ends by itself (3)."""
    commands = _Commands()
    scale_lease(part.lease)
    feed = SoakFeed(
        Credentials.from_file(part.key_id, part.key),
        url=part.exchange,
        ssl_context=ssl.create_default_context(cafile=part.ca),
        reconnect=POLICY,
        connect_timeout=CONNECT_SECONDS,
        idle_timeout=IDLE_SECONDS,
    )
    relay = Relay(feed, part.redis, standby=part.standby, keep=KEEP)
    try:
        relay.start()
        while not commands.stop.wait(0.1) and relay.error is None:
            tell("relay", mb=resident_mb(), **dataclasses.asdict(relay.stats()))
            commands.look()
        error: KalshiFeedError | None = relay.error
    except KalshiFeedError as failed:
        error = failed
    finally:
        relay.close()
        feed.close()
    tell("ended", error="" if error is None else f"{type(error).__name__}: {error}")
    return 0 if error is None else 3


# -- a consumer ----------------------------------------------------------------------------------------------


class _Consumer:
    """A consumer and those who watch it."""

    def __init__(self, part: ConsumerPart) -> None:
        self._tickers = part.tickers
        self._truth = SharedTruth(Path(part.truth), part.all_tickers or part.tickers)
        self.feed = SoakFeed.from_relay(
            part.redis, silence=SILENCE, queue_size=part.queue_size, workers=part.workers
        )
        self.ledger = Ledger(
            self._truth, self.feed, part.workers, has_snapshots=False, market_tickers=part.tickers
        )
        self.shown, self.sampled = Views(self._truth), Views(self._truth)
        self._lock = threading.Lock()  # guards `shown` against several workers
        self.old = Findings()  # LIVE books that were too old
        self.oldest = 0.0  # seconds
        self.age = 0.0  # the same, since the last line
        self.faults: Counter[str] = Counter()
        self.texts = Findings()  # of the faults
        self.trades = 0
        self._not_live: set[str] = set(part.tickers)  # at the last sample
        self._last_sample = time.monotonic()
        self._judge_from = self._last_sample
        self.feed.on_book(self._shown, market_tickers=part.tickers[::3])
        self.feed.on_state(self._state)
        self.feed.on_error(self._fault)
        self.feed.on_trade(self._trade)
        self.feed.subscribe("orderbook_delta", part.tickers)
        self.feed.subscribe("trade", part.tickers)

    def _shown(self, view: BookView) -> None:
        with self._lock:
            self.shown.check(view)

    def _trade(self, trade: object) -> None:
        self.trades += 1

    def _state(self, change: StateChange) -> None:
        tell("state", state=change.state.value, reason=change.reason)

    def _fault(self, fault: FeedFault) -> None:
        self.faults[fault.kind] += 1
        self.texts.add(f"{fault.kind}: {fault.message}")

    def sample(self, judge_from: float) -> str:
        """Look at every book; return what is not right yet, "" if all of them are LIVE and fresh. No book is
        judged by its age before ``judge_from`` (time.monotonic())."""
        now = time.monotonic()
        self._judge_from = max(self._judge_from, judge_from)
        if now - self._last_sample > _STALL:
            self._judge_from = max(self._judge_from, now + _AFTER_STALL)
        self._last_sample = now
        not_live, oldest = [], 0.0
        for ticker in self._tickers:
            before = time.monotonic()
            view = self.feed.book(ticker).view()
            state = self.sampled.check(view)
            if not view.is_live:
                not_live.append(ticker)
            elif state is not None and (replaced := self._truth.replaced_at(ticker, state)) is not None:
                age = before - replaced
                oldest = max(oldest, age)
                if age > (AGAIN if ticker in self._not_live else OLD) and before >= self._judge_from:
                    which = "became" if ticker in self._not_live else "was"
                    self.old.add(f"{ticker} {which} LIVE {age:.1f} s after it had changed: {view!r}")
        self._not_live = set(not_live)
        if now >= self._judge_from:
            self.age = max(self.age, oldest)
            self.oldest = max(self.oldest, oldest)
        if not_live:
            return f"{len(not_live)} not LIVE, such as {not_live[0]}"
        return f"{oldest:.1f} s old" if oldest > FRESH else ""

    def behind(self) -> list[str]:
        """The markets whose newest change is not in the book."""
        return [
            ticker
            for ticker in self._tickers
            if self.sampled.check(self.feed.book(ticker).view()) != self._truth.newest(ticker)
        ]

    def undelivered(self) -> list[str]:
        """The markets whose newest change no callback has had."""
        return self.ledger.behind(self._tickers)

    def report(self) -> dict[str, Any]:
        """What was found."""
        ledger, stats = self.ledger, self.feed.stats()
        return {
            "wrong_live": self.shown.wrong.count + self.sampled.wrong.count + self.old.count,
            "unannounced": ledger.unannounced.count,
            "wrong_deliveries": ledger.wrong.count,
            "views": self.shown.checked + self.sampled.checked,
            "deltas": ledger.deltas,
            "snapshots": ledger.snapshots,
            "trades": self.trades,
            "announced": dict(ledger.announced),
            "lagged": ledger.lagged,
            "dropped": stats.dropped,
            "gaps": stats.gaps,
            "reconnects": stats.reconnects,
            "oldest": round(self.oldest, 2),
            "faults": dict(self.faults),
            "fault_texts": self.texts.texts[:10],
            "findings": [
                *self.shown.wrong.texts,
                *self.sampled.wrong.texts,
                *self.old.texts,
                *(f"not announced: {text}" for text in ledger.unannounced.texts),
                *ledger.wrong.texts,
            ][:20],
            "mb": resident_mb(),
        }


def run_consumer(part: ConsumerPart) -> int:
    """Run a consumer until it is to end; it must not end by itself."""
    commands = _Commands()
    scale_lease(part.lease)
    if part.plant:
        PLANTS[part.plant]()
    consumer = _Consumer(part)
    with consumer.feed:
        tell("started")
        last, next_beat = "not looked yet", 0.0
        while not commands.stop.wait(SAMPLE_SECONDS):
            trouble, now = consumer.sample(commands.excused_until), time.monotonic()
            if bool(trouble) != bool(last) or now >= next_beat:
                next_beat = now + _BEAT
                tell(
                    "sample",
                    trouble=trouble,
                    age=consumer.age,
                    behind=consumer.behind(),
                    undelivered=consumer.undelivered(),
                    report=consumer.report(),
                )
                consumer.age = 0.0
            last = trouble
            commands.look()
        tell("report", **consumer.report())
    return 0


def main() -> int:
    config = json.loads(sys.argv[1])
    if config["role"] == "relay":
        return run_relay(RelayPart(**config))
    for name in ("tickers", "all_tickers"):
        config[name] = tuple(config[name])
    return run_consumer(ConsumerPart(**config))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code) if code else sys.exit(0)
