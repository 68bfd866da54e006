"""What the bytes from a keyboard mean, and what a key does to the view: which market it selects, the filter.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from .model import matching

__all__ = ["ESCAPE", "EXPLAINED", "HELP", "QUIT", "REDRAW", "Choice", "anchored", "moved", "parse", "pressed"]

QUIT: Final = "q"
HELP: Final = "?"
REDRAW: Final = "redraw"
ESCAPE: Final = "escape"
_FILTER: Final = "/"
_PAGE: Final = 10
_LONGEST: Final = 80  # characters of a filter: more than any ticker has
_SINGLE: Final = {
    "\t": "next",
    "\x0c": REDRAW,
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
}
_CHOOSING: Final = ("next", "back", "page", "page back", "first", "last")
_LETTERS: Final = {"j": "next", "k": "back", "Q": QUIT}  # unless they are typed into the filter
_FINALS: Final = {"A": "back", "B": "next", "C": "next", "D": "back", "Z": "back", "H": "first", "F": "last"}
_NUMBERED: Final = {"1": "first", "4": "last", "5": "page back", "6": "page", "7": "first", "8": "last"}

# what the key ? shows
EXPLAINED: Final = (
    ("Tab ↓ → j", "next market"),
    ("↑ ← k", "previous market"),
    ("PgDn PgUp", "ten markets down, or up"),
    ("Home End", "first market, last market"),
    ("1-9", "market by its number"),
    ("/ Esc", "filter by a part of the ticker, no filter"),
    ("Ctrl-L", "draw everything again"),
    ("Ctrl-Z", "back to the shell; fg returns"),
    ("q Ctrl-C", "quit"),
    ("?", "this list; any key closes it"),
)


@dataclass(frozen=True)
class Choice:
    """What the user has chosen to see. Immutable.

    ``selected`` is a place among the markets that match the filter ``wanted``, which is being typed while
    ``is_typing``; ``ticker`` is the market there if a key chose it, otherwise "". ``is_helping``: the list
    of all keys is shown. ``is_over``: the view is to end.
    """

    selected: int = 0
    ticker: str = ""
    wanted: str = ""
    is_typing: bool = False
    is_helping: bool = False
    is_over: bool = False


def pressed(choice: Choice, key: str, market_tickers: Sequence[str]) -> Choice:
    """The choice after ``key``, of all these markets."""
    if choice.is_typing:
        return _typed(choice, key, market_tickers)
    key = _LETTERS.get(key, key)
    if key == QUIT:
        return replace(choice, is_over=True)
    helped = choice.is_helping
    if helped or key == HELP:
        choice = replace(choice, is_helping=not helped)
    if key == _FILTER and len(market_tickers) > 1:
        return replace(choice, is_typing=True)
    if key == ESCAPE:
        return choice if helped else _filtered(choice, "", market_tickers)
    return _moved(choice, key, market_tickers)


def anchored(choice: Choice, market_tickers: Sequence[str]) -> Choice:
    """The choice when the markets may have changed: the same market, wherever it is now; the first one if it
    has left, or if no key has chosen any."""
    tickers = matching(market_tickers, choice.wanted)
    if choice.ticker in tickers:
        return replace(choice, selected=tickers.index(choice.ticker))
    return replace(choice, selected=0, ticker="")


def _moved(choice: Choice, key: str, market_tickers: Sequence[str]) -> Choice:
    tickers = matching(market_tickers, choice.wanted)
    selected = moved(choice.selected, key, len(tickers))
    is_chosen = selected < len(tickers) and (key in _CHOOSING or key in "123456789")
    return replace(choice, selected=selected, ticker=tickers[selected]) if is_chosen else choice


def _typed(choice: Choice, key: str, market_tickers: Sequence[str]) -> Choice:
    """After a key while the filter is typed: a letter is only a letter, but arrows and Tab still choose."""
    if key == "enter":
        return replace(choice, is_typing=False)
    if key == ESCAPE:
        return _filtered(replace(choice, is_typing=False), "", market_tickers)
    if key == "backspace":
        return _filtered(choice, choice.wanted[:-1], market_tickers)
    if len(key) == 1:
        fits = key.isascii() and key.isprintable() and len(choice.wanted) < _LONGEST
        return _filtered(choice, choice.wanted + key, market_tickers) if fits else choice
    return _moved(choice, key, market_tickers)


def _filtered(choice: Choice, wanted: str, market_tickers: Sequence[str]) -> Choice:
    """With another filter, and the same market, if it still matches."""
    before, after = (matching(market_tickers, text) for text in (choice.wanted, wanted))
    chosen = before[choice.selected] if choice.selected < len(before) else ""
    if chosen in after and (choice.ticker or choice.wanted):  # chosen by a key, or by the filter before
        return replace(choice, wanted=wanted, selected=after.index(chosen), ticker=chosen)
    return replace(choice, wanted=wanted, selected=0, ticker="")


def parse(data: bytes) -> tuple[list[str], bytes]:
    """(keys, the beginning of a sequence whose end has not come yet).

    A character stands for itself, because it may be typed into the filter; the other keys have names.
    Understands arrows, Tab, Home, End and the page keys in the forms that terminals send (CSI, SS3); other
    sequences are ignored. Escape alone is an unfinished sequence: only time tells.
    """
    text, keys = data.decode("latin-1"), []
    at = 0
    while at < len(text):
        if text[at] != "\x1b":
            keys.append(_SINGLE.get(text[at], text[at]))
            at += 1
            continue
        end = at + 2
        if text[at + 1 : end] in ("[", "O"):
            while end < len(text) and text[end] in "0123456789;":
                end += 1
            if end == len(text):
                return keys, data[at:]
            keys.append(
                _FINALS.get(text[end], "") if text[end] != "~" else _NUMBERED.get(text[at + 2 : end], "")
            )
            at = end + 1
        elif end > len(text):
            return keys, data[at:]
        else:
            at = end  # Alt and some key
    return [key for key in keys if key], b""


def moved(selected: int, key: str, count: int) -> int:
    """The selected market after ``key``, of ``count`` markets; after the last comes the first."""
    if count < 1:
        return 0
    if key in ("next", "back"):
        return (selected + (1 if key == "next" else -1)) % count
    if key in ("page", "page back"):
        return max(0, min(count - 1, selected + (_PAGE if key == "page" else -_PAGE)))
    if key in ("first", "last"):
        return 0 if key == "first" else count - 1
    if key in "123456789" and int(key) <= count:
        return int(key) - 1
    return selected
