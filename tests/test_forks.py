"""What is called in a forked child: everything, oldest first, and nothing that no longer exists."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed import forks
from kalshi_feed.forks import call_in_child, close_in_child


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """An empty registry, so that nothing of the package's is called in this process."""
    mine: dict[Any, Any] = {}
    monkeypatch.setattr(forks, "_registered", mine)
    return mine


class Thing:
    """An object that notes that it was called."""

    def __init__(self, name: str, called: list[str], error: BaseException | None = None) -> None:
        self._name = name
        self._called = called
        self._error = error
        call_in_child(self.leave)

    def leave(self) -> None:
        self._called.append(self._name)
        if self._error is not None:
            raise self._error


def test_R13_oldest_first() -> None:
    called: list[str] = []
    first = Thing("first", called)
    call_in_child(lambda: called.append("a function"))
    last = Thing("last", called)
    forks._after_fork()
    forks._after_fork()  # a child of the child
    assert called == ["first", "a function", "last"] * 2
    assert first is not last


def test_R13_objects_are_not_kept_alive(registered: dict[Any, Any]) -> None:
    called: list[str] = []
    Thing("gone", called)
    kept = Thing("kept", called)
    gc.collect()
    assert len(registered) == 1
    forks._after_fork()
    assert called == ["kept"]
    del kept


@pytest.mark.parametrize("error", [ValueError("first"), KeyboardInterrupt("first")])
def test_R13_none_prevents_the_others_and_the_first_error_is_reported(error: BaseException) -> None:
    called: list[str] = []
    with socket.socket() as sock:
        things = [Thing("first", called, error), Thing("second", called, LookupError("second"))]
        close_in_child(sock)
        things.append(Thing("last", called))
        with pytest.raises(type(error), match="first"):
            forks._after_fork()
        assert called == ["first", "second", "last"] and sock.fileno() == -1


def test_R13_a_descriptor_that_is_gone_is_as_good_as_closed() -> None:
    called: list[str] = []
    broken, other = Thing("socket", called, OSError(9, "Bad file descriptor")), Thing("other", called)
    forks._after_fork()
    assert called == ["socket", "other"] and broken is not other


def test_there_is_one_hook() -> None:
    package = Path(kalshi_feed.__file__).parent
    assert [
        path.name for path in package.rglob("*.py") if "os.register_at_fork" in path.read_text("utf-8")
    ] == ["forks.py"]
