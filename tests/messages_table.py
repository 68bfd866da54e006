"""The README's table of channels, callbacks, messages and fields; ``python -m tests.messages_table`` writes
it anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kalshi_feed.callbacks import Callbacks
from kalshi_feed.messages import MESSAGE_TYPES, ready_fields, wire_fields
from kalshi_feed.session.channels import CHANNELS

README = Path(__file__).parent.parent / "README.md"
_HEAD = "<!-- made by: python -m tests.messages_table -->\n"
_PLACE = re.compile(re.escape(_HEAD) + r".*?(?=\n## )", re.DOTALL)


class _Kinds(Callbacks):
    """Tells the kinds that a registration covers instead of registering."""

    def _on(self, kinds: Any, callback: Any, market_tickers: Any) -> Any:
        return tuple(kinds)


def callback_of(wire_type: str) -> str:
    """The registration made for a wire type."""
    names = [name for name in dir(Callbacks) if name.startswith("on_")]
    typed = [
        name for name in names if name not in ("on_message", "on_state", "on_gap", "on_lagged", "on_error")
    ]
    return next(
        (f"`{n}`" for n in typed if wire_type in getattr(_Kinds(), n)(print)),
        f"`on({wire_type!r})`".replace("'", '"'),
    )


def table() -> str:
    """All of it, a row a message type; fields of the old integer format are left out."""
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


def _listed(names: Any) -> str:
    return " ".join(f"`{name}`" for name in names)


def written(text: str) -> str:
    """README's text with the table as it must be."""
    assert _PLACE.search(text), "README has no place for the table"
    return _PLACE.sub(lambda _: _HEAD + "\n" + table(), text)


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
