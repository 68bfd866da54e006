"""The soak: one exchange, three feeds, everything that can go wrong, and an oracle that watches.

It ends by itself. After the planned time all faults stop, and everything must be right again within
PROMISED_SECONDS.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from kalshi_feed.simulator import Exchange, wire
from tests.faults.oracle import Oracle
from tests.faults.secrets import Secrets
from tests.feed.support import impossible_delta
from tests.soak.line import PROMISED_SECONDS, Line
from tests.soak.report import Process, report
from tests.soak.schedule import NETWORK, Strike, schedule
from tests.support import open_descriptors

__all__ = ["Soak"]

MARKETS: Final = 50
RATE: Final = 2_000.0
SAMPLE_SECONDS: Final = 0.2
# how many bytes a feed may be behind before the exchange ends its subscription with error 25
MAX_BUFFER: Final = 2 * 1024 * 1024
BEFORE_SECONDS: Final = 10.0  # for the first books
MOST_GROWTH: Final = 2.0  # MB per minute, for runs long enough for the memory to be warm
WARM_SECONDS: Final = 600.0
STOP_AFTER: Final = 200  # wrong views; more would tell us nothing new


@dataclass
class Outcome:
    """What a run has found. Written by the soak's thread."""

    seed: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    not_live: list[str] = field(default_factory=list)
    process: Process = field(default_factory=Process)

    @property
    def is_good(self) -> bool:
        """Whether nothing went wrong."""
        return not self.findings


class Soak:
    """One run. ``tell`` gets a line of progress now and then; ``promised`` is how many seconds everything may
    take to be right again at the end."""

    def __init__(
        self,
        *,
        seed: int,
        seconds: float,
        promised: float = PROMISED_SECONDS,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.outcome = Outcome(seed, seconds)
        self._promised = promised
        self._tell = tell
        self._strikes = schedule(seed, seconds, 3)
        self._longest_stale = 0.0
        self._stale_since: dict[tuple[str, str], float] = {}
        self._log = _Log()
        self._died: list[str] = []

    def run(self) -> Outcome:
        """Run all of it; return what was found. Never raises for a finding."""
        threads, descriptors = set(threading.enumerate()), len(open_descriptors())
        hook, threading.excepthook = threading.excepthook, self._thread_died
        logger = logging.getLogger("kalshi_feed")
        propagates, logger.propagate = logger.propagate, False
        logger.addHandler(self._log)
        try:
            self._run()
        finally:
            logger.removeHandler(self._log)
            logger.propagate = propagates
            threading.excepthook = hook
        gc.collect()
        left = [thread.name for thread in threading.enumerate() if thread not in threads]
        more = len(open_descriptors()) - descriptors
        outcome = self.outcome
        outcome.figures |= {"threads_left": len(left), "descriptors_left": max(more, 0)}
        outcome.findings += [f"a thread is left behind: {name}" for name in left]
        outcome.findings += [f"{more} descriptors are left behind"] if more > 0 else []
        outcome.findings += self._died + self._log.bad
        return outcome

    def _run(self) -> None:
        seed = self.outcome.seed
        with ExitStack() as stack:
            exchange = Exchange(
                MARKETS, key_type="ed25519", rate=RATE, seed=seed, heartbeat=0.5, max_buffer=MAX_BUFFER
            )
            stack.enter_context(exchange)
            self._log.secrets.add_exchange(exchange)
            oracle = Oracle(exchange)
            lines = [
                Line(exchange, oracle, "small", seed=seed, queue_size=2_000),
                Line(exchange, oracle, "large", seed=seed + 1, queue_size=200_000, compression=True),
                Line(exchange, oracle, "block", seed=seed + 2, queue_size=1_000, overflow="block", workers=2),
            ]
            for line in lines:
                stack.enter_context(line)
            began = time.monotonic()
            if not self._wait_live(lines, began + BEFORE_SECONDS):
                self.outcome.findings.append("the books were not LIVE before anything went wrong")
                return
            self._storm(exchange, lines)
            self._calm(exchange, lines)
            self._check_end(exchange, oracle, lines)
            report(self.outcome, exchange, oracle, lines, self._longest_stale)
            slope = self.outcome.process.slope() or 0.0
            if self.outcome.seconds >= WARM_SECONDS and slope > MOST_GROWTH:
                self.outcome.findings.append(f"memory grows by {slope:.1f} MB a minute")

    # -- the storm -------------------------------------------------------------------------------------------

    def _storm(self, exchange: Exchange, lines: list[Line]) -> None:
        began = time.monotonic()
        due = iter(self._strikes)
        strike = next(due, None)
        next_sample = next_line = began
        while (now := time.monotonic()) < began + self.outcome.seconds:
            while strike is not None and began + strike.at <= now:
                self._strike(exchange, lines, strike)
                strike = next(due, None)
            if now >= next_sample:
                self._sample(lines)
                next_sample = time.monotonic() + SAMPLE_SECONDS
            if now >= next_line:
                next_line = now + 10.0
                self.outcome.process.note(now - began)
                exchange.forget()
                self._tell(_progress(now - began, self.outcome, lines))
                for text in [text for line in lines for text in line.findings()][:5]:
                    self._tell(f"          {text}")
            if sum(look.wrong.count for line in lines for look in line.looks) > STOP_AFTER:
                break
            time.sleep(0.01)

    def _strike(self, exchange: Exchange, lines: list[Line], strike: Strike) -> None:
        self.outcome.faults[strike.kind] += 1
        if strike.line < 0:
            self._strike_exchange(exchange, lines, strike.kind, strike.dice)
        elif strike.kind in NETWORK:
            lines[strike.line].strike(strike.kind, strike.dice)
        else:
            lines[strike.line].act(strike.kind, strike.dice)

    def _strike_exchange(self, exchange: Exchange, lines: list[Line], kind: str, dice: float) -> None:
        exchange.thaw()
        if kind == "restart":
            exchange.close()
            time.sleep(dice)
            exchange.start()
            return
        at = sorted({item["connection"] for item in exchange.subscriptions})
        one = at[int(dice * len(at))] if at else None
        n = 1 + int(dice * 10)
        try:
            _EXCHANGE[kind](exchange, one, n)
        except LookupError:
            self.outcome.faults[f"{kind} (connection gone)"] += 1

    def _sample(self, lines: list[Line]) -> None:
        now = time.monotonic()
        for line in lines:
            down = {(line.name, ticker) for ticker in line.sample()}
            for key in [key for key in self._stale_since if key[0] == line.name and key not in down]:
                self._longest_stale = max(self._longest_stale, now - self._stale_since.pop(key))
            for key in down:
                self._stale_since.setdefault(key, now)
        for since in self._stale_since.values():
            self._longest_stale = max(self._longest_stale, now - since)

    # -- the calm --------------------------------------------------------------------------------------------

    def _calm(self, exchange: Exchange, lines: list[Line]) -> None:
        """The faults have stopped. The markets go on, and every book must become LIVE in the promised
        time."""
        exchange.behave()
        for line in lines:
            line.heal()
        began = time.monotonic()
        if not self._wait_live(lines, began + self._promised):
            self.outcome.not_live = [
                f"{line.name}: {ticker} is {line.feed.book(ticker).status.value}, the feed "
                f"{line.feed.state.value}"
                for line in lines
                for ticker in line.not_live()
            ]
            for line in lines:
                self._tell(f"{line.name}: {line.feed.health()}, {line.feed.stats()}")
        self.outcome.figures["recovered_seconds"] = round(time.monotonic() - began, 2)

    def _wait_live(self, lines: list[Line], deadline: float) -> bool:
        def all_live() -> bool:
            self._sample(lines)
            return not any(line.not_live() for line in lines)

        return _comes_true(all_live, deadline)

    def _check_end(self, exchange: Exchange, oracle: Oracle, lines: list[Line]) -> None:
        """With the markets at rest, every book equals the exchange's, and one more change of each gets
        through everywhere."""
        findings, tickers = self.outcome.findings, exchange.market_tickers
        exchange.quiesce(self._promised)
        deadline = time.monotonic() + self._promised
        self._settle(exchange, lines, deadline)
        before = [(line.updates, line.shown.checked) for line in lines]
        for ticker in tickers:
            exchange.change(ticker, "yes", "0.0100", "1")
        self._settle(exchange, lines, deadline)
        for line, (updates, shown) in zip(lines, before, strict=True):
            if not _comes_true(lambda: not line.ledger.behind(tickers), deadline):  # noqa: B023
                findings.append(
                    f"{line.name}: the last changes of {line.ledger.behind(tickers)} were not delivered"
                )
            if not _comes_true(lambda: line.updates > updates or line.error, deadline):  # noqa: B023
                findings.append(f"{line.name}: wait_for_update() saw nothing of the last changes")
            if not _comes_true(lambda: line.shown.checked > shown, deadline):  # noqa: B023
                findings.append(f"{line.name}: on_book saw nothing of the last changes")
            if not _comes_true(lambda: not line.ailments(), deadline):  # noqa: B023
                findings.append(f"{line.name}: still not well: {line.ailments()}")
            if line.error is not None:
                findings.append(f"{line.name}: waiting ended with {line.error!r}")
            if line.ledger.lagged != line.feed.stats().dropped:
                findings.append(
                    f"{line.name}: {line.feed.stats().dropped} dropped, {line.ledger.lagged} announced by "
                    "Lagged"
                )

    def _settle(self, exchange: Exchange, lines: list[Line], deadline: float) -> None:
        truth = exchange.books()
        for line in lines:

            def equal(line: Line = line) -> bool:
                views = [line.feed.book(ticker).view() for ticker in truth]
                return all(
                    view.is_live
                    and {side: dict(view.bids(side)) for side in ("yes", "no")} == truth[view.market_ticker]
                    for view in views
                )

            if not _comes_true(equal, deadline):
                self.outcome.findings.append(
                    f"{line.name}: with the markets at rest, the books are not the exchange's"
                )

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        self._died.append(f"thread {args.thread.name if args.thread else '?'} died: {args.exc_value!r}")


def _comes_true(condition: Callable[[], object], deadline: float) -> bool:
    """Whether the condition comes true in time."""
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _corrupt(*remove: str, **fields: Any) -> Callable[[Exchange, int | None, int], None]:
    return lambda exchange, one, n: exchange.corrupt(
        fields, remove=remove, type="orderbook_delta", connection=one
    )


_EXCHANGE: Final[dict[str, Callable[[Exchange, int | None, int], None]]] = {
    "lose": lambda exchange, one, n: exchange.lose(n, connection=one),
    "duplicate": lambda exchange, one, n: exchange.duplicate(n, connection=one),
    "swap": lambda exchange, one, n: exchange.swap(connection=one),
    "corrupt number": _corrupt(delta_fp="NaN"),
    "corrupt seq": lambda exchange, one, n: exchange.corrupt(
        {"seq": n * 100}, type="orderbook_delta", connection=one
    ),
    "corrupt sid": _corrupt(sid=99),
    "no seq": _corrupt("seq"),
    "no sid": _corrupt("sid"),
    "binary frame": lambda exchange, one, n: exchange.send_bytes(
        wire.frame(wire.BINARY, b"binary"), connection=one
    ),
    "bad frame": lambda exchange, one, n: exchange.send_bytes(b"\xff\xff", connection=one),
    "not UTF-8": lambda exchange, one, n: exchange.send_raw(b'{"type":"\xff"}', connection=one),
    "garbage": lambda exchange, one, n: exchange.send_raw("{", connection=one),
    "impossible delta": lambda exchange, one, n: exchange.send(
        "orderbook_delta", impossible_delta(exchange.market_tickers[n]), connection=one
    ),
    "extra snapshot": lambda exchange, one, n: exchange.snapshot(exchange.market_tickers[n], connection=one),
    "lose snapshot": lambda exchange, one, n: exchange.lose(n, "orderbook_snapshot", connection=one),
    "error 25": lambda exchange, one, n: exchange.error(25, channel="orderbook_delta", connection=one),
    "error 10": lambda exchange, one, n: exchange.error(10, channel="orderbook_delta", connection=one),
    "unsubscribed": lambda exchange, one, n: exchange.end_subscription("orderbook_delta", connection=one),
    "ignore command": lambda exchange, one, n: exchange.ignore_commands(),
    "refuse command": lambda exchange, one, n: exchange.refuse_commands(27),
    "refuse handshake": lambda exchange, one, n: exchange.reject_next(1, 503 if n % 2 else 502),
    "close": lambda exchange, one, n: exchange.close_connections(1001, connection=one),
    "freeze": lambda exchange, one, n: exchange.freeze(connection=one),
    "silence": lambda exchange, one, n: exchange.silence(connection=one),
}


class _Log(logging.Handler):
    """Watches the feeds' log: it may hold no secret, and nothing that calls itself a defect. Called by any
    thread."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets = Secrets()
        self.bad: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        text = self.format(record)
        if self.secrets.found_in(text) is not None:
            self.bad.append("a secret is in the log")
        if "defect in kalshi_feed" in text:
            self.bad.append(text)


def _progress(now: float, outcome: Outcome, lines: list[Line]) -> str:
    states = ", ".join(
        f"{line.name} {line.feed.state.value} {len(line.tickers) - len(line.not_live())} LIVE"
        for line in lines
    )
    wrong = sum(look.wrong.count for line in lines for look in line.looks)
    return (
        f"{now:6.0f} s  {outcome.faults.total()} faults, "
        f"{sum(line.feed.stats().reconnects for line in lines)} reconnects, "
        f"{wrong} wrong, {sum(line.ledger.unannounced.count for line in lines)} unannounced, "
        f"{outcome.process}; {states}"
    )
