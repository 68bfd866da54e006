"""What the bytes of a keyboard mean, and what a key does to the choice of a market.

Must not import anything that reads or waits; pure functions.
"""

from __future__ import annotations

from typing import Final

__all__ = ["QUIT", "REDRAW", "moved", "parse"]

QUIT: Final = "q"
REDRAW: Final = "redraw"
_PAGE: Final = 10
_SINGLE: Final = {"\t": "next", "\x0c": REDRAW, "j": "next", "k": "back", "Q": QUIT}
_FINALS: Final = {"A": "back", "B": "next", "C": "next", "D": "back", "Z": "back", "H": "first", "F": "last"}
_NUMBERED: Final = {"1": "first", "4": "last", "5": "page back", "6": "page", "7": "first", "8": "last"}


def parse(data: bytes) -> tuple[list[str], bytes]:
    """(keys, what is the beginning of a sequence and waits for its end).

    Reads the sequences of arrows, Tab, Home, End and the pages in the forms that terminals send (CSI, SS3);
    others mean nothing.
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
    """The market chosen after ``key``, of ``count`` markets; beyond the last comes the first."""
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
