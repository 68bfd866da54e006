"""What the bytes from a keyboard mean, and which market a key selects.

Pure functions.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EXPLAINED", "HELP", "QUIT", "REDRAW", "moved", "parse"]

QUIT: Final = "q"
HELP: Final = "?"
REDRAW: Final = "redraw"
_PAGE: Final = 10
_SINGLE: Final = {"\t": "next", "\x0c": REDRAW, "j": "next", "k": "back", "Q": QUIT}
_FINALS: Final = {"A": "back", "B": "next", "C": "next", "D": "back", "Z": "back", "H": "first", "F": "last"}
_NUMBERED: Final = {"1": "first", "4": "last", "5": "page back", "6": "page", "7": "first", "8": "last"}

# what the key ? shows
EXPLAINED: Final = (
    ("Tab ↓ → j", "next market"),
    ("↑ ← k", "previous market"),
    ("PgDn PgUp", "ten markets down, or up"),
    ("Home End", "first market, last market"),
    ("1-9", "market by its number"),
    ("Ctrl-L", "draw everything again"),
    ("Ctrl-Z", "back to the shell; fg returns"),
    ("q Ctrl-C", "quit"),
    ("?", "this list; any key closes it"),
)


def parse(data: bytes) -> tuple[list[str], bytes]:
    """(keys, the beginning of a sequence whose end has not come yet).

    Understands arrows, Tab, Home, End and the page keys in the forms that terminals send (CSI, SS3); other
    sequences are ignored.
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
