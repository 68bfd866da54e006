"""``kalshi-feed demo --relay``: a simulated exchange, a Redis, a relay, and three consumers side by side.

Owns RelaySummary, ``run_relay_demo()`` and the screen. Every part is a process of its own; what they report
is compared here, at the end with the exchange's own books.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

from .columns import BAD, DIM, cut, ms_text, padded, spread, styled
from .errors import Failed
from .keys import QUIT, REDRAW
from .local_redis import LocalRedis
from .model import counted, printable
from .relay_parts import BookChange, BookReport, DemoPart, run_consumer, run_relay, start_part
from .show import say
from .terminal import Terminal

if TYPE_CHECKING:
    from ..simulator import Exchange

__all__ = ["RelaySummary", "run_relay_demo"]

CONSUMERS: Final = 3
_JOINS: Final = 1.0  # seconds from one consumer to the next: the last ones join a relay that is running
_READY: Final = 60.0  # seconds for all books to become LIVE
_AGREED: Final = 2.0  # seconds for which all must have been LIVE: there is something to compare then
_CAUGHT_UP: Final = 10.0  # seconds for every part to apply what the exchange has sent
_FRAME: Final = 0.125  # seconds between two frames
_LINE: Final = 1.0  # seconds between two lines where nothing is drawn
_PAUSE: Final = 0.02
_KEPT: Final = 4_000  # changes whose checksums wait for those of other processes
_MEASURED: Final = 1_000  # the last changes that a consumer's p50 and p99 are about
_WIDTH: Final = 16  # columns of a part's prices


@dataclass(frozen=True)
class RelaySummary:
    """The result of the demo; times in seconds. Immutable.

    ``compared`` is how often two processes had the same book after the same change to compare, ``unequal``
    how often they differed. ``differing`` are the books that are not the exchange's at the end, by part.
    For each consumer: ``live_after`` its feed was started, all of its books were LIVE; its callbacks were
    ``later`` than the relay's own for the same change, p50 and p99.
    """

    seconds: float
    messages: int
    books: int
    connections: int
    compared: int
    unequal: int
    live_after: tuple[float | None, ...]
    later: tuple[tuple[float | None, float | None], ...]
    differing: dict[str, tuple[str, ...]]

    @property
    def is_right(self) -> bool:
        """Whether no book differs."""
        return not (self.unequal or self.differing)

    def to_dict(self) -> dict[str, Any]:
        """The summary as ``--json`` prints it."""
        return {
            "messages": self.messages,
            "exchange_connections": self.connections,
            "consumers": [
                {
                    "live_after_ms": _ms(live_after),
                    "later_ms_p50": _ms(p50),
                    "later_ms_p99": _ms(p99),
                    "books_matching": self.books - len(self.differing.get(_name(number), ())),
                }
                for number, (live_after, (p50, p99)) in enumerate(
                    zip(self.live_after, self.later, strict=True), 1
                )
            ],
            "books": self.books,
            "books_compared": self.compared,
            "books_unequal": self.unequal,
        }

    def lines(self) -> list[str]:
        """The summary as lines for people."""
        matching = (
            f"{self.books - len(self.differing.get(_name(number), ()))}/{self.books}"
            for number in range(len(self.live_after) + 1)
        )
        same = "all equal" if not self.unequal else f"{self.unequal:,} differed"
        lines = [
            f"{counted(self.messages, 'message')} in {self.seconds:.1f} s, over "
            f"{counted(self.connections, 'connection')} to the exchange, for "
            f"{counted(len(self.live_after), 'consumer')}",
            f"books equal to the exchange's at the end: relay {next(matching)}, "
            f"consumers {', '.join(matching)}",
            f"books compared after the same change: {self.compared:,}, {same}",
            f"all books LIVE after: {', '.join(map(ms_text, self.live_after))}",
            "callbacks later than the relay's own: "
            + ", ".join(f"p50 {ms_text(p50)} p99 {ms_text(p99)}" for p50, p99 in self.later),
        ]
        for name, tickers in self.differing.items():
            lines.append(f"books that differ at {name}: {', '.join(tickers[:5])}")
        return lines


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _name(number: int) -> str:
    return f"consumer {number}" if number else "relay"


class _Comparison:
    """Compares books and times after the same change; part 0 is the relay. Main thread only."""

    def __init__(self) -> None:
        self.compared = self.unequal = 0
        # for each change, what each part reported: the book's checksum, and when
        self._known: OrderedDict[BookChange, dict[int, tuple[int, float]]] = OrderedDict()
        self._later: dict[int, deque[float]] = {}  # by consumer, seconds

    def add(self, part: int, sums: dict[BookChange, tuple[int, float]]) -> None:
        """Compare what one part reports with what the others did."""
        for change, (checksum, at) in sums.items():
            known = self._known.setdefault(change, {})
            if known:
                self.compared += 1
                self.unequal += any(other != checksum for other, _ in known.values())
            known[part] = checksum, at
            for number in known.keys() - {0} if part == 0 else {part}:
                if 0 in known:
                    later = self._later.setdefault(number, deque(maxlen=_MEASURED))
                    later.append(known[number][1] - known[0][1])
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def later(self, number: int) -> tuple[float | None, float | None]:
        """p50 and p99, in seconds, of how much later than the relay's this consumer's callbacks are."""
        times = sorted(self._later.get(number, ()))
        if not times:
            return None, None
        return max(0.0, times[len(times) // 2]), max(0.0, times[len(times) * 99 // 100])


class _Demo:
    """The running demo. Main thread only."""

    def __init__(self, exchange: Exchange, redis: LocalRedis, folder: str) -> None:
        self.exchange = exchange
        self.redis = redis
        self.tickers = list(exchange.market_tickers)
        self.comparison = _Comparison()
        self.began = time.monotonic()
        key_file, ca_file = exchange.write_credentials(folder)
        key = (exchange.api_key_id, str(key_file))
        self.relay = start_part(run_relay, exchange.url, key, str(ca_file), redis.url, self.tickers)
        # They are started now, which takes a while, and join one after the other.
        self.consumers: list[DemoPart] = []
        self._coming = [start_part(run_consumer, redis.url, self.tickers) for _ in range(CONSUMERS)]
        self._joins_at = float("inf")
        self._live_since = float("inf")  # when all consumers had all of their books

    @property
    def parts(self) -> list[DemoPart]:
        """The relay, then the consumers that have joined."""
        return [self.relay, *self.consumers]

    @property
    def elapsed(self) -> float:
        """Seconds since the processes were started."""
        return time.monotonic() - self.began

    def look(self) -> None:
        """Take in what the parts report, and let the next consumer join if it is time. Raises Failed if one
        of them cannot go on."""
        for number, part in enumerate(self.parts):
            for report in part.reports():
                if report.error:
                    raise Failed(f"a process of the demo has failed: {printable(report.error)}")
                self.comparison.add(number, report.sums)
        now = time.monotonic()
        if self._joins_at == float("inf") and self.is_ready:
            self._joins_at = now
        if self._coming and now >= self._joins_at:
            self.consumers.append(self._coming.pop(0))
            self.consumers[-1].ask("join")
            self._joins_at = now + _JOINS
        lasts = [part.last for part in self.consumers if part.last is not None]
        if self._live_since > now and sum(last.live_after is not None for last in lasts) == CONSUMERS:
            self._live_since = now
        if not self.is_ready and self.elapsed > _READY:
            raise Failed("the relay's books are still not LIVE")

    def is_over(self, seconds: float | None) -> bool:
        """Whether it has run for ``seconds``, and for long enough to show something: on a busy machine, the
        last consumer may need that long to begin."""
        if seconds is None or self.elapsed < seconds:
            return False
        return time.monotonic() - self._live_since >= _AGREED or self.elapsed > seconds + _READY

    @property
    def is_ready(self) -> bool:
        """Whether the relay's books have all been LIVE."""
        return self.relay.last is not None and self.relay.last.live_after is not None

    def end(self) -> RelaySummary:
        """Pause the exchange, and compare every part's books with the exchange's."""
        elapsed = self.elapsed
        deadline = time.monotonic() + _CAUGHT_UP
        self.exchange.pause()
        with contextlib.suppress(TimeoutError):
            self.exchange.wait_until_sent(_CAUGHT_UP)
        truth = self.exchange.books()
        names = [_name(number) for number in range(len(self.parts))]
        books: dict[str, dict[str, Any]] = {}
        differing: dict[str, tuple[str, ...]] = {}
        while True:
            for number, (name, part) in enumerate(zip(names, self.parts, strict=True)):
                part.ask("books")
                for report in part.reports():
                    self.comparison.add(number, report.sums)
                    books[name] = report.extra.get("books", books.get(name, {}))
            differing = {
                name: wrong
                for name in names
                if (wrong := tuple(t for t in self.tickers if books.get(name, {}).get(t) != truth[t]))
            }
            if not differing or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        reports = [part.last for part in self.consumers]
        return RelaySummary(
            seconds=elapsed,
            messages=self.relay.last.messages if self.relay.last is not None else 0,
            books=len(self.tickers),
            connections=self.exchange.connections,
            compared=self.comparison.compared,
            unequal=self.comparison.unequal,
            live_after=tuple(None if report is None else report.live_after for report in reports),
            later=tuple(map(self.comparison.later, range(1, len(reports) + 1))),
            differing=differing,
        )

    def close(self) -> None:
        """End all processes, the consumers first."""
        parts = [*self._coming, *reversed(self.parts)]
        for part in parts:
            part.ask("end")
        for part in parts:
            part.end()


def run_relay_demo(exchange: Exchange, seconds: float | None, *, view: bool = True) -> RelaySummary:
    """Run a relay of the ``exchange`` and its consumers, show them until Ctrl-C or for ``seconds``, and
    return the summary. The exchange is paused at the end.

    Raises Misused if no Redis server or the extra redis is installed, Failed if one of the processes ends.
    """
    with LocalRedis() as redis, tempfile.TemporaryDirectory(prefix="kalshi-demo-") as folder:
        demo = _Demo(exchange, redis, folder)
        try:
            with contextlib.suppress(KeyboardInterrupt):  # the summary is still printed
                _show(demo, seconds, view)
            return demo.end()
        finally:
            demo.close()


def _show(demo: _Demo, seconds: float | None, view: bool) -> None:
    console = Console(force_terminal=sys.stdout.isatty())
    if view and console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows:
        _draw(demo, console, seconds)
        return
    due = demo.began + _LINE
    while not demo.is_over(seconds):
        demo.look()
        if view and time.monotonic() >= due:
            due += _LINE
            say(_line(demo))
        time.sleep(_PAUSE)


def _draw(demo: _Demo, console: Console, seconds: float | None) -> None:
    with Terminal(console) as terminal:
        while not demo.is_over(seconds):
            demo.look()
            width, height = terminal.size
            lines = padded(list(_screen(demo, width)), height - 1)
            terminal.draw([cut(line, width) for line in [*lines, Text(" q or Ctrl-C ends it", DIM)]])
            for key in terminal.keys(_FRAME):
                if key == QUIT:
                    return
                if key == REDRAW:
                    terminal.redraw()


def _line(demo: _Demo) -> str:
    """The demo in one line, for a pipe."""
    relay = demo.relay.last
    parts = [
        f"relay {'starting' if relay is None else relay.state} {0 if relay is None else relay.rate:,.0f}/s"
    ]
    for number, part in enumerate(demo.consumers, 1):
        state, live = _state(part)
        later = ms_text(demo.comparison.later(number)[0])
        parts.append(f"{_name(number)} {state} {live}/{len(demo.tickers)} LIVE +{later}")
    return f"{demo.elapsed:5.0f} s  {'  '.join(parts)}  compared {demo.comparison.compared:,}"


def _state(part: DemoPart) -> tuple[str, int]:
    if part.last is None:
        return "starting", 0
    return part.last.state, Counter(book.status for book in part.last.books.values())["LIVE"]


def _screen(demo: _Demo, width: int) -> Iterator[Text]:
    minutes, seconds = divmod(int(demo.elapsed), 60)
    title = Text(" One connection to the exchange, one relay, three consumers", "bold")
    yield spread(title, Text(f"{minutes}:{seconds:02d} "), width)
    exchange = demo.exchange
    yield Text.assemble(
        (f" exchange: {counted(len(demo.tickers), 'market')}, {exchange.rate:g} changes/s, ", DIM),
        counted(exchange.connections, "connection"),
        (f"   {demo.redis.version} on a socket", DIM),
    )
    yield Text()
    columns = f"{'process':>8}  {'state':12}{'LIVE':>7}{'after':>9}{'msg/s':>7}{'p50':>10}{'p99':>9}"
    yield Text(f" {'':12}{columns}", DIM)
    yield _part_line("relay", 0, demo.relay, demo)
    for number in range(1, CONSUMERS + 1):
        part = demo.consumers[number - 1] if number <= len(demo.consumers) else None
        yield _part_line(_name(number), number, part, demo)
    yield Text(" p50, p99: how much later a callback is than the relay's own for the same change", DIM)
    yield Text()
    names = [_name(number) for number in range(CONSUMERS + 1)]
    yield Text(f" {'yes bid, ask':12}" + "".join(f"{name:>{_WIDTH}}" for name in names), DIM)
    for ticker in demo.tickers[:8]:
        row = Text(f" {ticker:12}")
        for part in [*demo.parts, *[None] * (CONSUMERS - len(demo.consumers))]:
            row.append_text(_prices(part, ticker))
        yield row
    yield Text()
    found = demo.comparison
    equal = Text("all equal", "bold green") if not found.unequal else Text(f"{found.unequal:,} differ", BAD)
    yield Text.assemble(f" whole books compared after the same change: {found.compared:,}, ", equal)


def _part_line(name: str, number: int, part: DemoPart | None, demo: _Demo) -> Text:
    if part is None:
        return Text(f" {name:12}{'joins soon':>20}", DIM)
    report, (state, live) = part.last, _state(part)
    line = Text.assemble(f" {name:12}{part.pid:>8}  ", styled(state, f"{state:12}"))
    if report is None:
        return line
    line.append(f"{live:>5}/{len(demo.tickers)}", "bold green" if live == len(demo.tickers) else "")
    line.append(f"{ms_text(report.live_after):>9}{report.rate:>7,.0f}")
    if number:
        for width, later in zip((10, 9), demo.comparison.later(number), strict=True):
            line.append(f"{ms_text(later) if later is None else '+' + ms_text(later):>{width}}")
    return line


def _prices(part: DemoPart | None, ticker: str) -> Text:
    book: BookReport | None = None
    if part is not None and part.last is not None:
        book = part.last.books.get(ticker)
    if book is None:
        return Text(f"{'-':>{_WIDTH}}", DIM)
    if book.status != "LIVE":
        return styled(book.status, f"{book.status:>{_WIDTH}}")
    return Text(f"{book.bid or '-':>{_WIDTH - 8}} {book.ask or '-':>7}")
