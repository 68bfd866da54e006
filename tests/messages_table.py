"""The tables of messages: a short one in README.md, one with all fields in samples/messages.md.

``python -m tests.messages_table`` rewrites both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kalshi_feed.callbacks import Callbacks
from kalshi_feed.messages import MESSAGE_TYPES, ready_fields, wire_fields
from kalshi_feed.session.channels import CHANNELS

README = Path(__file__).parent.parent / "README.md"
REFERENCE = README.parent / "samples" / "messages.md"
_HEAD = "<!-- made by: python -m tests.messages_table -->\n"
_PLACE = re.compile(re.escape(_HEAD) + r".*?(?=\n## |\Z)", re.DOTALL)
_SHOWN = 3  # classes of a channel that the short table names


class _Kinds(Callbacks):
    """Returns the kinds that a registration covers instead of registering."""

    def _on(self, kinds: Any, callback: Any, market_tickers: Any) -> Any:
        return tuple(kinds)


def callback_of(wire_type: str) -> str:
    """The registration made for a wire type."""
    names = [name for name in dir(Callbacks) if name.startswith("on_")]
    typed = [
        name
        for name in names
        if name
        not in ("on_message", "on_market", "on_state", "on_gap", "on_gap_filled", "on_lagged", "on_error")
    ]
    return next(
        (f"`{n}`" for n in typed if wire_type in getattr(_Kinds(), n)(print)),
        f"`on({wire_type!r})`".replace("'", '"'),
    )


def table() -> str:
    """A row per message type with all fields, except those of the old integer format."""
    rows = ["| channel | callback | message | ready values | wire fields |", "|---|---|---|---|---|"]
    for channel in CHANNELS.values():
        for wire_type in channel.types:
            cls = MESSAGE_TYPES[wire_type]
            wire = [key for key, attribute in wire_fields(cls).items() if key == attribute]
            row = (
                f"`{channel.name}`",
                callback_of(wire_type),
                f"`{cls.__name__}`",
                _listed(ready_fields(cls)),
                _listed(wire),
            )
            rows.append(f"| {' | '.join(row)} |")
    return "\n".join(rows) + "\n"


def short_table() -> str:
    """A row per channel: its callbacks and its classes, the first few of them."""
    rows = ["| channel | callbacks | messages |", "|---|---|---|"]
    for channel in CHANNELS.values():
        callbacks = dict.fromkeys(callback_of(wire_type) for wire_type in channel.types)
        classes = [f"`{MESSAGE_TYPES[wire_type].__name__}`" for wire_type in channel.types]
        shown = ", ".join(classes[:_SHOWN]) + (" …" if len(classes) > _SHOWN else "")
        named = ", ".join(name for name in callbacks if not name.startswith("`on("))
        rows.append(f"| `{channel.name}` | {named} | {shown} |")
    return "\n".join(rows) + "\n"


def _listed(names: Any) -> str:
    return " ".join(f"`{name}`" for name in names)


def written(page: Path) -> str:
    """The page's text with the table as it must be."""
    text, made = page.read_text(encoding="utf-8"), short_table() if page == README else table()
    assert _PLACE.search(text), f"{page} has no place for the table"
    return _PLACE.sub(lambda _: _HEAD + "\n" + made, text)


if __name__ == "__main__":
    for one in (README, REFERENCE):
        one.write_text(written(one), encoding="utf-8")
