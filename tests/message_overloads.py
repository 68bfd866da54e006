"""The overloads of on(), wait_for() and messages(), one for each wire type; ``python -m
tests.message_overloads`` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from kalshi_feed.messages import MESSAGE_TYPES

MODULE = Path(__file__).parents[1] / "kalshi_feed" / "by_type.py"
_PLACES = re.compile(
    r"(    # <(\w+)> made by: python -m tests\.message_overloads\n).*?(    # </\2>\n)", re.DOTALL
)
_MORE = "market_tickers: Tickers = None, allow_unknown: bool = False"
_SIGNATURES = {
    "on": (
        f"callback: Handler[CLASS], *, {_MORE}) -> Handler[CLASS]",
        f"callback: None = None, *, {_MORE}) -> Register[RESULT]",
    ),
    "wait_for": (
        f"predicate: Handler[CLASS] | None = None, timeout: float | None = None, *, {_MORE}) -> RESULT",
    ),
    "messages": (
        "market_tickers: Tickers = None, maxsize: int = 10_000, *, allow_unknown: bool = False) -> "
        "MessageStream[RESULT]",
    ),
}


def block(method: str) -> str:
    """The overloads of one method: each wire type with its class, and a last one for every other string."""
    known = [
        (f'Literal["{wire_type}"]', f"wire.{cls.__name__}", f"wire.{cls.__name__}")
        for wire_type, cls in MESSAGE_TYPES.items()
    ]
    return "".join(
        f"    @overload\n    def {method}(self, type: {kind}, "
        f"{signature.replace('CLASS', cls).replace('RESULT', result)}: ...\n"
        for kind, cls, result in (*known, ("str", "wire.UnknownMessage", "Any"))
        for signature in _SIGNATURES[method]
    )


def written(text: str) -> str:
    """The module's source with up-to-date overloads."""
    return _PLACES.sub(lambda place: place[1] + block(place[2]) + place[3], text)


if __name__ == "__main__":
    MODULE.write_text(written(MODULE.read_text(encoding="utf-8")), encoding="utf-8")
