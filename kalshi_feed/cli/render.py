"""Draws a Screen: exactly the lines of a terminal, or one line for a pipe.

Owns the screen's parts and their places. Pure functions. Every line is cut to its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.text import Text

from .columns import (
    BAD,
    DIM,
    STYLES,
    cut,
    fitting,
    joined,
    ms_text,
    padded,
    shortened,
    spread,
    status_of,
    styled,
)
from .keys import EXPLAINED
from .ladder import NO_BOOK, about_line, ladder_lines, quoted
from .layout import QUOTE, Layout
from .lists import market_lines, tape
from .model import NoteLine, Screen, counted, printable, quote

__all__ = ["draw", "plain_line"]

_KEYS = (("q", "quit"), ("?", "help"), ("Tab ↓ ↑", "other market"), ("/", "filter"), ("1-9", "by number"))
_KEYS_FILTERED = (*_KEYS[:2], ("Esc", "all markets"), *_KEYS[2:])
_KEYS_TYPING = (("Enter", "keep"), ("Esc", "all markets"))


def draw(
    screen: Screen, layout: Layout, *, keys: bool = True, helping: bool = False, typing: bool = False
) -> list[Text]:
    """The lines of the whole screen. ``keys``: keys are read, so the foot names some; ``helping``: a list of
    all keys is shown instead of the market; ``typing``: the foot is the filter being typed."""
    head = _head(screen, layout.width)
    foot = _prompt(screen, layout.width) if typing else _foot(screen, layout.width, keys)
    if helping:
        return _fitted([*padded([*head, *_help()], layout.height - 1), foot], layout)
    notes = [_note(note) for note in screen.notes]
    notes += [Text()] * (layout.room.notes - len(notes))
    if screen.shows.only_messages:
        return _fitted([*head, *_above_messages(screen, layout), *notes, foot], layout)
    ladder = ladder_lines(screen, layout)
    if not layout.right:
        below = market_lines(screen, layout.width) + tape(screen, layout.width, layout.room.trades)
        body = padded(ladder + below, layout.body)
        return _fitted([*head, *body, *notes, foot], layout)
    right = market_lines(screen, layout.right)
    right += [Text()] if right else []
    right += tape(screen, layout.right, layout.room.trades)
    seam = Text(" │", DIM)
    pairs = zip(padded(ladder, layout.body), padded(right, layout.body), strict=True)
    body = [joined([cut(left, layout.ladder), seam, other]) for left, other in pairs]
    top, bottom = (Text("─" * (layout.ladder + 1) + joint + "─" * layout.right, DIM) for joint in ("┬", "┴"))
    about = [about_line(screen.ladder.about if screen.ladder else None, layout.width)] * layout.about
    return _fitted([*head, *about, top, *body, *([bottom, *notes] if notes else []), foot], layout)


def plain_line(screen: Screen, new_deltas: int, seconds: float) -> str:
    """The view in one line, for a pipe: ``new_deltas`` came in the last ``seconds``."""
    figures, ladder = screen.figures, screen.ladder
    line = (
        f"{screen.elapsed:5.0f} s  {_state(screen)}  {counted(figures.deltas, 'delta')} "
        f"({new_deltas / seconds:,.0f}/s)"
    )
    line += f"  {counted(figures.trades, 'trade')}"
    if figures.others:
        line += f"  {counted(figures.others, 'other message')}"
    if ladder is not None and ladder.quote is not None:
        row = ladder.quote
        last = "" if row.last is None else f" last {row.last:.4f}"
        prices = f" yes {quote(row.bid, row.ask)}" if row.bid or row.ask else ""
        over = f" {row.about.word}" if row.about is not None and row.about.is_over else ""
        line += f"  {printable(row.market_ticker)}{over}{last}{prices}"
    elif ladder is not None:
        bid, ask = (rungs[0] if rungs else None for rungs in (ladder.bids, ladder.asks))
        line += f"  {printable(ladder.market_ticker)} {status_of(ladder)} yes {quote(bid, ask)}"
    elif screen.waiting:
        line += f"  {screen.waiting}"
    if screen.reason:
        line += f"  {screen.reason}"
    elif screen.markets > 1 and screen.statuses:
        line += "  books: " + " ".join(
            f"{count} {status}" for status, count in sorted(screen.statuses.items())
        )
    return line


def _state(screen: Screen) -> str:
    return f"{screen.state} {screen.retry}".rstrip()


# -- head and foot -------------------------------------------------------------------------------------------


def _head(screen: Screen, width: int) -> list[Text]:
    minutes, seconds = divmod(int(screen.elapsed), 60)
    right = joined(
        [
            Text("  "),
            styled(screen.state, _state(screen)),
            Text(" "),
            Text(f" {minutes // 60}:{minutes % 60:02d}:{seconds:02d} "),
        ]
    )
    title = Text(" " + printable(screen.title), "bold")
    return [spread(title, right, width), fitting(_figures(screen), width)]


def _figures(screen: Screen) -> Iterable[Text]:
    """The most important first: the last ones are left out if there is no room."""
    figures, shows = screen.figures, screen.shows
    last, ten, minute = figures.rates
    yield Text.assemble((f"{last:,.0f}", "bold"), " msg/s")
    yield _count("gaps", figures.gaps)
    yield Text.assemble("latency ", (ms_text(figures.latency_p50), "bold"))
    yield Text(f"p99 {ms_text(figures.latency_p99)}")
    yield _count("reconnects", figures.reconnects)
    yield _count("dropped", figures.dropped)
    for status, count in sorted(screen.statuses.items()):
        if status != "LIVE":
            yield styled(status, f"{count:,} {status}")
    yield Text(f"wire {ms_text(figures.exchange_latency_p50)}")
    if shows.books:
        yield Text(counted(figures.deltas, "delta"))
    if shows.trades:
        yield Text(counted(figures.trades, "trade"))
    if figures.others:
        yield Text(counted(figures.others, "other message"))
    yield Text(f"10 s {ten:,.0f}/s  60 s {minute:,.0f}/s", DIM)


def _count(name: str, count: int) -> Text:
    return Text(f"{name} {count:,}", BAD if count else DIM)


def _foot(screen: Screen, width: int, keys: bool) -> Text:
    several = screen.shows.markets and (screen.markets > 1 or screen.wanted)
    known = _KEYS_FILTERED if screen.wanted else _KEYS if several else _KEYS[:2]
    place = _place(screen) if several else ""
    parts = _named(known) if keys else [Text("Ctrl-C quits", DIM)]
    return spread(fitting(parts, width - len(place)), Text(place, DIM), width)


def _prompt(screen: Screen, width: int) -> Text:
    """The filter as it is typed; of a long one the end is shown."""
    place = _place(replace(screen, wanted=""))
    room = max(1, width - len(place) - 4)
    typed = Text.assemble(" ", ("/", "bold"), screen.wanted[-room:], (" ", "reverse"))
    free = width - len(place) - typed.cell_len
    return spread(joined([typed, fitting(_named(_KEYS_TYPING), free)]), Text(place, DIM), width)


def _place(screen: Screen) -> str:
    named = f"/{shortened(screen.wanted, 20)}: " if screen.wanted else ""
    if not screen.markets:
        return f"{named}no market "
    return f"{named}market {screen.selected + 1:,} of {screen.markets:,} "


def _named(keys: Iterable[tuple[str, str]]) -> list[Text]:
    return [Text.assemble((key, "bold"), " ", (what, DIM)) for key, what in keys]


def _help() -> list[Text]:
    rows = [Text.assemble(f"   {key:<12}", (what, DIM)) for key, what in EXPLAINED]
    return [Text(), Text(" keys", "bold"), *rows]


def _note(note: NoteLine) -> Text:
    return Text.assemble(" ", (note.time, DIM), " ", (note.text, STYLES.get(note.style, "")))


def _above_messages(screen: Screen, layout: Layout) -> list[Text]:
    """What stands above the notes if there are neither books nor trades: quotes, and the notes' title."""
    lines: list[Text] = []
    if screen.shows.quotes:
        row = screen.ladder.quote if screen.ladder is not None else None
        lines = (
            ladder_lines(screen, layout) if row is None else quoted(screen, row, layout.width, layout.about)
        )
        lines = [*padded(lines, QUOTE + layout.about), *market_lines(screen, layout.width)]
    title = fitting([Text("messages", DIM), Text(f"({NO_BOOK})", DIM)], layout.width)
    return [*padded(lines, layout.body - 1), title]


def _fitted(lines: Sequence[Text], layout: Layout) -> list[Text]:
    """Exactly as many lines as the screen has, each exactly as wide."""
    return [cut(line, layout.width) for line in padded(lines, layout.height)]
