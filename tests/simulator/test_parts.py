"""The parts of the exchange keep to themselves, its face shows all of them, and the first example runs."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from kalshi_feed import simulator
from kalshi_feed.simulator import Exchange

FOLDER = Path(simulator.__file__).parent


def foreign_privates(source: str) -> list[str]:
    """Uses of another object's private attributes: ``x._y`` where x is not self or the class."""
    return sorted(
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and re.match("_[a-z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    )


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_parts_do_not_reach_into_each_other(file: Path) -> None:
    """Except for the exchange itself, whose methods name the part that they delegate to."""
    own = re.compile(r"line \d+: exchange\._\w+$") if file.stem == "exchange" else None
    found = foreign_privates(file.read_text("utf-8"))
    assert [one for one in found if own is None or not own.match(one)] == []


def test_a_foreign_private_is_found() -> None:
    assert foreign_privates("other._step(); self._own._deep; self._own; other.__dict__") == [
        "line 1: other._step",
        "line 1: self._own._deep",
    ]


def test_the_face_shows_signature_and_docstring_of_the_part() -> None:
    assert Exchange.__bases__[0].__bases__ == (object,)  # settings, and nothing above them
    place = inspect.signature(Exchange(key_type="ed25519").place_order)
    assert list(place.parameters)[:4] == ["market_ticker", "side", "price", "count"]
    assert place.parameters["post_only"].default is False
    assert (Exchange.place_order.__doc__ or "").startswith("Place a limit order of the account")
    assert Exchange.place_order.__qualname__ == "Exchange.place_order"


def test_the_example_in_the_docstring_runs() -> None:
    (code,) = re.findall(r"^```python\n(.+?)^```$", simulator.__doc__ or "", re.DOTALL | re.MULTILINE)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(code, "the example", "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"KXSIM-A: yes 0\.\d+ bid, 0\.\d+ asked\n", shown.getvalue())
